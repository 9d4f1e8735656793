"""Post-training quantization to int8.

Weights are rounded per output channel, activations by their range on calibration
images.

References:
    [1] https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
    [2] https://docs.openvino.ai, "Basic Quantization Flow" of NNCF.
"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import onnx

if TYPE_CHECKING:
    import openvino


def quantize_onnx(graph: onnx.ModelProto, images: np.ndarray) -> onnx.ModelProto:
    """Quantizes for ONNX Runtime, weights to 7 bits, by normalised images."""
    from onnxruntime import quantization

    class Images(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self._images = iter(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self._images, None)
            return None if image is None else {graph.graph.input[0].name: image[None]}

    nodes = graph.graph.node
    # The exporter has already done the preprocessing that ONNX Runtime asks for.
    onnx.helper.set_model_props(graph, {'onnx.quant.pre_process': 'onnxruntime.quant'})
    with TemporaryDirectory() as folder:
        file = Path(folder, 'int8.onnx')
        quantization.quantize_static(
            graph,
            file,
            Images(),
            op_types_to_quantize=['Conv', 'Relu', 'Add', 'Concat', 'Resize'],
            per_channel=True,
            # CPUs without VNNI add pairs of products in 16 bits, which 8 bits overflow.
            reduce_range=True,
            nodes_to_exclude=_decoding([(n.name, n.op_type == 'Conv') for n in nodes]),
        )
        return onnx.load(file)


def quantize_openvino(
    network: 'openvino.Model', images: np.ndarray
) -> 'openvino.Model':
    """Quantizes for OpenVINO, with NNCF, by normalised images (N, 3, H, W)."""
    import nncf

    nodes = [
        (node.get_friendly_name(), node.get_type_name() == 'Convolution')
        for node in network.get_ordered_ops()
        if node.get_type_name() not in ('Constant', 'Parameter', 'Result')
    ]
    return nncf.quantize(
        network,
        nncf.Dataset(images[:, None]),
        subset_size=len(images),
        ignored_scope=nncf.IgnoredScope(names=_decoding(nodes)),
    )


def _decoding(nodes: Sequence[tuple[str, bool]]) -> list[str]:
    """The nodes behind the last convolution, which stay in floating point."""
    last = max(i for i, (_, is_conv) in enumerate(nodes) if is_conv)
    return [name for name, _ in nodes[last + 1 :]]
