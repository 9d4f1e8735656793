from contextlib import contextmanager

import pytest
import torch
from mmengine.registry import DefaultScope
from mmpose.registry import MODELS, OPTIM_WRAPPERS
from mmpose.testing import get_packed_inputs
from torch import nn

from ldcrn_mm.training import BFloat16OptimWrapper
from ldcrn_mm.training.precision import cpu_computes_in

MODEL = dict(
    type='TopdownPoseEstimator',
    data_preprocessor=dict(type='PoseDataPreprocessor', mean=[120] * 3, std=[60] * 3),
    backbone=dict(
        type='LDCRN',
        stem_channels=8,
        channels=(8, 16),
        num_modules=(1,),
        num_blocks=1,
        num_layers=2,
        growth_rate=4,
        init_cfg=None,
    ),
    neck=dict(
        type='PyramidFusionNeck',
        in_channels=(8, 16),
        skip_channels=(8,),
        out_channels=8,
        init_cfg=None,
    ),
    head=dict(type='LDCRNHead', in_channels=8),
)


def build(precision):
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmpose'):
        model = MODELS.build(MODEL)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    wrapper = OPTIM_WRAPPERS.build(dict(type=precision, optimizer=optimizer))
    return model, wrapper


@pytest.fixture(scope='module')
def steps():
    """The logged losses of three steps and the model, by optimizer wrapper."""
    done = {}
    data = get_packed_inputs(4, num_instances=1, img_shape=(256, 192))
    for precision in ('OptimWrapper', 'BFloat16OptimWrapper'):
        model, wrapper = build(precision)
        losses = [model.train_step(data, wrapper)['loss'].item() for _ in range(3)]
        done[precision] = losses, model, wrapper
    return done


def test_convolutions_run_in_bfloat16():
    model, wrapper = build('BFloat16OptimWrapper')
    seen = set()
    for module in model.backbone.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda m, x, out: seen.add(out.dtype))

    data = get_packed_inputs(2, num_instances=1, img_shape=(256, 192))
    model.train_step(data, wrapper)

    assert seen == {torch.bfloat16}


def test_the_loss_follows_that_of_float32(steps):
    exact, rounded = steps['OptimWrapper'][0], steps['BFloat16OptimWrapper'][0]

    assert rounded == pytest.approx(exact, rel=2e-2)
    assert rounded != exact
    assert exact[2] < 0.99 * exact[0]


def gradients(precision, packed):
    model, wrapper = build(precision)
    with wrapper.optim_context(model):
        data = model.data_preprocessor(packed, training=True)
        loss, _ = model.parse_losses(model(**data, mode='loss'))
    loss.backward()
    return [weight.grad for weight in model.parameters()]


def test_gradients_are_finite_float32_and_near_those_of_float32():
    packed = get_packed_inputs(4, num_instances=1, img_shape=(256, 192))
    apart, size = 0.0, 0.0
    for exact, rounded in zip(
        gradients('OptimWrapper', packed), gradients('BFloat16OptimWrapper', packed)
    ):
        assert rounded.dtype == torch.float32
        assert rounded.isfinite().all()
        apart += float((exact - rounded).square().sum())
        size += float(exact.square().sum())

    assert 0 < apart < 0.05**2 * size


def test_weights_and_optimizer_are_saved_in_float32(steps):
    _, model, wrapper = steps['BFloat16OptimWrapper']
    momenta = [state['momentum_buffer'] for state in wrapper.optimizer.state.values()]
    saved = [*model.state_dict().values(), *momenta]

    assert {x.dtype for x in saved} == {torch.float32, torch.int64}
    assert len(momenta) == len(list(model.parameters()))


def test_autocast_ends_with_the_context():
    model, wrapper = build('BFloat16OptimWrapper')

    with wrapper.optim_context(model):
        assert torch.is_autocast_enabled('cpu')
    assert not torch.is_autocast_enabled('cpu')


def test_gradients_accumulate():
    model = nn.Linear(1, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    wrapper = BFloat16OptimWrapper(optimizer=optimizer, accumulative_counts=2)
    wrapper.initialize_count_status(model, 0, 4)
    before = model.weight.item()

    weights = []
    for x in (1.0, 3.0):
        with wrapper.optim_context(model):
            loss = model(torch.full((1, 1), x)).sum()
        wrapper.update_params(loss)
        weights.append(model.weight.item())

    assert weights[0] == before
    assert weights[1] == pytest.approx(before - 2.0)


def test_processes_exchange_gradients_only_where_the_weights_move():
    class Wrapped(nn.Linear):
        silent = 0

        @contextmanager
        def no_sync(self):
            self.silent += 1
            yield

    model = Wrapped(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    wrapper = BFloat16OptimWrapper(optimizer=optimizer, accumulative_counts=2)
    wrapper.initialize_count_status(model, 0, 4)

    for silent in (1, 1, 2, 2):
        with wrapper.optim_context(model):
            loss = model(torch.ones(1, 1)).sum()
        wrapper.update_params(loss)
        assert model.silent == silent


def test_what_the_cpu_computes_in_is_what_onednn_says(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, 'is_available', lambda: True)
    monkeypatch.setattr(torch.ops.mkldnn, '_is_mkldnn_bf16_supported', lambda: True)
    monkeypatch.setattr(torch.ops.mkldnn, '_is_mkldnn_fp16_supported', lambda: False)

    assert cpu_computes_in(torch.float32)
    assert cpu_computes_in(torch.bfloat16)
    assert not cpu_computes_in(torch.float16)
