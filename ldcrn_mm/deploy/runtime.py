"""Runs exported networks: ``.onnx`` in ONNX Runtime, ``.xml`` in OpenVINO."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

SUFFIXES = {'.onnx': 'ONNX Runtime', '.xml': 'OpenVINO'}
PRECISION_KEY = 'ldcrn_mm.precision'  # metadata of an exported file
DECODED_OUTPUTS = ('keypoints', 'scores')

Shape = Sequence[int | str | None]  # dynamic sides are names or None
Outputs = np.ndarray | tuple[np.ndarray, ...]


def is_exported(path: str | Path) -> bool:
    """Whether the name of a file is that of an exported network."""
    return Path(path).suffix.lower() in SUFFIXES


def open_runtime(
    path: str | Path, precision: str | None = None, num_threads: int | None = None
) -> 'Runtime':
    """Opens an exported network.

    Args:
        path: an ``.onnx`` file for ONNX Runtime (on CUDA if the installed package
            supports it, else on CPU), or an ``.xml`` file with its ``.bin`` file
            for OpenVINO (on CPU).
        precision: of the computation. ``'fp32'``, or ``'bf16'`` or ``'fp16'`` with
            OpenVINO. Defaults to the precision that the file was exported for, or
            ``'fp32'`` if the file has no such note.
        num_threads: CPU threads. Defaults to the choice of the runtime.

    Returns:
        A function of images. Several threads may call it at the same time.

    Raises:
        FileNotFoundError: if the file does not exist.
        ImportError: if the runtime is not installed.
        ValueError: if the file is broken or not an exported network, or the
            precision is not available.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if not is_exported(path):
        raise ValueError(
            f'`{path}` is not an exported network. Expected a file that ends in '
            + ' or '.join(f'{suffix} ({name})' for suffix, name in SUFFIXES.items())
            + '. tools/export.py writes such files.'
        )
    if not path.is_file():
        raise FileNotFoundError(f'exported network not found: `{path}`')
    if num_threads is not None and num_threads < 1:
        raise ValueError(f'num_threads must be at least 1, got {num_threads}')
    kind = OnnxRuntime if suffix == '.onnx' else OpenVINORuntime
    try:
        return kind(path, precision, num_threads)
    except ModuleNotFoundError as error:
        raise ImportError(
            f'`{path}` needs {SUFFIXES[suffix]}, but there is no module {error.name}. '
            f'Install it: pip install {error.name}'
        ) from error


