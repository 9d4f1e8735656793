"""int8: roughly the same heatmaps from a smaller file."""

import copy

import numpy as np
import onnx
import openvino
import pytest
import torch

from ldcrn_mm.deploy import open_runtime
from ldcrn_mm.deploy.export_onnx import to_onnx
from ldcrn_mm.deploy.quantize import quantize_onnx, quantize_openvino
from ldcrn_mm.deploy.trained import form_to_export

from .conftest import noise

WRITE = {'.onnx': quantize_onnx, '.xml': quantize_openvino}
IMAGES = noise(8, 3, 64, 48, seed=2).numpy()


def error_of(file, expected):
    found = open_runtime(file)(noise(3, 3, 64, 48).numpy())
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def quantized_convolutions(file):
    """How many convolutions have weights that are stored in 8 bits."""
    if file.suffix == '.xml':
        nodes = openvino.Core().read_model(file).get_ops()
        kinds = [
            node.input_value(1).get_node().get_type_name()
            for node in nodes
            if node.get_type_name() == 'Convolution'
        ]
        return len(kinds) - kinds.count('Constant')
    makers = makers_of_weights(onnx.load(file).graph)
    return sum(
        node is not None and node.op_type == 'DequantizeLinear' for node in makers
    )


def makers_of_weights(graph):
    """The node that makes the weights of each convolution, None where none does."""
    made_by = {name: node for node in graph.node for name in node.output}
    return [made_by.get(node.input[1]) for node in graph.node if node.op_type == 'Conv']


@pytest.mark.parametrize('suffix', WRITE)
def test_heatmaps_are_roughly_those_of_the_estimator(graph, expected, tmp_path, suffix):
    file = WRITE[suffix](copy.deepcopy(graph), tmp_path / f'int8{suffix}', IMAGES)

    assert open_runtime(file).precision == 'int8'
    assert 1e-4 < error_of(file, expected) < 0.15
    convolutions = [node for node in graph.graph.node if node.op_type == 'Conv']
    assert quantized_convolutions(file) == len(convolutions)


def test_no_cpu_overflows_in_onnx_runtime(graph, tmp_path):
    file = quantize_onnx(copy.deepcopy(graph), tmp_path / 'int8.onnx', IMAGES)

    network = onnx.load(file).graph
    stored = {tensor.name: tensor for tensor in network.initializer}
    weights = [stored[node.input[0]] for node in makers_of_weights(network)]
    largest = max(
        abs(onnx.numpy_helper.to_array(each).astype(int)).max() for each in weights
    )
    # Without VNNI, pairs of products with unsigned 8 bits add up in signed 16 bits.
    assert largest > 32
    assert 2 * 255 * largest <= np.iinfo(np.int16).max


@pytest.mark.parametrize('suffix', WRITE)
def test_layers_can_be_left_out(graph, tmp_path, suffix):
    keep = ['backbone.stem.0.0', 'head.final_layer']
    all_of_them, some = (
        WRITE[suffix](copy.deepcopy(graph), tmp_path / f'{len(k)}{suffix}', IMAGES, k)
        for k in ([], keep)
    )

    left = quantized_convolutions(all_of_them) - quantized_convolutions(some)
    assert left == len(keep)


@pytest.mark.slow
@pytest.mark.parametrize('suffix', WRITE)
def test_the_decoding_is_not_quantized(
    graph, decoding_graph, estimator, tmp_path, suffix
):
    heatmaps, decoded = (
        WRITE[suffix](copy.deepcopy(each), tmp_path / f'{i}{suffix}', IMAGES)
        for i, each in enumerate((graph, decoding_graph))
    )
    images = noise(3, 3, 64, 48).numpy()

    keypoints, _ = open_runtime(decoded)(images)

    for found, maps in zip(keypoints, open_runtime(heatmaps)(images)):
        expected, _ = estimator.head.decoder.decode(maps)
        np.testing.assert_allclose(found, expected[0], atol=1e-4)


@pytest.mark.parametrize('suffix', WRITE)
def test_a_layer_that_is_not_there_is_an_error(graph, tmp_path, suffix):
    with pytest.raises(ValueError, match='no convolution `nowhere`'):
        WRITE[suffix](graph, tmp_path / f'x{suffix}', IMAGES, ['nowhere'])


@pytest.mark.slow
def test_every_convolution_of_the_deploy_form_is_found_by_its_name(estimator, tmp_path):
    form = form_to_export(estimator)
    layers = [n for n, m in form.named_modules() if isinstance(m, torch.nn.Conv2d)]

    file = quantize_onnx(to_onnx(form), tmp_path / 'x.onnx', IMAGES, layers)

    assert quantized_convolutions(file) == 0
