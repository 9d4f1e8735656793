"""Runs exported networks: ``.onnx`` in ONNX Runtime, ``.xml`` in OpenVINO."""

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

SUFFIXES = {'.onnx': 'ONNX Runtime', '.xml': 'OpenVINO'}
PRECISION_KEY = 'ldcrn_mm.precision'  # metadata of an exported file
DECODED_OUTPUTS = ('keypoints', 'scores')


def is_exported(path: str | Path) -> bool:
    """Whether the name of a file is that of an exported network."""
    return Path(path).suffix.lower() in SUFFIXES


def open_runtime(
    path: str | Path, num_threads: int | None = None, device: str | None = None
) -> 'Runtime':
    """Opens an exported network, which computes in the precision of its export.

    Args:
        path: an ``.onnx`` file for ONNX Runtime, or an ``.xml`` file with its
            ``.bin`` file for OpenVINO.
        num_threads: CPU threads. Defaults to the choice of the runtime.
        device: ``'cpu'`` or ``'cuda'``. Defaults to CUDA if the installed ONNX
            Runtime supports it, else the CPU. OpenVINO runs on the CPU.

    Returns:
        A function of images. Several threads may call it at the same time.

    Raises:
        FileNotFoundError: if the file does not exist.
        ImportError: if the runtime is not installed.
        ValueError: if the file is broken or not an exported network, or the device
            is not available.
    """
    path = Path(path)
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
    suffix = path.suffix.lower()
    kind = OnnxRuntime if suffix == '.onnx' else OpenVINORuntime
    try:
        return kind(path, num_threads, device)
    except ModuleNotFoundError as error:
        raise ImportError(
            f'`{path}` needs {SUFFIXES[suffix]}, but there is no module {error.name}. '
            f'Install it: pip install {error.name}'
        ) from error


class Runtime:
    """An exported network as a function.

    Shape: float32 images ``(N, 3, H, W)``, normalised like the preprocessor of the
    config does it, to the output of the network, or a tuple if it has several:
    heatmaps ``(N, K, H/4, W/4)``, or keypoints ``(N, K, 2)`` in pixels of the input
    and scores ``(N, K)``, all float32.

    Attributes:
        path: the file.
        name: name, version and device of the runtime.
        input_size: (width, height) of the images.
        precision: that the file was exported for, fp32 if it has no note of it.
        output_names: names of the outputs in their order.
        decoded: whether the outputs are keypoints and scores instead of heatmaps.
    """

    _run: Callable[[np.ndarray], Sequence[np.ndarray]]

    def __init__(
        self,
        path: Path,
        name: str,
        shapes: Sequence,
        outputs: Sequence[str],
        precision: str | None,
    ) -> None:
        *_, height, width = shape = tuple(shapes[0])
        fixed = isinstance(height, int) and isinstance(width, int)
        if len(shapes) != 1 or len(shape) != 4 or shape[1] != 3 or not fixed:
            raise ValueError(
                f'`{path}` must have one input of shape (N, 3, H, W) with fixed height '
                f'and width, got {len(shapes)}, the first of shape {shape}'
            )
        self.path, self.name, self.precision = path, name, precision or 'fp32'
        self.input_size = width, height
        self.output_names = tuple(outputs)
        self.decoded = self.output_names == DECODED_OUTPUTS

    def __call__(self, images: np.ndarray) -> np.ndarray | tuple[np.ndarray, ...]:
        """Runs the network.

        Args:
            images: (N, 3, H, W), float32, normalised.

        Raises:
            ValueError: if the images are something else, or an output is not finite.
        """
        width, height = self.input_size
        found = type(images).__name__, getattr(images, 'dtype', ''), np.shape(images)
        fits = found == ('ndarray', 'float32', (*found[2][:1], 3, height, width))
        if not fits or not len(images):
            raise ValueError(
                f'`{self.path}` takes a float32 numpy array of shape (N, 3, {height}, '
                f'{width}) with N > 0, got {" ".join(map(str, found))}'
            )
        outputs = self._run(np.ascontiguousarray(images))
        if not all(np.isfinite(output).all() for output in outputs):
            raise _not_finite(self.path, 'returned')
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def __deepcopy__(self, memo: dict) -> 'Runtime':
        """Itself: it never changes, and hooks such as EMA copy the model around it."""
        return self


class OnnxRuntime(Runtime):
    """An ``.onnx`` file in ONNX Runtime. For the arguments see `open_runtime`."""

    def __init__(self, path: Path, threads: int | None, device: str | None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0  # 0: chosen by ONNX Runtime
        wanted = [device.upper()] if device else ['CUDA', 'CPU']
        available = onnxruntime.get_available_providers()
        providers = [f'{name}ExecutionProvider' for name in wanted]
        providers = [name for name in providers if name in available]
        try:
            session = onnxruntime.InferenceSession(path, options, providers)
        except Exception as error:  # its error classes have no common base
            raise ValueError(f'ONNX Runtime cannot read `{path}`: {error}') from error
        used = session.get_providers()[0].removesuffix('ExecutionProvider')
        if used not in wanted:  # it only warns
            raise ValueError(f'the installed ONNX Runtime cannot compute on {device}')
        inputs = session.get_inputs()
        super().__init__(
            path,
            f'ONNX Runtime {onnxruntime.__version__}, {used}',
            [each.shape for each in inputs],
            [each.name for each in session.get_outputs()],
            session.get_modelmeta().custom_metadata_map.get(PRECISION_KEY),
        )
        self._run = lambda images: session.run(None, {inputs[0].name: images})


class OpenVINORuntime(Runtime):
    """An ``.xml`` file in OpenVINO on CPU. For the arguments see `open_runtime`.

    OpenVINO is faster with fixed shapes. The network is compiled for batches of 1, 2,
    4, ... images when they are needed, and other batches are cut into these. An infer
    request holds the images and outputs of one call, so every thread has its own.
    """

    def __init__(self, path: Path, threads: int | None, device: str | None) -> None:
        import openvino

        if device not in (None, 'cpu'):
            raise ValueError(f'`{path}` runs on the CPU, got device={device}')
        self._core = openvino.Core()
        try:
            self._model = self._core.read_model(path)
        except RuntimeError as error:
            raise ValueError(f'OpenVINO cannot read `{path}`: {error}') from error
        for node in self._model.get_ops():  # its ReLU turns NaN into 0
            if node.get_type_name() == 'Constant' and not np.isfinite(node.data).all():
                raise _not_finite(path, 'has')
        notes: Any = self._model.rt_info
        shapes = [each.partial_shape for each in self._model.inputs]
        super().__init__(
            path,
            f'OpenVINO {openvino.get_version().split("-")[0]}, CPU',
            [
                [n.get_length() if n.is_static else None for n in each]
                for each in shapes
            ],
            [each.any_name for each in self._model.outputs],
            notes[PRECISION_KEY].astype(str) if PRECISION_KEY in notes else None,
        )
        hint = dict(bf16='bf16', fp16='f16').get(self.precision, 'f32')
        able = self._core.get_property('CPU', 'OPTIMIZATION_CAPABILITIES')
        if hint == 'f16' and 'FP16' not in able:  # it would take the coarser bfloat16
            hint = 'f32'
        # Without a hint a CPU with bfloat16 computes in it. int8 is in the graph.
        self._options = dict(PERFORMANCE_HINT='LATENCY', INFERENCE_PRECISION_HINT=hint)
        if threads:
            self._options['INFERENCE_NUM_THREADS'] = str(threads)
        self._compiled: dict[int, Any] = {}
        self._compiling = threading.Lock()
        self._of_thread = threading.local()

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
