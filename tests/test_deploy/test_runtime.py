"""Both runtimes, on the tiny estimator. PyTorch is the oracle."""

import copy
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import openvino
import pytest
import torch

from ldcrn_mm.deploy import is_exported, open_runtime

from .conftest import IMAGES, SUFFIXES, noise, write_graph

BOTH = pytest.mark.parametrize('suffix', SUFFIXES)
ARRAY = IMAGES.numpy()


def assert_close(found, expected):
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


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
    def test_any_number_of_images(self, runtime, heatmaps, count):
        which = np.arange(count) % 3
        assert_close(runtime(ARRAY[which]), heatmaps[which])

    def test_results_of_earlier_calls_stay(self, runtime, heatmaps):
        first = runtime(ARRAY[:1])
        runtime(ARRAY[1:2])
        assert_close(first, heatmaps[:1])

    def test_a_copy_computes_the_same(self, runtime, heatmaps):
        assert_close(copy.deepcopy(runtime)(ARRAY), heatmaps)

    def test_images_need_not_be_contiguous(self, runtime, heatmaps):
        assert_close(runtime(np.asfortranarray(ARRAY)), heatmaps)

    @BOTH
    def test_description(self, runtimes, suffix):
        for decode, names in ((False, ('heatmaps',)), (True, ('keypoints', 'scores'))):
            runtime = runtimes[suffix, decode]
            assert (runtime.output_names, runtime.decoded) == (names, decode)
            assert (runtime.input_size, runtime.precision) == ((48, 64), 'fp32')
            assert runtime.name.startswith(('ONNX Runtime 1', 'OpenVINO 20'))
            assert runtime.name.endswith(', CPU')

    @pytest.mark.parametrize(
        'num_calls', [200, pytest.param(2000, marks=pytest.mark.slow)]
    )
    def test_threads_get_the_outputs_of_their_own_images(self, runtime, num_calls):
        inputs = [noise(1 + i % 2, 3, 64, 48, seed=i).numpy() for i in range(40)]
        expected = [runtime(images) for images in inputs]
        with ThreadPoolExecutor(8) as pool:
            found = pool.map(lambda i: runtime(inputs[i % 40]), range(num_calls))
            for i, one in enumerate(found):
                assert_close(one, expected[i % 40])

    def test_openvino_compiles_few_batch_sizes(self, files):
        runtime = open_runtime(files['.xml', False], num_threads=1)
        for count in (3, 1, 2):
            runtime(ARRAY[:count])
        assert sorted(runtime._compiled) == [1, 2]


class TestErrors:
    @pytest.mark.parametrize(
        'images',
        [
            np.zeros((1, 3, 48, 64), np.float32),
            np.zeros((1, 1, 64, 48), np.float32),
            np.zeros((3, 64, 48), np.float32),
            np.zeros((0, 3, 64, 48), np.float32),
            np.zeros((1, 3, 64, 48), np.uint8),
            np.float32(1),
            torch.zeros(1, 3, 64, 48),
            [[0.0]],
        ],
    )
    def test_images(self, runtime, images):
        with pytest.raises(ValueError, match=r'float32 .*\(N, 3, 64, 48\) with N > 0'):
            runtime(images)

    @BOTH
    @pytest.mark.parametrize('value', [np.nan, np.inf])
    def test_values_that_are_not_finite(self, graphs, tmp_path, suffix, value):
        graph = copy.deepcopy(graphs[False])
        weight = next(each for each in graph.graph.initializer if len(each.dims) == 4)
        broken = onnx.numpy_helper.to_array(weight).copy()
        broken[0, 0, 0, 0] = value
        weight.CopyFrom(onnx.numpy_helper.from_array(broken, weight.name))
        file = write_graph(graph, tmp_path / f'broken{suffix}')
        with pytest.raises(ValueError, match=f'broken{suffix}.*NaN'):
            open_runtime(file, num_threads=1)(ARRAY)

    @BOTH
    def test_files(self, tmp_path, suffix):
        file = tmp_path / f'broken{suffix}'
        with pytest.raises(FileNotFoundError, match=file.name):
            open_runtime(file)
        file.write_text('nonsense')
        with pytest.raises(ValueError, match=file.name):
            open_runtime(file)
        with pytest.raises(ValueError, match=r'checkpoint\.pth.*\.onnx .*\.xml'):
            open_runtime(tmp_path / 'checkpoint.pth')

    def test_inputs_of_the_network(self, files, tmp_path):
        network = openvino.Core().read_model(files['.xml', False])
        network.reshape([-1, 3, -1, -1])
        openvino.save_model(network, tmp_path / 'any_size.xml')
        graph = onnx.load(files['.onnx', False])
        more = graph.graph.input.add()
        more.CopyFrom(graph.graph.input[0])
        more.name = 'more'
        onnx.save(graph, tmp_path / 'two_inputs.onnx')
        for name, expected in (('any_size.xml', 'fixed'), ('two_inputs.onnx', 'got 2')):
            with pytest.raises(ValueError, match=f'{name}.*{expected}'):
                open_runtime(tmp_path / name)

    @BOTH
    def test_number_of_threads(self, files, suffix):
        with pytest.raises(ValueError, match='num_threads'):
            open_runtime(files[suffix, False], num_threads=0)

    @BOTH
    def test_device(self, files, suffix):
        assert open_runtime(files[suffix, False], device='cpu').name.endswith('CPU')
        with pytest.raises(ValueError, match='cuda'):
            open_runtime(files[suffix, False], device='cuda')

    @pytest.mark.parametrize('module', ['onnxruntime', 'openvino'])
    def test_runtime_that_is_not_installed(self, files, monkeypatch, module):
        suffix = dict(onnxruntime='.onnx', openvino='.xml')[module]
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ImportError, match=f'pip install {module}'):
            open_runtime(files[suffix, False])


class TestPrecision:
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
    def test_hint_for_openvino(self, stored, monkeypatch, precision, able, hint):
        file = stored('.xml', precision)
        monkeypatch.setattr(openvino.Core, 'get_property', lambda *names: able)
        runtime = open_runtime(file)
        assert runtime._options['INFERENCE_PRECISION_HINT'] == hint
