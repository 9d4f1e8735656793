"""Export to OpenVINO. The estimator in PyTorch is the oracle."""

from collections import Counter

import numpy as np
import openvino
import pytest

from ldcrn_mm.deploy import open_runtime
from ldcrn_mm.deploy.export_openvino import export_openvino

from .conftest import noise


def relative_error(found, expected):
    return np.abs(found - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize('count', [1, 3])
def test_heatmaps_are_those_of_pytorch(xml_file, expected, count):
    images = noise(3, 3, 64, 48).numpy()[:count]

    assert relative_error(open_runtime(xml_file)(images), expected[:count]) < 1e-5


def test_the_graph_has_only_the_operations_of_the_network(xml_file):
    network = openvino.Core().read_model(xml_file)
    kinds = Counter(each.get_type_name() for each in network.get_ops())

    assert set(kinds) == {
        'Add', 'Concat', 'Constant', 'Convolution', 'Interpolate', 'Multiply',
        'Parameter', 'Relu', 'Result',
    }  # fmt: skip


def test_keypoints_are_those_of_the_codec_also_in_bfloat16(estimator, traced, tmp_path):
    file = export_openvino(estimator, tmp_path / 'decoded.xml', decode=True)
    images = noise(3, 3, 64, 48).numpy()
    heatmaps = export_openvino(estimator, tmp_path / 'heatmaps.xml')
    for precision in ('fp32', 'bf16'):
        keypoints, scores = open_runtime(file, precision)(images)
        found = open_runtime(heatmaps, precision)(images)
        for i in range(3):
            reference = estimator.head.decoder.decode(found[i])
            np.testing.assert_allclose(keypoints[i], reference[0][0], atol=1e-4)
            np.testing.assert_allclose(scores[i], reference[1][0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('precision', ['fp16', 'bf16'])
def test_a_lower_precision_is_kept_in_the_file(
    estimator, traced, expected, tmp_path, precision
):
    file = export_openvino(estimator, tmp_path / 'low.xml', precision=precision)
    runtime = open_runtime(file)

    error = relative_error(runtime(noise(3, 3, 64, 48).numpy()), expected)

    assert runtime.precision == precision
    assert error < 5e-2


def test_half_precision_is_half_the_file(estimator, xml_file, tmp_path):
    file = export_openvino(estimator, tmp_path / 'half.xml', precision='fp16')

    full = xml_file.with_suffix('.bin').stat().st_size
    assert file.with_suffix('.bin').stat().st_size < 0.55 * full


def test_an_unknown_precision_is_refused(estimator, tmp_path):
    with pytest.raises(ValueError, match="got 'fp8'"):
        export_openvino(estimator, tmp_path / 'x.xml', precision='fp8')


def test_a_file_of_another_ending_is_refused(estimator, tmp_path):
    with pytest.raises(ValueError, match=r'writes \.xml files, not'):
        export_openvino(estimator, tmp_path / 'x.onnx')


def test_an_export_that_is_stopped_leaves_what_was_there(
    estimator, xml_file, full_disk
):
    folder = xml_file.parent
    before = {file: file.read_bytes() for file in folder.iterdir()}

    with pytest.raises(OSError, match='no space left'):
        export_openvino(estimator, xml_file, decode=True)

    assert {file: file.read_bytes() for file in folder.iterdir()} == before
