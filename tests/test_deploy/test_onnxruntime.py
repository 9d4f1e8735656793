import pytest

from ldcrn_mm.deploy import open_runtime

from .conftest import one_convolution, save


def test_the_precision_is_that_of_the_file(tmp_path):
    path = save(one_convolution(), tmp_path / 'network.onnx')

    with pytest.raises(ValueError, match='can be run in fp32, not in bf16'):
        open_runtime(path, 'bf16')


def test_a_network_with_two_inputs_is_refused(tmp_path):
    network = one_convolution()
    network.input.add().CopyFrom(network.input[0])
    network.input[1].name = 'more'
    path = save(network, tmp_path / 'network.onnx')

    with pytest.raises(ValueError, match='has 2 inputs; expected one'):
        open_runtime(path)


def test_without_cuda_it_says_that_it_runs_on_the_cpu(tmp_path, monkeypatch):
    monkeypatch.setattr(
        'onnxruntime.get_available_providers',
        lambda: ['AzureExecutionProvider', 'CPUExecutionProvider'],
    )
    runtime = open_runtime(save(one_convolution(), tmp_path / 'network.onnx'))

    assert runtime.name.endswith(', CPU')
