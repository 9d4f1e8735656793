"""Export to OpenVINO."""

from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import openvino
from mmpose.models.pose_estimators.base import BasePoseEstimator

from ..checkpoint.files import write_whole
from .export_onnx import OPSET, to_onnx
from .runtime import PRECISION_KEY

PRECISIONS = ('fp32', 'fp16', 'bf16')


def export_openvino(
    model: BasePoseEstimator,
    path: str | Path,
    size: tuple[int, int] | None = None,
    *,
    decode: bool = False,
    opset: int = OPSET,
    precision: str = 'fp32',
) -> Path:
    """Writes an estimator, without its preprocessing, into ``.xml`` and ``.bin``.

    The way goes through ONNX, whose exporter folds batch normalisation and
    leaves nothing but the network's own operations in the graph.

    Args:
        model: the estimator; is put into evaluation mode.
        path: the ``.xml`` file to write; the ``.bin`` file goes beside it.
        size: (width, height) of the images; by default that of the codec.
        decode: the output is keypoints and scores instead of heatmaps.
        opset: version of ONNX's operators on the way.
        precision: ``'fp16'`` stores the weights in half precision and,
            like ``'bf16'``, computes in it where the CPU can; see
            :func:`~ldcrn_mm.deploy.open_runtime`.

    Returns:
        The path.

    Raises:
        ValueError: as :func:`export_onnx`; or there is no such precision, or
            the file would not end in ``.xml``.
    """
    if precision not in PRECISIONS:
        raise ValueError(f'Expected a precision of {PRECISIONS}, got {precision!r}.')
    path = Path(path)
    if path.suffix != '.xml':
        raise ValueError(f'OpenVINO writes .xml files, not `{path}`.')
    network = to_openvino(to_onnx(model, size, decode, opset))
    save_openvino(network, path, precision)
    return path


def save_openvino(network: openvino.Model, path: Path, precision: str) -> None:
    """Notes a network's precision in it and writes it, each file whole or not at all.

    The ``.xml`` file comes last: where there is one, its weights are there.
    """
    network.set_rt_info(precision, PRECISION_KEY)
    with TemporaryDirectory() as folder:
        file = Path(folder, path.name)
        openvino.save_model(network, file, compress_to_fp16=precision == 'fp16')
        for suffix in ('.bin', '.xml'):
            content = file.with_suffix(suffix).read_bytes()
            write_whole(content, path.with_suffix(suffix))


def to_openvino(graph: onnx.ModelProto) -> openvino.Model:
    """OpenVINO's form of an ONNX graph."""
    with TemporaryDirectory() as folder:
        file = Path(folder, 'network.onnx')
        onnx.save(graph, file)
        return openvino.convert_model(file)
