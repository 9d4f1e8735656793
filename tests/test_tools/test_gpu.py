"""The network and the tools on a GPU, compared with the CPU.

Where PyTorch sees no GPU, the tests are skipped. LDCRN_TEST_DEVICE=cpu runs them on
the CPU to try the tests themselves.
"""

import json
import os

import numpy as np
import pytest
import torch
from matplotlib import cbook
from mmengine.fileio import load
from mmengine.runner import set_random_seed
from mmpose.apis import inference_topdown, init_model
from mmpose.registry import MODELS

from ldcrn_mm.deploy import open_runtime
from ldcrn_mm.inference import TopdownInferencer

pytestmark = pytest.mark.gpu
NETWORK = dict(
    type='TopdownPoseEstimator',
    backbone=dict(type='LDCRN'),
    neck=dict(type='PyramidFusionNeck'),
    head=dict(type='LDCRNHead', out_channels=17),
    _scope_='mmpose',
)
# Largest difference to the CPU, relative to the largest value.
TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-4}


@pytest.fixture
def device(monkeypatch):
    name = os.environ.get('LDCRN_TEST_DEVICE', 'cuda')
    if name == 'cuda' and not torch.cuda.is_available():
        pytest.skip('PyTorch sees no GPU')
    # TF32 keeps ten bits. `cudnn.flags` would turn off cuDNN with it.
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', False)
    return name


def build(dtype=torch.float32, **backbone):
    set_random_seed(0)
    settings = NETWORK | dict(backbone=NETWORK['backbone'] | backbone)
    return MODELS.build(settings).to(dtype).train()


def images(device, dtype=torch.float32, size=(64, 64)):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, *size, generator=generator, dtype=dtype).to(device)


def step(model, image):
    """Heatmaps, and the gradient of each weight, on the CPU."""
    heatmaps = model.head(model.neck(model.backbone(image)))
    heatmaps.square().mean().backward()
    gradients = [p.grad.cpu() for p in model.parameters() if p.grad is not None]
    return [heatmaps.detach().cpu(), *gradients]


def difference(found, expected):
    """The largest relative difference of two lists of tensors."""
    return max(
        float((a - b).abs().max() / b.abs().max().clamp(min=1e-12))
        for a, b in zip(found, expected, strict=True)
    )


@pytest.mark.parametrize('dtype', TOLERANCES)
def test_heatmaps_equal_the_cpu(device, dtype):
    model = build(dtype)
    model.eval()
    with torch.no_grad():
        expected = model.head(model.neck(model.backbone(images('cpu', dtype))))
        model.to(device)
        found = model.head(model.neck(model.backbone(images(device, dtype))))
    assert difference([found.cpu()], [expected]) < TOLERANCES[dtype]


def test_gradients_equal_the_cpu(device):
    dtype = torch.float64  # in float32 batch normalization magnifies the rounding
    expected = step(build(dtype), images('cpu', dtype))
    found = step(build(dtype).to(device), images(device, dtype))
    assert difference(found, expected) < 1e-6


def test_recomputation_gives_the_same_gradients_for_less_memory(device):
    size, peaks, results = (256, 192) if device == 'cuda' else (64, 64), [], []
    for with_cp in (False, True):
        model = build(torch.float64, with_cp=with_cp).to(device)
        if device == 'cuda':
            torch.cuda.reset_peak_memory_stats()
        results.append(step(model, images(device, torch.float64, size)))
        peaks.append(torch.cuda.max_memory_allocated() if device == 'cuda' else 0)
    assert difference(*results) < 1e-9
    if device == 'cuda':
        assert peaks[1] < 0.5 * peaks[0]


def test_channels_last_gives_the_same_heatmaps(device):
    model = build().to(device)
    with torch.no_grad():
        expected = model.backbone(images(device))
        model.to(memory_format=torch.channels_last)
        image = images(device).to(memory_format=torch.channels_last)
        found = model.backbone(image)
    assert difference(found, expected) < 1e-3


def test_a_compiled_network_gives_the_same_heatmaps(device):
    if device == 'cpu':
        pytest.skip('compiling for the CPU takes minutes')
    model = build().to(device).eval()
    with torch.no_grad():
        expected = model.backbone(images(device))
        found = torch.compile(model.backbone)(images(device))
    assert difference(found, expected) < 1e-3


