"""ONNX Runtime.

References:
    [1] https://onnxruntime.ai/docs/performance/tune-performance/threading.html
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from .runtime import PRECISION_KEY, Runtime, choose_precision

PROVIDERS = ('CUDAExecutionProvider', 'CPUExecutionProvider')  # best first


class OnnxRuntime(Runtime):
    """A network in an ``.onnx`` file, run by ONNX Runtime.

    Args:
        path: the file.
        precision: see :func:`~ldcrn_mm.deploy.open_runtime`; here only the
            file's own is possible.
        num_threads: of the CPU.

    Raises:
        ValueError: where ONNX Runtime cannot read the file, or the file is of
            another precision.
    """

    def __init__(
        self, path: Path, precision: str | None = None, num_threads: int | None = None
    ) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads or 0  # 0: its own choice
        available = onnxruntime.get_available_providers()
        try:
            self._session = onnxruntime.InferenceSession(
                path,
                options,
                providers=[name for name in PROVIDERS if name in available],
            )
        except Exception as error:  # its own types, which derive from nothing else
            raise ValueError(f'ONNX Runtime cannot read `{path}`: {error}') from error
        (self._input, *others) = self._session.get_inputs()
        if others:
            raise ValueError(f'`{path}` has {1 + len(others)} inputs; expected one.')
        stored = self._session.get_modelmeta().custom_metadata_map.get(PRECISION_KEY)
        device = self._session.get_providers()[0].removesuffix('ExecutionProvider')
        super().__init__(
            path,
            f'ONNX Runtime {onnxruntime.__version__}, {device}',
            self._input.shape,
            {output.name: output.shape for output in self._session.get_outputs()},
            choose_precision(path, stored, precision, ()),
        )

    def _run(self, images: np.ndarray) -> Sequence[np.ndarray]:
        return self._session.run(None, {self._input.name: images})
