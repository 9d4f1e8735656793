"""Export to ONNX. The estimator in PyTorch is the oracle."""

from collections import Counter

import numpy as np
import onnx
import pytest
import torch

from ldcrn_mm.deploy import open_runtime
from ldcrn_mm.deploy.export_onnx import export_onnx, to_onnx

from .conftest import SIZE, noise


def relative_error(found, expected):
    return np.abs(found - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize('count', [1, 3])
def test_heatmaps_are_those_of_pytorch(onnx_file, expected, count):
    images = noise(3, 3, 64, 48).numpy()[:count]

    found = open_runtime(onnx_file)(images)

    assert relative_error(found, expected[:count]) < 1e-5


def test_keypoints_are_those_of_the_codec(estimator, traced, expected, tmp_path):
    file = export_onnx(estimator, tmp_path / 'decoded.onnx', decode=True)
    runtime = open_runtime(file)

    keypoints, scores = runtime(noise(3, 3, 64, 48).numpy())

    assert runtime.decoded
    for i in range(3):
        reference = estimator.head.decoder.decode(expected[i])
        np.testing.assert_allclose(keypoints[i], reference[0][0], atol=1e-4)
        np.testing.assert_allclose(scores[i], reference[1][0], rtol=1e-4, atol=1e-4)


def test_the_graph_has_only_the_operations_of_the_network(onnx_file, estimator):
    nodes = onnx.load(onnx_file).graph.node
    kinds = Counter(node.op_type for node in nodes)

    assert set(kinds) == {
        'Add', 'BatchNormalization', 'Concat', 'Conv', 'Relu', 'Resize',
    }  # fmt: skip
    convolutions = [m for m in estimator.modules() if isinstance(m, torch.nn.Conv2d)]
    assert kinds['Conv'] == len(convolutions)


def test_normalisation_after_a_convolution_is_folded(onnx_file):
    nodes = onnx.load(onnx_file).graph.node
    made_by = {name: node.op_type for node in nodes for name in node.output}

    inputs = {
        made_by[node.input[0]] for node in nodes if node.op_type == 'BatchNormalization'
    }

    assert 'Conv' not in inputs


def test_the_file_tells_nothing_of_where_it_was_made(onnx_file, root):
    content = onnx_file.read_bytes()

    for word in (str(root), 'site-packages', 'stack_trace', 'forward'):
        assert word.encode() not in content


def test_size_and_opset_can_be_chosen(estimator, tmp_path):
    file = export_onnx(estimator, tmp_path / 'other.onnx', (32, 40), opset=18)
    images = noise(2, 3, 40, 32)
    with torch.no_grad():
        expected = estimator(images, None, mode='tensor').numpy()

    runtime = open_runtime(file)

    assert runtime.input_size == (32, 40)
    assert relative_error(runtime(images.numpy()), expected) < 1e-5
    assert [o.version for o in onnx.load(file).opset_import if not o.domain] == [18]


def test_half_precision_halves_the_weights_alone(
    estimator, onnx_file, expected, tmp_path
):
    file = export_onnx(estimator, tmp_path / 'half.onnx', precision='fp16')
    runtime = open_runtime(file)

    error = relative_error(runtime(noise(3, 3, 64, 48).numpy()), expected)

    assert runtime.precision == 'fp16'
    assert 1e-5 < error < 1e-2
    weights = sum(
        m.weight.numel() for m in estimator.modules() if hasattr(m, 'kernel_size')
    )
    saved = onnx_file.stat().st_size - file.stat().st_size
    assert saved > 1.2 * weights  # two bytes each, less the casts
    for weight in onnx.load(file).graph.initializer:
        if weight.name.endswith('.fp16'):
            assert weight.data_type == onnx.TensorProto.FLOAT16


@pytest.mark.parametrize('opset', [9, 99])
def test_an_opset_that_cannot_be_written_is_refused(estimator, opset):
    with pytest.raises(ValueError, match=f'opset from 18 to .* got {opset}'):
        to_onnx(estimator, opset=opset)


def test_a_precision_of_another_format_is_refused(estimator, tmp_path):
    with pytest.raises(ValueError, match=r"fp16.*got 'bf16'"):
        export_onnx(estimator, tmp_path / 'x.onnx', precision='bf16')


def test_a_size_that_the_network_cannot_halve_is_refused(estimator, tmp_path):
    with pytest.raises(ValueError, match='multiples of 8'):
        export_onnx(estimator, tmp_path / 'x.onnx', (SIZE[0] + 4, SIZE[1]))


def test_an_export_that_is_stopped_leaves_what_was_there(
    estimator, onnx_file, full_disk
):
    folder = onnx_file.parent
    before = {file: file.read_bytes() for file in folder.iterdir()}

    with pytest.raises(OSError, match='no space left'):
        export_onnx(estimator, onnx_file, decode=True)

    assert {file: file.read_bytes() for file in folder.iterdir()} == before
