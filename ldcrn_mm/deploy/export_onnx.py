"""Export to ONNX."""

import io
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from mmpose.models.pose_estimators.base import BasePoseEstimator

from ..checkpoint.files import write_whole
from .network import ExportableNetwork, input_size_of
from .runtime import PRECISION_KEY

OPSET = 20
PRECISIONS = ('fp32', 'fp16')


def export_onnx(
    model: BasePoseEstimator,
    path: str | Path,
    size: tuple[int, int] | None = None,
    *,
    decode: bool = False,
    opset: int = OPSET,
    precision: str = 'fp32',
) -> Path:
    """Writes an estimator, without its preprocessing, into an ``.onnx`` file.

    The file takes any number of normalised images of one size; see
    :class:`ExportableNetwork` for its output. Batch normalisation after a
    convolution is folded into it by the exporter.

    Args:
        model: the estimator; is put into evaluation mode.
        path: the file to write.
        size: (width, height) of the images; by default that of the codec.
        decode: the output is keypoints and scores instead of heatmaps.
        opset: version of ONNX's operators, at least 18.
        precision: ``'fp16'`` stores the weights of the convolutions in half
            precision, half the file; it is computed in float32 all the same.

    Returns:
        The path.

    Raises:
        ValueError: where the size does not fit the network, the decoding is
            not possible in the graph, or there is no such opset or precision.
    """
    if precision not in PRECISIONS:
        raise ValueError(f'Expected a precision of {PRECISIONS}, got {precision!r}.')
    path = Path(path)
    graph = to_onnx(model, size, decode, opset)
    if precision == 'fp16':
        _halve_weights(graph)
    save_onnx(graph, path, precision)
    return path


def save_onnx(graph: onnx.ModelProto, path: Path, precision: str) -> None:
    """Checks a graph, notes its precision in it and writes it, whole or not at all."""
    onnx.helper.set_model_props(graph, {PRECISION_KEY: precision})
    onnx.checker.check_model(graph, full_check=True)
    write_whole(graph.SerializeToString(), path)


def to_onnx(
    model: BasePoseEstimator,
    size: tuple[int, int] | None = None,
    decode: bool = False,
    opset: int = OPSET,
) -> onnx.ModelProto:
    """The graph that :func:`export_onnx` writes; same arguments."""
    if not 18 <= opset <= onnx.defs.onnx_opset_version():
        raise ValueError(
            f'Expected an opset from 18 to {onnx.defs.onnx_opset_version()}, the '
            f'newest that the installed onnx knows, but got {opset}.'
        )
    width, height = size or input_size_of(model)
    network = ExportableNetwork(model, decode)
    # Two images: torch.export takes a side of 1 for a constant.
    images = torch.zeros(2, 3, height, width)
    names = network.output_names(images)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of the exporter's own code, dozens
        program = torch.onnx.export(
            network,
            (images,),
            input_names=['images'],
            output_names=list(names),
            dynamic_shapes=dict(images={0: torch.export.Dim('batch')}),
            opset_version=opset,
            dynamo=True,
            verbose=False,
        )
    file = io.BytesIO()
    program.save(file)
    graph = onnx.load_from_string(file.getvalue())
    _forget_origins(graph)
    return graph


def _forget_origins(model: onnx.ModelProto) -> None:
    """Takes out the exporter's notes: they name the files of this machine."""
    parts = [
        model.graph,
        *model.graph.node,
        *model.graph.input,
        *model.graph.output,
        *model.graph.value_info,
        *model.graph.initializer,
    ]
    for part in parts:
        part.ClearField('metadata_props')
        part.ClearField('doc_string')


def _halve_weights(model: onnx.ModelProto) -> None:
    """Stores the convolutions' weights as float16, with a cast to float32."""
    casts = []
    for weight in model.graph.initializer:
        if len(weight.dims) == 4 and weight.data_type == onnx.TensorProto.FLOAT:
            name = weight.name
            half = onnx.numpy_helper.to_array(weight).astype(np.float16)
            weight.CopyFrom(onnx.numpy_helper.from_array(half, f'{name}.fp16'))
            casts.append(
                onnx.helper.make_node(
                    'Cast', [weight.name], [name], to=onnx.TensorProto.FLOAT
                )
            )
    nodes = [*casts, *model.graph.node]
    model.graph.ClearField('node')
    model.graph.node.extend(nodes)
