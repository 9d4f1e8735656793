"""Networks in runtimes, timed in turn (here in one process)."""

import json
from functools import partial

import pytest
import torch
from torch import nn

from ldcrn_mm.benchmark import inference
from ldcrn_mm.benchmark.candidates import Candidate
from ldcrn_mm.benchmark.inference import PRECISIONS, Settings, contenders

SIZE = (64, 32)


def names(candidate, **settings):
    return [one.name for one in contenders(candidate, Settings(**settings), threads=2)]


@pytest.fixture
def network(tiny):
    files = {('onnxruntime', 'fp32'): 'tiny.onnx'}
    errors = {('openvino', 'fp32'): 'RuntimeError: no such operator'}
    return Candidate('tiny', tiny, SIZE, files=files, errors=errors)


def test_each_precision_where_a_runtime_has_it(network):
    assert names(
        network,
        runtimes=['eager', 'compile', 'onnxruntime', 'openvino'],
        precisions=['fp32', 'bf16', 'int8'],
    ) == [
        'tiny, eager, fp32',
        'tiny, eager, bf16',
        'tiny, compile, fp32',
        'tiny, compile, bf16',
        'tiny, onnxruntime, fp32',
        'tiny, onnxruntime, int8',
        'tiny, openvino, fp32',
        'tiny, openvino, bf16',
        'tiny, openvino, int8',
    ]


def test_channels_last_comes_beside_the_plain_layout_of_pytorch(network):
    assert names(network, runtimes=['eager', 'onnxruntime'], channels_last=True) == [
        'tiny, eager, fp32',
        'tiny, eager, fp32, channels-last',
        'tiny, onnxruntime, fp32',
    ]


def test_an_exported_file_has_one_runtime_and_its_own_precision():
    file = Candidate('x_int8.xml', None, None, files={('openvino', None): 'x_int8.xml'})
    (found,) = contenders(file, Settings(precisions=['bf16']), threads=2)
    assert found.name == 'x_int8.xml, openvino'
    assert found.options == dict(
        file='x_int8.xml', size=None, precision=None, threads=2
    )


def test_contenders_know_their_cases_device_and_errors(network):
    settings = Settings(
        ['eager', 'onnxruntime', 'openvino'], batch_sizes=[8, 4], device='cuda'
    )
    eager, ort, openvino = contenders(network, settings, threads=2)
    assert eager.cases == ort.cases == (1, 4, 8)
    assert (eager.device, ort.device) == ('cuda', 'cpu')
    assert (eager.error, ort.error) == (None, None)
    assert openvino.error == 'RuntimeError: no such operator'
    assert json.loads(json.dumps(eager.options))['config'] == network.config


def build(tiny, **options):
    plain = dict(
        precision='fp32',
        deploy=False,
        compiled=False,
        channels_last=False,
        device='cpu',
    )
    return inference.build_pytorch(tiny, SIZE, **(plain | options))


def test_the_network_in_pytorch(tiny):
    call = build(tiny)(3)
    heatmaps = call()
    assert heatmaps.shape == (3, 17, 16, 8)
    assert heatmaps.dtype == torch.float32
    assert not heatmaps.requires_grad


def test_the_precision_and_the_layout(tiny):
    seen = []

    def look(module, inputs, output):
        if isinstance(module, nn.Conv2d):
            last = dict(memory_format=torch.channels_last)
            (x,) = inputs
            seen.append((x.dtype, x.is_contiguous(**last), x.is_contiguous()))

    handle = nn.modules.module.register_module_forward_hook(look)
    try:
        for options, expected in (
            (dict(), (torch.float32, False, True)),
            (dict(channels_last=True), (torch.float32, True, False)),
            (dict(precision='bf16'), (torch.bfloat16, False, True)),
        ):
            call = build(tiny, **options)(2)
            seen.clear()
            call()
            assert seen[0] == expected
            assert len(seen) > 10
    finally:
        handle.remove()


def test_compiling_is_for_fixed_shapes_and_constant_weights(tiny, monkeypatch):
    compiled = []
    monkeypatch.setattr(
        torch, 'compile', lambda network, **kwargs: compiled.append(kwargs) or network
    )
    build(tiny)
    assert compiled == []
    build(tiny, compiled=True)(1)()
    assert compiled == [dict(dynamic=False, options=dict(freezing=True))]


@pytest.mark.slow  # a C++ compiler works for half a minute
def test_a_compiled_network_computes_the_same(tiny):
    torch.manual_seed(1)
    expected = build(tiny)(2)
    compiled = build(tiny, compiled=True)(2)
    images = expected.__wrapped__.args
    network = compiled.__wrapped__.func
    with torch.no_grad():
        torch.testing.assert_close(network(*images), expected(), rtol=1e-3, atol=1e-4)


def test_an_exported_file_of_another_size(tiny, monkeypatch):
    runtimes = pytest.importorskip('ldcrn_mm.deploy')
    monkeypatch.setattr(runtimes, 'open_runtime', fake_runtime)
    with pytest.raises(ValueError, match=r'takes images of 64x32, not of 256x192'):
        inference.build_exported('a.onnx', (256, 192), None, 2)
    assert inference.build_exported('a.onnx', None, 'bf16', 2)(5)() == (
        'a.onnx',
        'bf16',
        2,
        (5, 3, 64, 32),
        'float32',
    )


def fake_runtime(file, precision, num_threads):
    def run(images):
        return file, precision, num_threads, images.shape, str(images.dtype)

    run = partial(run)
    run.input_size = (32, 64)
    return run


@pytest.mark.usefixtures('in_this_process')
def test_from_names_to_a_record(tiny, schedule, tmp_path):
    broken = tmp_path / 'broken.onnx'
    broken.write_bytes(b'this is no network')
    settings = Settings(
        ['eager'], ['fp32', 'bf16'], [2], SIZE, channels_last=True, deploy=False
    )
    record = inference.measure([tiny, str(broken)], settings, schedule)
    assert json.loads(json.dumps(record))['benchmark'] == 'inference'
    assert record['settings']['precisions'] == ['fp32', 'bf16']
    assert record['settings']['rounds'] == 2
    *good, bad = record['contenders']
    assert len(good) == 4
    for result in good:
        assert result['parameters'] > 1000
        for batch in ('1', '2'):
            assert len(result['cases'][batch]['rounds']) == 2
            assert result['cases'][batch]['images_per_second']['median'] > 0
        assert result['cases']['1']['share_of_best_rate']['median'] > 0
    assert good[0]['cases']['1']['ratio'] == dict(lower=1, median=1, upper=1)
    assert list(record['best_rate']) == ['fp32', 'bf16']
    assert bad['name'] == 'broken.onnx, onnxruntime'
    assert 'file' not in bad['options']
    assert set(bad['cases']) == {'1', '2'}
    assert all('error' in case for case in bad['cases'].values())


@pytest.mark.usefixtures('in_this_process')
def test_nothing_to_run(tiny, schedule):
    with pytest.raises(ValueError, match='None of onnxruntime computes in bf16'):
        inference.measure([tiny], Settings(['onnxruntime'], ['bf16']), schedule)


def test_every_runtime_has_single_precision():
    assert all('fp32' in precisions for precisions in PRECISIONS.values())
