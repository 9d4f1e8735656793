"""OpenVINO.

References:
    [1] https://docs.openvino.ai, "CPU Device" and "Precision Control": a CPU
        that has bfloat16 computes in it unless the hint says float32.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import openvino
from openvino import properties

from .runtime import PRECISION_KEY, Runtime, Shape, choose_precision

HINTS = {
    'fp32': openvino.Type.f32,
    'bf16': openvino.Type.bf16,
    'int8': openvino.Type.f32,  # of what was left out of the quantization
}


class OpenVINORuntime(Runtime):
    """A network in an ``.xml`` and a ``.bin`` file, run by OpenVINO on CPU.

    OpenVINO plans a network for fixed shapes better than for any. So it is
    compiled for batches of 1, 2, 4, ... images as they are needed, and other
    batches are cut into these.

    Args:
        path: the ``.xml`` file.
        precision: see :func:`~ldcrn_mm.deploy.open_runtime`.
        num_threads: of the CPU.

    Raises:
        ValueError: where OpenVINO cannot read the files, or cannot run them in
            this precision.
    """

    def __init__(
        self, path: Path, precision: str | None = None, num_threads: int | None = None
    ) -> None:
        self._core = openvino.Core()
        try:
            self._model = self._core.read_model(path)
        except RuntimeError as error:
            raise ValueError(f'OpenVINO cannot read `{path}`: {error}') from error
        if len(self._model.inputs) != 1:
            raise ValueError(
                f'`{path}` has {len(self._model.inputs)} inputs; expected one.'
            )
        rt_info = self._model.rt_info
        stored = (
            rt_info[PRECISION_KEY].astype(str) if PRECISION_KEY in rt_info else None
        )
        super().__init__(
            path,
            f'OpenVINO {openvino.get_version().split("-")[0]}, CPU',
            _shape(self._model.input()),
            {output.any_name: _shape(output) for output in self._model.outputs},
            choose_precision(path, stored, precision, ('fp32', 'bf16', 'fp16')),
        )
        self._options = {
            properties.hint.performance_mode: properties.hint.PerformanceMode.LATENCY,
            properties.hint.inference_precision: self._hint(),
        }
        if num_threads:
            self._options[properties.inference_num_threads] = num_threads
        self._compiled: dict[int, openvino.CompiledModel] = {}

    def _hint(self) -> openvino.Type:
        """What to compute in.

        On a CPU without float16 OpenVINO takes bfloat16 for it, which is coarser;
        there it is to be float32.
        """
        if self.precision == 'fp16':
            able = self._core.get_property('CPU', properties.device.capabilities)
            return openvino.Type.f16 if 'FP16' in able else openvino.Type.f32
        return HINTS[self.precision]

    def _run(self, images: np.ndarray) -> Sequence[np.ndarray]:
        parts = [self._network(len(part))(part) for part in self._cut(images)]
        return [
            np.concatenate([part[i] for part in parts])
            for i in range(len(self.output_names))
        ]

    def _cut(self, images: np.ndarray) -> Iterator[np.ndarray]:
        """Batches of a power of two, the largest first."""
        while len(images):
            size = 1 << (len(images).bit_length() - 1)
            yield images[:size]
            images = images[size:]

    def _network(self, batch_size: int) -> openvino.CompiledModel:
        if batch_size not in self._compiled:
            width, height = self.input_size
            model = self._model.clone()
            model.reshape([batch_size, 3, height, width])
            self._compiled[batch_size] = self._core.compile_model(
                model, 'CPU', self._options
            )
        return self._compiled[batch_size]


def _shape(port: openvino.Output) -> Shape:
    return [
        side.get_length() if side.is_static else None for side in port.partial_shape
    ]
