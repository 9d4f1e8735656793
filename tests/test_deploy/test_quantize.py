"""int8: about the same heatmaps from a smaller file."""

import numpy as np
import onnx
import openvino
import pytest

from ldcrn_mm.deploy import deploy_form, open_runtime
from ldcrn_mm.deploy.export import export_network

from .conftest import IMAGES, SUFFIXES, noise, write_graph

BOTH = pytest.mark.parametrize('suffix', SUFFIXES)
INT8 = dict(precision='int8', calibration=noise(8, 3, 64, 48, seed=2).numpy())


def weights_of(file):
    """The operation that makes the weights of each convolution, and its inputs."""
    if file.suffix == '.xml':
        nodes = openvino.Core().read_model(file).get_ops()
        convs = [node for node in nodes if node.get_type_name() == 'Convolution']
        makers = [node.input_value(1).get_node().get_type_name() for node in convs]
        return [(maker, None) for maker in makers]
    graph = onnx.load(file).graph
    made_by = {name: node for node in graph.node for name in node.output}
    stored = {
        tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer
    }
    makers = [made_by[node.input[1]] for node in graph.node if node.op_type == 'Conv']
    return [(maker.op_type, stored[maker.input[0]]) for maker in makers]


@BOTH
def test_heatmaps_are_about_those_of_the_estimator(heatmaps, graphs, tmp_path, suffix):
    file = write_graph(graphs[False], tmp_path / f'int8{suffix}', **INT8)
    runtime = open_runtime(file, num_threads=1)
    error = runtime(IMAGES.numpy()) - heatmaps
    assert runtime.precision == 'int8'
    assert 1e-4 < np.linalg.norm(error) / np.linalg.norm(heatmaps) < 0.15
    weights = weights_of(file)
    nodes = graphs[False].graph.node
    assert len(weights) == sum(node.op_type == 'Conv' for node in nodes)
    maker = {'.onnx': 'DequantizeLinear', '.xml': 'Multiply'}[suffix]
    assert {kind for kind, _ in weights} == {maker}
    if suffix == '.onnx':
        # CPUs without VNNI add two products with unsigned 8 bits in signed 16 bits.
        largest = max(np.abs(values.astype(int)).max() for _, values in weights)
        assert 32 < largest <= np.iinfo(np.int16).max / 2 / 255


@pytest.mark.slow
@BOTH
def test_the_decoding_is_not_quantized(estimator, tmp_path, suffix):
    form = deploy_form(estimator)
    runtimes = [
        open_runtime(
            export_network(form, tmp_path / f'{i}{suffix}', decode=decode, **INT8)
        )
        for i, decode in enumerate((False, True))
    ]
    heatmaps, (keypoints, _) = (runtime(IMAGES.numpy()) for runtime in runtimes)
    for found, maps in zip(keypoints, heatmaps):
        expected, _ = estimator.head.decoder.decode(maps)
        np.testing.assert_allclose(found, expected[0], atol=1e-4)
