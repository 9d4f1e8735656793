"""Post-training quantization to int8.

Weights are rounded by output channel, activations by their range on
calibration images.

References:
    [1] https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
    [2] https://docs.openvino.ai, "Basic Quantization Flow" of NNCF.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import openvino

from .export_onnx import save_onnx
from .export_openvino import save_openvino, to_openvino


def quantize_onnx(
    graph: onnx.ModelProto, path: Path, images: np.ndarray, keep: Iterable[str] = ()
) -> Path:
    """Quantizes an ONNX graph for ONNX Runtime, weights to 7 of the 8 bits.

    Args:
        graph: what :func:`~ldcrn_mm.deploy.export_onnx.to_onnx` returns.
        path: the ``.onnx`` file to write.
        images: (N, 3, H, W), normalised, to calibrate on.
        keep: names of the convolutions that stay in floating point.

    Returns:
        The path.

    Raises:
        ImportError: where ONNX Runtime is not installed.
        ValueError: where a layer to keep is not in the graph.
    """
    from onnxruntime import quantization

    class Images(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self._images: Iterator[np.ndarray] = iter(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self._images, None)
            return None if image is None else {graph.graph.input[0].name: image[None]}

    # What the preprocessing that it asks for would do, the exporter has done.
    onnx.helper.set_model_props(graph, {'onnx.quant.pre_process': 'onnxruntime.quant'})
    with TemporaryDirectory() as folder:
        result = Path(folder, 'int8.onnx')
        quantization.quantize_static(
            graph,
            result,
            Images(),
            op_types_to_quantize=['Conv', 'Relu', 'Add', 'Concat', 'Resize'],
            per_channel=True,
            # CPUs without VNNI add pairs of products in 16 bits, which 8 bits overflow.
            reduce_range=True,
            nodes_to_exclude=_left_out(_onnx_names(graph), keep),
        )
        save_onnx(onnx.load(result), path, 'int8')
    return path


def quantize_openvino(
    graph: onnx.ModelProto, path: Path, images: np.ndarray, keep: Iterable[str] = ()
) -> Path:
    """Quantizes an ONNX graph for OpenVINO, with NNCF.

    Args:
        graph: what :func:`~ldcrn_mm.deploy.export_onnx.to_onnx` returns.
        path: the ``.xml`` file to write.
        images: (N, 3, H, W), normalised, to calibrate on.
        keep: names of the convolutions that stay in floating point.

    Returns:
        The path.

    Raises:
        ImportError: where NNCF is not installed.
        ValueError: where a layer to keep is not in the graph.
    """
    import nncf

    network = to_openvino(graph)
    left_out = _left_out(_openvino_names(network), keep)
    network = nncf.quantize(
        network,
        nncf.Dataset(images[:, None]),
        subset_size=len(images),
        ignored_scope=nncf.IgnoredScope(names=left_out),
    )
    save_openvino(network, path, 'int8')
    return path


def _left_out(
    names: Sequence[tuple[str, str | None]], keep: Iterable[str]
) -> list[str]:
    """Names of the nodes that stay in floating point.

    They are the convolutions to keep and what comes after the last
    convolution: the decoding.

    Args:
        names: of all nodes in the order in which they are computed, each with
            the name of its weights where it is a convolution.
        keep: names of the convolutions to keep.
    """
    by_weight = {weight: name for name, weight in names if weight}
    for layer in keep:
        if f'model.{layer}.weight' not in by_weight:
            raise ValueError(f'The graph has no convolution `{layer}`.')
    last = max(i for i, (_, weight) in enumerate(names) if weight)
    return [
        *(by_weight[f'model.{layer}.weight'] for layer in keep),
        *(name for name, _ in names[last + 1 :]),
    ]


def _onnx_names(graph: onnx.ModelProto) -> list[tuple[str, str | None]]:
    return [
        (node.name, node.input[1] if node.op_type == 'Conv' else None)
        for node in graph.graph.node
    ]


def _openvino_names(network: openvino.Model) -> list[tuple[str, str | None]]:
    names = []
    for node in network.get_ordered_ops():
        kind, weight = node.get_type_name(), None
        if kind in ('Constant', 'Parameter', 'Result'):
            continue
        if kind == 'Convolution':
            weight = node.input_value(1).get_node().get_friendly_name()
        names.append((node.get_friendly_name(), weight))
    return names
