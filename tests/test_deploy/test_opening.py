"""What both runtimes promise alike."""

import copy
import sys

import numpy as np
import pytest
import torch

from ldcrn_mm.deploy import is_exported, open_runtime

from .conftest import array, one_convolution, reference, save

PRECISION = 'ldcrn_mm.precision'


@pytest.mark.parametrize('count', [1, 3, 7])
def test_outputs_are_those_of_the_network_for_any_number_of_images(file, count):
    images = array(count, 3, 16, 12)

    heatmaps = open_runtime(file)(images)

    assert heatmaps.dtype == np.float32
    np.testing.assert_allclose(heatmaps, reference(images), atol=1e-5)


def test_results_of_an_earlier_call_stay_as_they_were(file):
    runtime = open_runtime(file)
    images = array(1, 3, 16, 12)
    first = runtime(images)
    runtime(images + 1)

    np.testing.assert_allclose(first, reference(images), atol=1e-5)


def test_a_copy_computes_the_same(file):
    images = array(1, 3, 16, 12)

    copied = copy.deepcopy(open_runtime(file))

    np.testing.assert_allclose(copied(images), reference(images), atol=1e-5)


def test_images_need_not_be_contiguous(file):
    images = array(2, 3, 12, 16).transpose(0, 1, 3, 2)

    np.testing.assert_allclose(
        open_runtime(file)(images), reference(images.copy()), atol=1e-5
    )


def test_the_runtime_describes_the_network(file):
    runtime = open_runtime(file)

    assert runtime.input_size == (12, 16)
    assert runtime.output_names == ('heatmaps',)
    assert runtime.num_keypoints == 5
    assert runtime.precision == 'fp32'
    assert not runtime.decoded
    expected = {'.onnx': 'ONNX Runtime 1', '.xml': 'OpenVINO 20'}[file.suffix]
    assert runtime.name.startswith(expected)


@pytest.mark.parametrize('suffix', ['.onnx', '.xml'])
def test_several_outputs_come_as_a_tuple_in_their_order(tmp_path, suffix):
    names = ('keypoints', 'scores')
    runtime = open_runtime(save(one_convolution(names), tmp_path / f'two{suffix}'))

    outputs = runtime(array(3, 3, 16, 12))

    assert runtime.output_names == names
    assert runtime.decoded
    assert [output.shape for output in outputs] == [(3, 5, 4, 3)] * 2


def test_the_number_of_threads_can_be_set(file):
    images = array(1, 3, 16, 12)

    heatmaps = open_runtime(file, num_threads=1)(images)

    np.testing.assert_allclose(heatmaps, reference(images), atol=1e-5)


@pytest.mark.parametrize(
    'shape', [(1, 3, 12, 16), (1, 1, 16, 12), (3, 16, 12), (0, 3, 16, 12)]
)
def test_images_of_another_shape_are_refused(file, shape):
    with pytest.raises(ValueError, match=r'\(N, 3, 16, 12\), N > 0, but got'):
        open_runtime(file)(np.zeros(shape, np.float32))


@pytest.mark.parametrize('kind', ['Tensor', 'list'])
def test_what_is_no_array_is_refused(file, kind):
    images = dict(Tensor=torch.zeros(1, 3, 16, 12), list=[[0.0]])[kind]
    with pytest.raises(TypeError, match=f'a numpy array, but got {kind}'):
        open_runtime(file)(images)


def test_images_of_another_type_are_refused(file):
    with pytest.raises(ValueError, match='takes float32, but got uint8'):
        open_runtime(file)(np.zeros((1, 3, 16, 12), np.uint8))


def test_a_missing_file_is_named(file):
    with pytest.raises(FileNotFoundError, match=f'elsewhere{file.suffix}'):
        open_runtime(file.with_stem('elsewhere'))


def test_a_file_of_another_kind_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r'no exported network.*\.onnx .*\.xml'):
        open_runtime(tmp_path / 'checkpoint.pth')


def test_a_broken_file_is_refused(file):
    file.write_text('nonsense')

    with pytest.raises(ValueError, match='cannot read'):
        open_runtime(file)


@pytest.mark.parametrize('suffix', ['.onnx', '.xml'])
def test_a_network_for_images_of_any_size_is_refused(tmp_path, suffix):
    network = one_convolution()
    for side in network.input[0].type.tensor_type.shape.dim[2:]:
        side.dim_param = 'any'
    for side in network.output[0].type.tensor_type.shape.dim[2:]:
        side.dim_param = 'other'
    path = save(network, tmp_path / f'any{suffix}')

    with pytest.raises(ValueError, match='with fixed height and width'):
        open_runtime(path)


def test_less_than_one_thread_is_refused(file):
    with pytest.raises(ValueError, match='at least 1 thread, not 0'):
        open_runtime(file, num_threads=0)


@pytest.mark.parametrize(
    ('suffix', 'module'), [('.onnx', 'onnxruntime'), ('.xml', 'openvino')]
)
def test_a_missing_runtime_is_named_with_what_installs_it(
    tmp_path, monkeypatch, suffix, module
):
    path = save(one_convolution(), tmp_path / f'network{suffix}')
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, f'ldcrn_mm.deploy.{module}', raising=False)

    with pytest.raises(ImportError, match=f'pip install {module}'):
        open_runtime(path)


@pytest.mark.parametrize('suffix', ['.onnx', '.xml'])
def test_a_file_knows_its_precision(tmp_path, suffix):
    path = save(one_convolution(), tmp_path / f'network{suffix}', **{PRECISION: 'int8'})

    assert open_runtime(path).precision == 'int8'
    assert open_runtime(path, 'int8').precision == 'int8'
    with pytest.raises(ValueError, match='run in int8, not in fp32'):
        open_runtime(path, 'fp32')


def test_a_precision_that_the_file_is_not_quantized_to_is_refused(file):
    with pytest.raises(ValueError, match='not in int8'):
        open_runtime(file, 'int8')


def test_exported_files_are_known_by_their_names():
    assert is_exported('a/b.onnx')
    assert is_exported('B.XML')
    assert not is_exported('c.pth')
    assert not is_exported('https://example.com/checkpoint.pth')
