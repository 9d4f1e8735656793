"""Finds the runtime for an exported file."""

from pathlib import Path

from .runtime import Runtime

# Of exported files, and the runtimes that take them
SUFFIXES = {'.onnx': 'ONNX Runtime', '.xml': 'OpenVINO'}


def is_exported(path: str | Path) -> bool:
    """Whether a file is, by its name, an exported network and no checkpoint."""
    return Path(path).suffix.lower() in SUFFIXES


def open_runtime(
    path: str | Path, precision: str | None = None, num_threads: int | None = None
) -> Runtime:
    """Opens an exported network in the runtime for its kind of file.

    Args:
        path: an ``.onnx`` file, for ONNX Runtime (on CUDA where the package
            has it, else on CPU), or an ``.xml`` file with its ``.bin`` beside
            it, for OpenVINO (on CPU).
        precision: ``'fp32'``, or for OpenVINO ``'bf16'`` or ``'fp16'``, of the
            computation. By default what the file was exported for, and
            float32 where it does not say.
        num_threads: of the CPU; by default the runtime's choice.

    Returns:
        What is called with images.

    Raises:
        FileNotFoundError: where there is no such file.
        ImportError: where the runtime is not installed; says how to.
        ValueError: where the file is broken or of another kind, or has no such
            precision.
    """
    path = Path(path)
    if not is_exported(path):
        raise ValueError(
            f'`{path}` is no exported network. Expected a file that ends in '
            + ' or '.join(f'{suffix} ({name})' for suffix, name in SUFFIXES.items())
            + '; tools/export.py writes them.'
        )
    if not path.is_file():
        raise FileNotFoundError(f'There is no exported network `{path}`.')
    if num_threads is not None and num_threads < 1:
        raise ValueError(f'A runtime needs at least 1 thread, not {num_threads}.')
    try:
        if path.suffix.lower() == '.onnx':
            from .onnxruntime import OnnxRuntime as Kind
        else:
            from .openvino import OpenVINORuntime as Kind
    except ModuleNotFoundError as error:
        raise ImportError(
            f'`{path}` needs {SUFFIXES[path.suffix.lower()]}, and Python finds no '
            f'module {error.name}. Install it: pip install {error.name}'
        ) from error
    return Kind(path, precision, num_threads)
