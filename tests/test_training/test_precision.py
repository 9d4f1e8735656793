from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import DefaultScope
from mmpose.registry import MODELS, OPTIM_WRAPPERS
from mmpose.testing import get_packed_inputs
from torch import nn

from ldcrn_mm.training import BFloat16OptimWrapper, ChannelsLastHook
from ldcrn_mm.training.precision import cpu_computes_in

SIZES = dict(stem_channels=8, channels=(8, 16), num_modules=(1,), num_blocks=1)
NECK = dict(in_channels=(8, 16), skip_channels=(8,), out_channels=8, init_cfg=None)
MODEL = dict(
    type='TopdownPoseEstimator',
    data_preprocessor=dict(type='PoseDataPreprocessor', mean=[120] * 3, std=[60] * 3),
    backbone=dict(type='LDCRN', num_layers=2, growth_rate=4, init_cfg=None, **SIZES),
    neck=dict(type='PyramidFusionNeck', **NECK),
    head=dict(type='LDCRNHead', in_channels=8),
)


@pytest.fixture(scope='module')
def packed():
    return get_packed_inputs(4, num_instances=1, img_shape=(256, 192))


def train(precision, packed, steps=3):
    """The logged losses, the gradients of the first step, the model, its wrapper."""
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmpose'):
        model = MODELS.build(MODEL)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    wrapper = OPTIM_WRAPPERS.build(dict(type=precision, optimizer=optimizer))
    dtypes, losses, grads = set(), [], None
    for module in model.backbone.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda m, x, out: dtypes.add(out.dtype))
    for _ in range(steps):
        with wrapper.optim_context(model):
            data = model.data_preprocessor(packed, training=True)
            loss, logged = model.parse_losses(model(**data, mode='loss'))
        loss.backward()
        grads = grads or [weight.grad.clone() for weight in model.parameters()]
        wrapper.step()
        wrapper.zero_grad()
        losses.append(logged['loss'].item())
    return SimpleNamespace(
        losses=losses, grads=grads, dtypes=dtypes, model=model, wrapper=wrapper
    )


@pytest.fixture(scope='module')
def exact(packed):
    return train('OptimWrapper', packed)


@pytest.fixture(scope='module')
def rounded(packed):
    return train('BFloat16OptimWrapper', packed)


def test_convolutions_run_in_bfloat16_and_the_loss_follows_float32(exact, rounded):
    assert rounded.dtypes == {torch.bfloat16}
    assert rounded.losses == pytest.approx(exact.losses, rel=2e-2)
    assert rounded.losses != exact.losses
    assert exact.losses[2] < 0.99 * exact.losses[0]


def test_gradients_are_float32_and_near_those_of_float32(exact, rounded):
    assert {grad.dtype for grad in rounded.grads} == {torch.float32}
    found, expected = (
        torch.cat([grad.flatten() for grad in each.grads]) for each in (rounded, exact)
    )
    assert 0 < (found - expected).norm() < 0.05 * expected.norm()


def test_weights_and_optimizer_are_saved_in_float32(rounded):
    momenta = [s['momentum_buffer'] for s in rounded.wrapper.optimizer.state.values()]
    saved = [*rounded.model.state_dict().values(), *momenta]
    assert {x.dtype for x in saved} == {torch.float32, torch.int64}
    assert len(momenta) == len(list(rounded.model.parameters()))


def test_accumulated_gradients_are_exchanged_when_the_weights_move():
    class Wrapped(nn.Linear):
        silent = 0

        @contextmanager
        def no_sync(self):
            self.silent += 1
            yield

    model = Wrapped(1, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    wrapper = BFloat16OptimWrapper(optimizer=optimizer, accumulative_counts=2)
    wrapper.initialize_count_status(model, 0, 4)
    before = model.weight.item()
    for x, silent, moved in [(1.0, 1, 0.0), (3.0, 1, 2.0), (1.0, 2, 2.0)]:
        with wrapper.optim_context(model):
            loss = model(torch.full((1, 1), x)).sum()
        wrapper.update_params(loss)
        assert model.silent == silent
        assert model.weight.item() == pytest.approx(before - moved)


@pytest.mark.parametrize('onednn', [True, False])
def test_what_the_cpu_computes_in_is_what_onednn_says(monkeypatch, onednn):
    monkeypatch.setattr(torch.backends.mkldnn, 'is_available', lambda: onednn)
    monkeypatch.setattr(torch.ops.mkldnn, '_is_mkldnn_bf16_supported', lambda: True)
    monkeypatch.setattr(torch.ops.mkldnn, '_is_mkldnn_fp16_supported', lambda: False)
    found = [*map(cpu_computes_in, (torch.float32, torch.bfloat16, torch.float16))]
    assert found == [onednn, onednn, False]


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 3))


def is_channels_last(x):
    return x.is_contiguous(memory_format=torch.channels_last)


def test_channels_last_changes_the_layout_and_not_the_values():
    x, model = torch.rand(2, 3, 8, 8), network()
    expected, known = network()(x), list(model.parameters())
    ChannelsLastHook().before_run(SimpleNamespace(model=model))
    out = model(x)
    assert is_channels_last(model[0].weight)
    assert is_channels_last(out)
    assert not out.is_contiguous()
    torch.testing.assert_close(out, expected)
    # The optimizer knows these.
    assert all(a is b for a, b in zip(known, model.parameters(), strict=True))


@pytest.mark.filterwarnings('error:Grad strides do not match')
def test_buckets_of_distributed_gradients_have_the_layout(tmp_path):
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{tmp_path}/join', rank=0, world_size=1
    )
    try:
        runner = SimpleNamespace(
            model=MMDistributedDataParallel(network()),
            cfg=Config(dict(model_wrapper_cfg=dict(find_unused_parameters=True))),
            wrap_model=lambda cfg, model: MMDistributedDataParallel(model, **cfg),
        )
        ChannelsLastHook().before_run(runner)
        runner.model(torch.rand(2, 3, 8, 8)).sum().backward()
        assert is_channels_last(runner.model.module[0].weight.grad)
        assert runner.model.find_unused_parameters
    finally:
        torch.distributed.destroy_process_group()
