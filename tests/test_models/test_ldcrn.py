"""The backbone against the formulas, its layout, initialisation and recomputation."""

import math

import pytest
import torch
from mmcv.cnn import fuse_conv_bn
from mmpose.registry import MODELS
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from ldcrn_mm.models import LDCRN, DCRMLayer

from . import plain_ldcrn as plain
from .networks import SMALL, noise, randomise, small_backbone, training_step


@pytest.fixture
def paper():
    return randomise(LDCRN())


def shapes(outputs):
    return [tuple(y.shape) for y in outputs]


def test_smoke_from_the_registry():
    model = MODELS.build(dict(type='LDCRN', **SMALL))
    assert isinstance(model, LDCRN)
    assert len(model(noise(2, 3, 32, 32))) == 2 + 3


def test_cardinality_of_the_papers_network(paper):
    paper.eval()
    assert shapes(paper(noise(1, 3, 128, 64))) == [
        (1, 64, 32, 16),
        (1, 32, 32, 16),
        (1, 32, 32, 16),
        (1, 32, 32, 16),
        (1, 64, 16, 8),
        (1, 128, 8, 4),
        (1, 256, 4, 2),
    ]


def compare_with_the_formulas(model, x, num_modules, num_blocks, num_layers):
    model.double()
    p = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for train in (False, True):
        model.train(train)
        expected = plain.backbone(p, x, num_modules, num_blocks, num_layers, train)
        torch.testing.assert_close(model(x), expected, rtol=1e-9, atol=1e-9)


def test_the_papers_network_is_the_formulas(paper):
    x = noise(2, 3, 64, 32, dtype=torch.float64)
    compare_with_the_formulas(paper, x, (1, 2, 2), 4, 4)


@pytest.mark.parametrize(
    'layout',
    [
        dict(),
        dict(channels=(5, 4), num_modules=(2,), num_blocks=1),
        dict(channels=(3, 4, 5, 6, 7), num_modules=(1, 2, 1, 1), num_layers=1),
        dict(num_blocks=3, num_layers=3, growth_rate=2, expansion=2),
        dict(in_channels=1, stem_channels=3, num_modules=[2, 3], channels=[4, 6, 8]),
    ],
)
def test_other_layouts_are_the_formulas(layout):
    model = small_backbone(**layout)
    settings = {**SMALL, **layout}
    x = noise(2, layout.get('in_channels', 3), 64, 64, dtype=torch.float64)
    compare_with_the_formulas(
        model, x, *(settings[k] for k in ('num_modules', 'num_blocks', 'num_layers'))
    )


def test_chained_eval_and_train_return_the_model():
    model = small_backbone()
    assert model.eval() is model
    assert model.train() is model


def test_arguments_are_left_as_they_are():
    settings = dict(channels=[4, 6, 8], num_modules=[1, 1], norm_cfg=dict(type='BN'))
    LDCRN(**{**SMALL, **settings})
    assert settings == dict(
        channels=[4, 6, 8], num_modules=[1, 1], norm_cfg=dict(type='BN')
    )


@pytest.mark.parametrize(
    ('norm_cfg', 'norm'),
    [
        (dict(type='SyncBN'), nn.SyncBatchNorm),
        (dict(type='GN', num_groups=1), nn.GroupNorm),
        (dict(type='BN', momentum=0.01), nn.BatchNorm2d),
    ],
)
def test_norm_cfg_reaches_every_normalisation(norm_cfg, norm):
    model = small_backbone(norm_cfg=norm_cfg)
    norms = [
        m
        for m in model.modules()
        if isinstance(m, (nn.modules.batchnorm._BatchNorm, nn.GroupNorm))
    ]
    assert norms
    assert all(isinstance(m, norm) for m in norms)
    if 'momentum' in norm_cfg:
        assert {m.momentum for m in norms} == {0.01}
    model.eval()(noise(1, 3, 32, 32))