class Runtime(ABC):
    """An exported network as a function.

    Shape: float32 images ``(N, 3, H, W)``, normalised like the preprocessor of the
    config does it, to the output of the network, or a tuple if it has several:
    heatmaps ``(N, K, H/4, W/4)``, or keypoints ``(N, K, 2)`` in pixels of the input
    and scores ``(N, K)``, all float32.

    Attributes:
        path: the file.
        name: name, version and device of the runtime.
        input_size: (width, height) of the images.
        precision: of the computation: ``'fp32'``, ``'fp16'``, ``'bf16'`` or
            ``'int8'``.
        output_names: names of the outputs in their order.
        decoded: whether the outputs are keypoints and scores instead of heatmaps.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        inputs: Sequence[Shape],
        outputs: Sequence[str],
        precision: str,
    ) -> None:
        self.path = path
        self.name = name
        self.input_size = _input_size(path, inputs)
        self.output_names = tuple(outputs)
        self.decoded = self.output_names == DECODED_OUTPUTS
        self.precision = precision

    def __call__(self, images: np.ndarray) -> Outputs:
        """Runs the network.

        Args:
            images: (N, 3, H, W), float32, normalised.

        Raises:
            TypeError: if the images are not a numpy array.
            ValueError: if their shape or dtype is wrong, or an output is not finite.
        """
        if not isinstance(images, np.ndarray):
            raise TypeError(
                f'`{self.path}` takes a numpy array, got {type(images).__name__}. '
                'Pass tensor.cpu().numpy() for a tensor.'
            )
        width, height = self.input_size
        if images.shape[1:] != (3, height, width) or not len(images):
            raise ValueError(
                f'`{self.path}` takes images of shape (N, 3, {height}, {width}) with '
                f'N > 0, got {images.shape}'
            )
        if images.dtype != np.float32:
            raise ValueError(f'`{self.path}` takes float32, got {images.dtype}')
        outputs = self._run(np.ascontiguousarray(images))
        if not all(np.isfinite(output).all() for output in outputs):
            raise _not_finite(self.path, 'returned')
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def __deepcopy__(self, memo: dict) -> 'Runtime':
        """Itself: it never changes, and hooks such as EMA copy the model around it."""
        return self

    @abstractmethod
    def _run(self, images: np.ndarray) -> Sequence[np.ndarray]:
        """The outputs in their order."""


class OnnxRuntime(Runtime):
    """An ``.onnx`` file in ONNX Runtime. For the arguments see `open_runtime`."""

    def __init__(
        self, path: Path, precision: str | None = None, num_threads: int | None = None
    ) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads or 0  # 0: chosen by ONNX Runtime
        available = onnxruntime.get_available_providers()
        providers = [
            name
            for name in ('CUDAExecutionProvider', 'CPUExecutionProvider')
            if name in available
        ]
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers)
        except Exception as error:  # its error classes have no common base
            raise ValueError(f'ONNX Runtime cannot read `{path}`: {error}') from error
        inputs = self._session.get_inputs()
        stored = self._session.get_modelmeta().custom_metadata_map.get(PRECISION_KEY)
        device = self._session.get_providers()[0].removesuffix('ExecutionProvider')
        super().__init__(
            path,
            f'ONNX Runtime {onnxruntime.__version__}, {device}',
            [each.shape for each in inputs],
            [output.name for output in self._session.get_outputs()],
            _choose_precision(path, stored, precision, ()),
        )
        self._input = inputs[0].name

    def _run(self, images: np.ndarray) -> Sequence[np.ndarray]:
        return self._session.run(None, {self._input: images})


class OpenVINORuntime(Runtime):
    """An ``.xml`` file in OpenVINO on CPU. For the arguments see `open_runtime`.

    OpenVINO is faster with fixed shapes. The network is compiled for batches of 1, 2,
    4, ... images when they are needed, and other batches are cut into these. An infer
    request holds the images and outputs of one call, so every thread has its own.
    """

    def __init__(
        self, path: Path, precision: str | None = None, num_threads: int | None = None
    ) -> None:
        import openvino

        self._core = openvino.Core()
        try:
            self._model = self._core.read_model(path)
        except RuntimeError as error:
            raise ValueError(f'OpenVINO cannot read `{path}`: {error}') from error
        for node in self._model.get_ops():  # its ReLU turns NaN into 0
            if node.get_type_name() == 'Constant' and not np.isfinite(node.data).all():
                raise _not_finite(path, 'has')
        notes: Mapping[str, Any] = self._model.rt_info
        stored = notes[PRECISION_KEY].astype(str) if PRECISION_KEY in notes else None
        super().__init__(
            path,
            f'OpenVINO {openvino.get_version().split("-")[0]}, CPU',
            [
                [s.get_length() if s.is_static else None for s in each.partial_shape]
                for each in self._model.inputs
            ],
            [output.any_name for output in self._model.outputs],
            _choose_precision(path, stored, precision, ('fp32', 'bf16', 'fp16')),
        )
        self._options: dict[str, Any] = {
            'PERFORMANCE_HINT': 'LATENCY',
            'INFERENCE_PRECISION_HINT': self._hint(),
        }
        if num_threads:
            self._options['INFERENCE_NUM_THREADS'] = num_threads
        self._compiled: dict[int, Any] = {}
        self._compiling = threading.Lock()
        self._of_thread = threading.local()

    def _hint(self) -> str:
        """The type to compute in. int8 is in the graph, the rest of it is float32.

        Without a hint a CPU with bfloat16 computes in it [1].

        References:
            [1] https://docs.openvino.ai, "CPU Device" and "Precision Control".
        """
        if self.precision == 'fp16':
            able = self._core.get_property('CPU', 'OPTIMIZATION_CAPABILITIES')
            # Without float16 OpenVINO would take bfloat16, which is coarser.
            return 'f16' if 'FP16' in able else 'f32'
        return 'bf16' if self.precision == 'bf16' else 'f32'

    def _run(self, images: np.ndarray) -> Sequence[np.ndarray]:
        parts = [
            self._request(len(part)).infer(part, share_inputs=True, share_outputs=True)
            for part in _cut(images)
        ]
        return [  # concatenate() copies what the next call will overwrite
            np.concatenate([part[i] for part in parts])
            for i in range(len(self.output_names))
        ]

    def _request(self, batch_size: int) -> Any:
        requests = self._of_thread.__dict__  # another one in every thread
        if batch_size not in requests:
            with self._compiling:
                if batch_size not in self._compiled:
                    model = self._model.clone()
                    model.reshape([batch_size, 3, *self.input_size[::-1]])
                    self._compiled[batch_size] = self._core.compile_model(
                        model, 'CPU', self._options
                    )
            requests[batch_size] = self._compiled[batch_size].create_infer_request()
        return requests[batch_size]


def _cut(images: np.ndarray) -> Iterator[np.ndarray]:
    """Batches of different powers of two, the largest first."""
    while len(images):
        size = 1 << (len(images).bit_length() - 1)
        yield images[:size]
        images = images[size:]


def _not_finite(path: Path, verb: str) -> ValueError:
    return ValueError(
        f'`{path}` {verb} NaN or infinite values. Check the checkpoint and export it '
        'again, or use a higher precision.'
    )


def _input_size(path: Path, inputs: Sequence[Shape]) -> tuple[int, int]:
    if len(inputs) != 1:
        raise ValueError(f'`{path}` must have one input, got {len(inputs)}')
    shape = inputs[0]
    sides = shape[2:]
    if len(shape) != 4 or shape[1] != 3 or not all(isinstance(n, int) for n in sides):
        raise ValueError(
            f'the input of `{path}` must have the shape (N, 3, H, W) with fixed height '
            f'and width, got {tuple(shape)}'
        )
    return int(sides[1]), int(sides[0])


def _choose_precision(
    path: Path, stored: str | None, wanted: str | None, possible: Sequence[str]
) -> str:
    stored = stored or 'fp32'
    if wanted in (None, stored):
        return stored
    choice = {stored} if stored == 'int8' else {stored, *possible}
    if wanted not in choice:
        raise ValueError(
            f'the precision of `{path}` must be {" or ".join(sorted(choice))}, got '
            f'{wanted}. tools/export.py writes files of other precisions.'
        )
    return wanted