def losses(work_dir):
    """Of the newest run in a folder."""
    newest = max(work_dir.glob('*/vis_data/scalars.json'))
    lines = map(json.loads, newest.read_text().splitlines())
    return [line['loss'] for line in lines if 'loss' in line]


OPTIONS = {  # of the config
    'fp16': ['optim_wrapper.type=AmpOptimWrapper'],
    'bf16': ['optim_wrapper.type=BFloat16OptimWrapper'],
    'recomputing': ['model.backbone.with_cp=True'],
}


@pytest.mark.parametrize('name', OPTIONS)
def test_training_and_resuming(device, tool, tiny_config, tmp_path, name):
    if device == 'cpu' and name == 'fp16':
        pytest.skip('AmpOptimWrapper is for GPUs')
    arguments = [tiny_config, '--work-dir', tmp_path, '--channels-last']
    settings = ['--no-validate', '--cfg-options', *OPTIONS[name]]
    found = []
    for more in (['train_cfg.max_epochs=2'], ['train_cfg.max_epochs=3']):
        resume = ['--resume'] if found else []
        tool('train.py', *arguments, *resume, *settings, *more).main()
        found.append(losses(tmp_path))
    assert [len(one) for one in found] == [4, 2]
    assert np.isfinite(np.concatenate(found)).all()
    assert (tmp_path / 'epoch_3.pth').is_file()


def test_distributed_training_with_sync_bn(device, run_tool, tiny_config, tmp_path):
    done = run_tool(
        *['dist_train.sh', tiny_config, 1, '--work-dir', tmp_path, '--no-validate'],
        *['--cfg-options', 'sync_bn=torch', 'train_cfg.max_epochs=1'],
    )
    assert (tmp_path / 'epoch_1.pth').is_file()
    assert len(losses(tmp_path)) == 2
    if device == 'cuda':
        assert 'nccl' in done.stdout + done.stderr


def test_evaluation_equals_the_cpu(device, run_tool, tool, tiny_config, tmp_path):
    model = init_model(str(tiny_config), device='cpu')
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'random.pth')
    dumps = [tmp_path / name for name in ('cpu.pkl', 'gpu.pkl')]
    arguments = [
        'test.py',
        tiny_config,
        tmp_path / 'random.pth',
        '--work-dir',
        tmp_path,
    ]
    run_tool(*arguments, '--dump', dumps[0], CUDA_VISIBLE_DEVICES='')
    tool(*arguments, '--dump', dumps[1]).main()
    expected, found = (
        np.concatenate([one['pred_instances']['keypoint_scores'] for one in load(dump)])
        for dump in dumps
    )
    assert len(found) == 4
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_predictions_equal_the_cpu(device):
    photo = cbook.get_sample_data('grace_hopper.jpg', asfileobj=False)
    box = [[20, 20, 490, 580]]
    found = []
    for name in ('cpu', device):
        inferencer = TopdownInferencer('ldcrn', device=name)
        (result,) = inferencer(photo, bboxes=box)
        model = init_model(inferencer.cfg, 'ldcrn_mm://ldcrn', device=name)
        (sample,) = inference_topdown(model, photo, np.array(box))
        found.append(result['predictions'][0][0]['keypoints'])
        np.testing.assert_allclose(
            sample.pred_instances.keypoints[0], found[-1], atol=0.5
        )
    np.testing.assert_allclose(found[1], found[0], atol=0.5)


def test_onnx_runtime_on_the_gpu_equals_the_network(device, tmp_path):
    onnxruntime = pytest.importorskip('onnxruntime')
    provider = {'cuda': 'CUDAExecutionProvider'}.get(device, 'CPUExecutionProvider')
    if provider not in onnxruntime.get_available_providers():
        pytest.skip(f'ONNX Runtime has no {provider}')
    pytest.importorskip('onnxscript')
    from ldcrn_mm.deploy.export import export_network

    model = build().eval()
    path = export_network(model, tmp_path / 'ldcrn.onnx', (64, 64))
    found = open_runtime(path, device=device)(images('cpu').numpy())
    with torch.no_grad():
        expected = model(images('cpu'), None, mode='tensor')
    assert difference([torch.from_numpy(found)], [expected]) < 1e-3