def test_frozen_norms_leave_only_convolutions_to_train():
    model = small_backbone(norm_cfg=dict(type='BN', requires_grad=False))
    assert {p.dim() for p in model.parameters() if p.requires_grad} == {4}
    model(noise(2, 3, 32, 32))[0].sum().backward()


# Initialisation


@pytest.mark.usefixtures('_quiet')
def test_initialisation_is_the_papers():
    torch.manual_seed(0)
    model = randomise(LDCRN())
    model.init_weights()
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            n = module.weight.numel()
            assert abs(module.weight.mean()) < 5 * 1e-3 / math.sqrt(n)
            assert abs(module.weight.std() / 1e-3 - 1) < 5 / math.sqrt(2 * n)
            assert module.bias is None
        elif isinstance(module, nn.BatchNorm2d):
            assert torch.all(module.weight == 1)
            assert torch.all(module.bias == 0)


@pytest.mark.usefixtures('_quiet')
@pytest.mark.parametrize('norm_type', ['BN', 'SyncBN', 'GN'])
def test_initialisation_is_the_same_for_every_normalisation(norm_type):
    norm_cfg = dict(type=norm_type)
    if norm_type == 'GN':
        norm_cfg['num_groups'] = 1
    model = small_backbone(norm_cfg=norm_cfg)
    model.init_weights()
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            assert torch.all(parameter == name.endswith('weight')), name


@pytest.mark.usefixtures('_quiet')
def test_another_initialisation_can_be_asked_for():
    model = LDCRN(**SMALL, init_cfg=dict(type='Constant', layer='Conv2d', val=0.5))
    model.init_weights()
    assert torch.all(model.stem[0][0].weight == 0.5)


@pytest.mark.usefixtures('_quiet')
@pytest.mark.parametrize('prefix', ['', 'backbone.'])
def test_pretrained_weights_are_loaded(tmp_path, prefix):
    trained = small_backbone()
    weights = {prefix + name: t for name, t in trained.state_dict().items()}
    torch.save(dict(state_dict=weights), tmp_path / 'trained.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'trained.pth'))
    if prefix:
        init_cfg['prefix'] = prefix
    model = LDCRN(**SMALL, init_cfg=init_cfg)
    model.init_weights()
    torch.testing.assert_close(model.state_dict(), trained.state_dict())


# Recomputation


MODES = dict(
    train=lambda model, x: (model, x),
    evaluation=lambda model, x: (model.eval(), x),
    channels_last=lambda model, x: (
        model.to(memory_format=torch.channels_last),
        x.contiguous(memory_format=torch.channels_last),
    ),
    frozen_stem=lambda model, x: (freeze(model, 'stem'), x),
)


def freeze(model, part):
    getattr(model, part).requires_grad_(False)
    return model


def pair():
    """The same network without and with recomputation."""
    kept, recomputing = small_backbone(), small_backbone(with_cp=True)
    recomputing.load_state_dict(kept.state_dict())
    return kept, recomputing


@pytest.mark.parametrize('mode', MODES)
def test_recomputing_changes_nothing(mode):
    x = noise(2, 3, 32, 32, dtype=torch.float64)
    expected, found = (
        training_step(*MODES[mode](model.double(), x)) for model in pair()
    )
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    batches = {b.item() for n, b in found['buffers'].items() if 'num_batches' in n}
    assert batches == ({0} if mode == 'evaluation' else {1})


def test_recomputing_changes_nothing_under_autocast():
    x = noise(2, 3, 32, 32)
    with torch.autocast('cpu', torch.bfloat16):
        expected, found = (training_step(model, x) for model in pair())
    assert found['outputs'][-1].dtype == torch.bfloat16
    torch.testing.assert_close(found['outputs'], expected['outputs'], rtol=0, atol=0)
    torch.testing.assert_close(found['buffers'], expected['buffers'], rtol=0, atol=0)
    for name, gradient in expected['gradients'].items():
        error = (found['gradients'][name] - gradient).norm() / gradient.norm()
        assert error < 0.02, name  # sums of bfloat16 in another order


def test_recomputing_changes_nothing_without_gradients():
    x = noise(2, 3, 32, 32)
    kept, recomputing = pair()
    with torch.no_grad():
        torch.testing.assert_close(recomputing(x), kept(x), rtol=0, atol=0)
    torch.testing.assert_close(recomputing.state_dict(), kept.state_dict())


def bytes_kept(model, x):
    """What autograd keeps for the backward pass, parameters not counted."""
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        outputs = model(x)
    assert outputs[0].requires_grad
    return sum(kept.values())


def test_recomputing_keeps_less_than_a_fifth_of_the_memory():
    x = noise(2, 3, 128, 96)
    assert bytes_kept(LDCRN(with_cp=True), x) < 0.2 * bytes_kept(LDCRN(), x)


def test_recomputing_repeats_the_stem_and_the_dense_layers():
    model = small_backbone(with_cp=True)
    repeated = set()
    outputs = model(noise(2, 3, 32, 32))
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda *_, name=name: repeated.add(name))
    sum(y.sum() for y in outputs).backward()
    expected = {'stem.0.0', 'stem.1.0'}
    for name, module in model.named_modules():
        if isinstance(module, DCRMLayer):
            expected |= {f'{name}.bottleneck.2', f'{name}.shortcut.0'}
    assert repeated == expected


