import numpy as np
import openvino
import pytest

from ldcrn_mm.deploy import open_runtime

from .conftest import array, one_convolution, reference, save

PRECISION = 'ldcrn_mm.precision'


@pytest.fixture
def path(tmp_path):
    return save(one_convolution(), tmp_path / 'network.xml')


def hint_of(runtime):
    """The precision in which the compiled network is to be computed."""
    runtime(array(1, 3, 16, 12))
    return runtime._compiled[1].get_property('INFERENCE_PRECISION_HINT')


def test_float32_means_float32_also_on_a_cpu_that_has_bfloat16(path):
    assert hint_of(open_runtime(path)) == openvino.Type.f32


def test_bfloat16_is_a_matter_of_running_where_the_cpu_has_it(path):
    runtime = open_runtime(path, 'bf16')
    images = array(2, 3, 16, 12)
    expected = reference(images).numpy()

    error = np.abs(runtime(images) - expected).max() / np.abs(expected).max()

    assert runtime.precision == 'bf16'
    assert error < 0.02
    if 'BF16' in openvino.Core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES'):
        assert hint_of(runtime) == openvino.Type.bf16


def test_a_file_that_was_exported_for_bfloat16_is_run_in_it(tmp_path):
    path = save(one_convolution(), tmp_path / 'network.xml', **{PRECISION: 'bf16'})

    assert open_runtime(path).precision == 'bf16'
    assert hint_of(open_runtime(path, 'fp32')) == openvino.Type.f32


@pytest.mark.parametrize('able', [['FP32', 'BF16'], ['FP32', 'BF16', 'FP16']])
def test_float16_is_not_replaced_by_the_coarser_bfloat16(path, monkeypatch, able):
    monkeypatch.setattr(openvino.Core, 'get_property', lambda *names: able)
    runtime = open_runtime(path, 'fp16')

    options = {str(key): value for key, value in runtime._options.items()}

    wanted = openvino.Type.f16 if 'FP16' in able else openvino.Type.f32
    assert options['INFERENCE_PRECISION_HINT'] == wanted


def test_batches_are_cut_into_few_sizes(path):
    runtime = open_runtime(path)
    for count in (7, 5, 3, 8, 1):
        runtime(array(count, 3, 16, 12))

    assert sorted(runtime._compiled) == [1, 2, 4, 8]
