"""Both runtimes, on a network of one convolution. PyTorch is the oracle."""

import copy
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import openvino
import pytest
import torch

from ldcrn_mm.deploy import is_exported, open_runtime

from .conftest import WEIGHT, array, one_convolution, save

PRECISION = 'ldcrn_mm.precision'
SUFFIXES = pytest.mark.parametrize('suffix', ['.onnx', '.xml'])


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('a/b.onnx', True),
        ('B.XML', True),
        ('c.pth', False),
        ('https://example.com/checkpoint.pth', False),
    ],
)
def test_is_exported(name, expected):
    assert is_exported(name) is expected


class TestOutputs:
    @pytest.mark.parametrize('count', [1, 3, 7])
    @pytest.mark.parametrize('num_threads', [None, 1])
    def test_any_number_of_images(self, file, count, num_threads):
        images = array(count, 3, 16, 12)
        heatmaps = open_runtime(file, num_threads=num_threads)(images)
        assert heatmaps.dtype == np.float32
        np.testing.assert_allclose(heatmaps, one_convolution(images), atol=1e-5)

    def test_results_of_earlier_calls_stay(self, file):
        runtime = open_runtime(file)
        images = array(1, 3, 16, 12)
        first = runtime(images)
        runtime(images + 1)
        np.testing.assert_allclose(first, one_convolution(images), atol=1e-5)

    def test_a_copy_computes_the_same(self, file):
        images = array(1, 3, 16, 12)
        copied = copy.deepcopy(open_runtime(file))
        np.testing.assert_allclose(copied(images), one_convolution(images), atol=1e-5)

    def test_images_need_not_be_contiguous(self, file):
        images = array(2, 3, 12, 16).transpose(0, 1, 3, 2)
        found = open_runtime(file)(images)
        np.testing.assert_allclose(found, one_convolution(images.copy()), atol=1e-5)

    @SUFFIXES
    def test_several_outputs_are_a_tuple_in_their_order(self, tmp_path, suffix):
        names = ('keypoints', 'scores')
        runtime = open_runtime(save(tmp_path / f'two{suffix}', outputs=names))
        outputs = runtime(array(3, 3, 16, 12))
        assert runtime.output_names == names
        assert runtime.decoded
        assert [output.shape for output in outputs] == [(3, 5, 4, 3)] * 2

    def test_description(self, file):
        runtime = open_runtime(file)
        assert (runtime.input_size, runtime.precision) == ((12, 16), 'fp32')
        assert (runtime.output_names, runtime.decoded) == (('heatmaps',), False)
        expected = {'.onnx': 'ONNX Runtime 1', '.xml': 'OpenVINO 20'}[file.suffix]
        assert runtime.name.startswith(expected)
        assert runtime.name.endswith(', CPU')


def call_from_threads(file, num_calls, batches=(1,)):
    """Calls one runtime from 8 threads. Every call has to return its own outputs."""
    runtime = open_runtime(file, num_threads=1)
    inputs = [array(batches[i % len(batches)], 3, 64, 48, seed=i) for i in range(40)]
    expected = [one_convolution(images) for images in inputs]
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda i: runtime(inputs[i % 40]), range(num_calls))
        for i, heatmaps in enumerate(found):
            np.testing.assert_allclose(heatmaps, expected[i % 40], atol=1e-4)


@SUFFIXES
@pytest.mark.parametrize('num_calls', [200, pytest.param(2000, marks=pytest.mark.slow)])
def test_threads_get_the_outputs_of_their_own_images(tmp_path, suffix, num_calls):
    file = save(tmp_path / f'network{suffix}', size=(48, 64))
    call_from_threads(file, num_calls, batches=(1, 2, 3))