def test_recomputing_works_in_distributed_data_parallel(tmp_path):
    x = noise(2, 3, 32, 32, dtype=torch.float64)
    kept, recomputing = (model.double() for model in pair())
    expected = training_step(kept, x)
    distributed.init_process_group(
        'gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1
    )
    try:
        wrapped = DistributedDataParallel(recomputing, find_unused_parameters=False)
        outputs = wrapped(x)
        sum(
            (y * noise(*y.shape, seed=77 + i, dtype=y.dtype)).sum()
            for i, y in enumerate(outputs)
        ).backward()
    finally:
        distributed.destroy_process_group()
    gradients = {n: p.grad for n, p in recomputing.named_parameters()}
    torch.testing.assert_close(gradients, expected['gradients'])
    torch.testing.assert_close(dict(recomputing.named_buffers()), expected['buffers'])


def test_folding_by_mmcv_keeps_the_outputs(paper):
    paper.double().eval()
    x = noise(1, 3, 64, 64, dtype=torch.float64)
    expected = paper(x)
    torch.testing.assert_close(fuse_conv_bn(paper)(x), expected, rtol=1e-9, atol=1e-9)


# Errors


@pytest.mark.parametrize(
    ('height', 'width', 'size'), [(48, 32, '48x32'), (32, 40, '32x40'), (8, 8, '8x8')]
)
def test_exception_for_an_image_that_cannot_be_halved(height, width, size):
    model = small_backbone(channels=(4, 6, 8, 10), num_modules=(1, 1, 1))
    with pytest.raises(ValueError, match=rf'multiples of 32, but .* {size}'):
        model(noise(1, 3, height, width))


def test_exception_for_an_image_with_other_channels():
    with pytest.raises(RuntimeError, match='3 channels, but got 4'):
        small_backbone()(noise(1, 4, 32, 32))


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(channels=(32,), num_modules=()), r'at least two branches.*\(32,\)'),
        (dict(channels=(32, 0), num_modules=(1,)), r'each at least 1.*\(32, 0\)'),
        (dict(num_modules=(1, 2)), r'4 branches make 3 stages.*\(1, 2\)'),
        (dict(num_modules=(1, 0, 2)), r'at least 1.*\(1, 0, 2\)'),
        (dict(num_blocks=0), 'num_blocks=0'),
        (dict(growth_rate=-1, num_layers=0), 'num_layers=0, growth_rate=-1'),
        (dict(in_channels=0), 'in_channels=0'),
        (dict(stem_channels=0), 'stem_channels=0'),
        (dict(expansion=0), 'expansion=0'),
    ],
)
def test_exception_for_arguments_that_describe_no_network(settings, message):
    with pytest.raises(ValueError, match=message):
        LDCRN(**settings)