class TestErrors:
    @pytest.mark.parametrize(
        'shape', [(1, 3, 12, 16), (1, 1, 16, 12), (3, 16, 12), (0, 3, 16, 12), ()]
    )
    def test_shape_of_images(self, file, shape):
        with pytest.raises(ValueError, match=r'\(N, 3, 16, 12\)'):
            open_runtime(file)(np.zeros(shape, np.float32))

    @pytest.mark.parametrize(
        ('images', 'error', 'name'),
        [
            (torch.zeros(1, 3, 16, 12), TypeError, 'Tensor'),
            ([[0.0]], TypeError, 'list'),
            (np.zeros((1, 3, 16, 12), np.uint8), ValueError, 'uint8'),
        ],
    )
    def test_type_of_images(self, file, images, error, name):
        with pytest.raises(error, match=name):
            open_runtime(file)(images)

    @SUFFIXES
    @pytest.mark.parametrize('value', [np.nan, np.inf])
    def test_outputs_that_are_not_finite(self, tmp_path, suffix, value):
        weight = WEIGHT.copy()
        weight[2] = value
        file = save(tmp_path / f'broken{suffix}', weight=weight)
        with pytest.raises(ValueError, match=f'broken{suffix}.*NaN'):
            open_runtime(file)(array(1, 3, 16, 12))

    def test_missing_file(self, file):
        with pytest.raises(FileNotFoundError, match=f'elsewhere{file.suffix}'):
            open_runtime(file.with_stem('elsewhere'))

    @SUFFIXES
    def test_broken_file(self, tmp_path, suffix):
        file = tmp_path / f'broken{suffix}'
        file.write_text('nonsense')
        with pytest.raises(ValueError, match=file.name):
            open_runtime(file)

    def test_file_of_another_kind(self, tmp_path):
        with pytest.raises(ValueError, match=r'checkpoint\.pth.*\.onnx .*\.xml'):
            open_runtime(tmp_path / 'checkpoint.pth')

    @SUFFIXES
    @pytest.mark.parametrize(
        ('network', 'name'),
        [(dict(size=(None, None)), 'fixed height'), (dict(inputs=2), 'one input.* 2')],
    )
    def test_inputs_of_the_network(self, tmp_path, suffix, network, name):
        file = save(tmp_path / f'network{suffix}', **network)
        with pytest.raises(ValueError, match=name):
            open_runtime(file)

    def test_number_of_threads(self, file):
        with pytest.raises(ValueError, match='num_threads'):
            open_runtime(file, num_threads=0)

    @pytest.mark.parametrize('module', ['onnxruntime', 'openvino'])
    def test_runtime_that_is_not_installed(self, tmp_path, monkeypatch, module):
        suffix = dict(onnxruntime='.onnx', openvino='.xml')[module]
        file = save(tmp_path / f'network{suffix}')
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ImportError, match=f'pip install {module}'):
            open_runtime(file)


class TestPrecision:
    @pytest.mark.parametrize(
        ('suffix', 'stored', 'wanted', 'found'),
        [
            ('.onnx', None, None, 'fp32'),
            ('.onnx', 'fp16', None, 'fp16'),
            ('.onnx', 'int8', 'int8', 'int8'),
            ('.xml', None, None, 'fp32'),
            ('.xml', None, 'bf16', 'bf16'),
            ('.xml', 'bf16', None, 'bf16'),
            ('.xml', 'bf16', 'fp32', 'fp32'),
            ('.xml', 'int8', None, 'int8'),
        ],
    )
    def test_of_the_file_or_as_wanted(self, tmp_path, suffix, stored, wanted, found):
        notes = {PRECISION: stored} if stored else {}
        file = save(tmp_path / f'network{suffix}', **notes)
        assert open_runtime(file, wanted).precision == found

    @pytest.mark.parametrize(
        ('suffix', 'stored', 'wanted', 'choice'),
        [
            ('.onnx', 'fp32', 'bf16', 'must be fp32, got'),
            ('.onnx', 'int8', 'fp32', 'must be int8, got'),
            ('.xml', 'fp32', 'int8', 'bf16 or fp16 or fp32'),
            ('.xml', 'int8', 'fp32', 'must be int8, got'),
        ],
    )
    def test_exception_for_others(self, tmp_path, suffix, stored, wanted, choice):
        file = save(tmp_path / f'network{suffix}', **{PRECISION: stored})
        with pytest.raises(ValueError, match=f'precision.*{choice}'):
            open_runtime(file, wanted)

    @pytest.mark.parametrize(
        ('precision', 'able', 'hint'),
        [
            # A CPU with bfloat16 would compute in it by default.
            ('fp32', ['BF16', 'FP16'], 'f32'),
            ('bf16', ['BF16'], 'bf16'),
            ('fp16', ['BF16'], 'f32'),  # not in the coarser bfloat16
            ('fp16', ['BF16', 'FP16'], 'f16'),
        ],
    )
    def test_hint_for_openvino(self, tmp_path, monkeypatch, precision, able, hint):
        monkeypatch.setattr(openvino.Core, 'get_property', lambda *names: able)
        runtime = open_runtime(save(tmp_path / 'network.xml'), precision)
        assert runtime._options['INFERENCE_PRECISION_HINT'] == hint

    def test_bfloat16_computes_about_the_same(self, tmp_path):
        runtime = open_runtime(save(tmp_path / 'network.xml'), 'bf16')
        images = array(2, 3, 16, 12)
        expected = one_convolution(images)
        assert np.abs(runtime(images) - expected).max() < 0.02 * np.abs(expected).max()


def test_openvino_compiles_few_batch_sizes(tmp_path):
    runtime = open_runtime(save(tmp_path / 'network.xml'))
    for count in (7, 5, 3, 8, 1):
        runtime(array(count, 3, 16, 12))
    assert sorted(runtime._compiled) == [1, 2, 4, 8]
