"""The backbone: formulas, layouts, initialisation, recomputation and errors."""

import pytest
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from ldcrn_mm.models import LDCRN

from . import plain_ldcrn as plain
from .networks import SMALL, noise, randomise, small_backbone, training_step, weights_of

PAPER = dict(num_modules=(1, 2, 2), num_blocks=4, num_layers=4)


@pytest.mark.parametrize(
    'layout',
    [
        PAPER,
        SMALL,
        dict(SMALL, channels=(5, 4), num_modules=(2,), num_blocks=1),
        dict(SMALL, channels=(3, 4, 5, 6, 7), num_modules=(1, 2, 1, 1), num_layers=1),
        dict(SMALL, num_blocks=3, num_layers=3, growth_rate=2, expansion=2),
        dict(SMALL, in_channels=1, stem_channels=3, num_modules=[2, 3]),
    ],
)
def test_every_layout_is_the_formulas(layout):
    model = randomise(LDCRN(**layout)).double()
    p = weights_of(model)
    width = layout.get('expansion', 4) * layout.get('growth_rate', 12)
    assert {len(t) for n, t in p.items() if n.endswith('bottleneck.2.weight')} == {
        width
    }
    depths = [layout[key] for key in PAPER]
    x = noise(2, layout.get('in_channels', 3), 64, 64, dtype=torch.float64)
    for train in (False, True):
        expected = plain.backbone(p, x, *depths, train)
        found = model.train(train)(x)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.usefixtures('_quiet')
@pytest.mark.parametrize(
    ('norm_cfg', 'kind'),
    [
        (dict(type='BN'), nn.BatchNorm2d),
        (dict(type='SyncBN'), nn.SyncBatchNorm),
        (dict(type='GN', num_groups=1), nn.GroupNorm),
    ],
)
def test_normalisations_follow_norm_cfg_and_start_as_the_identity(norm_cfg, kind):
    model = small_backbone(norm_cfg=norm_cfg)
    model.init_weights()
    others = (nn.Conv2d, nn.ReLU, nn.Identity, nn.Upsample)
    layers = [m for m in model.modules() if not list(m.children())]
    assert all(isinstance(m, (kind, *others)) for m in layers)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            assert torch.all(parameter == name.endswith('weight')), name


# Freezing


@pytest.mark.parametrize('with_cp', [False, True])
@pytest.mark.parametrize(
    ('settings', 'still'),
    [
        (dict(), ''),
        (dict(frozen_stages=0), 'stem'),
        (dict(frozen_stages=1), 'stem layer1 entry'),
        (dict(frozen_stages=2), 'stem layer1 entry stages.0 grow.0'),
        (dict(frozen_stages=3), 'stem layer1 entry stages grow'),
        (dict(norm_eval=True), 'running_mean running_var num_batches_tracked'),
    ],
)
def test_a_step_moves_what_is_not_frozen_and_nothing_else(settings, still, with_cp):
    model = randomise(small_backbone(with_cp=with_cp, **settings)).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1, weight_decay=0.1)
    before = weights_of(model)
    maps = model(noise(2, 3, 32, 32))
    if any(parameter.requires_grad for parameter in model.parameters()):
        sum((one**2).mean() for one in maps).backward()
        optimizer.step()
    moved = {
        name
        for name, value in weights_of(model).items()
        if not torch.equal(value, before[name])
    }
    frozen = {
        name
        for name in before
        if any(
            name.startswith(f'{part}.') or name.endswith(f'.{part}')
            for part in still.split()
        )
    }
    assert moved == before.keys() - frozen


def test_exception_for_stages_that_do_not_exist():
    for stages in (-2, 4, 'three'):
        with pytest.raises(ValueError, match='frozen_stages'):
            small_backbone(frozen_stages=stages)


# Recomputation


def pair():
    """The same network without and with recomputation, in float64."""
    kept, recomputing = (small_backbone(with_cp=cp).double() for cp in (False, True))
    recomputing.load_state_dict(kept.state_dict())
    return kept, recomputing


def freeze_stem(model):
    model.stem.requires_grad_(False)
    return model


@pytest.mark.parametrize(
    ('prepare', 'batches'),
    [
        (lambda model: model, 1),
        (lambda model: model.eval(), 0),
        (lambda model: model.to(memory_format=torch.channels_last), 1),
        (freeze_stem, 1),
    ],
    ids=['train', 'eval', 'channels_last', 'frozen_stem'],
)
def test_recomputing_changes_nothing(prepare, batches):
    x = noise(2, 3, 32, 32, dtype=torch.float64)
    expected, found = (training_step(prepare(model), x) for model in pair())
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    counted = {b.item() for n, b in found['buffers'].items() if 'num_batches' in n}
    assert counted == {batches}


def test_recomputing_changes_nothing_in_distributed_data_parallel(tmp_path):
    x = noise(2, 3, 32, 32, dtype=torch.float64)
    kept, recomputing = pair()
    expected = training_step(kept, x)
    distributed.init_process_group(
        'gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1
    )
    try:
        wrapped = DistributedDataParallel(recomputing, find_unused_parameters=False)
        found = training_step(wrapped, x)
    finally:
        distributed.destroy_process_group()
    for key in ('gradients', 'buffers'):
        found[key] = {n.removeprefix('module.'): t for n, t in found[key].items()}
    torch.testing.assert_close(found, expected)


def bytes_kept(model, x):
    """What autograd keeps for the backward pass, parameters not counted."""
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: kept.append(tensor.untyped_storage()), lambda _: None
    ):
        outputs = model(x)
    assert outputs[0].requires_grad
    return sum(
        {s.data_ptr(): s.nbytes() for s in kept if s.data_ptr() not in own}.values()
    )


def test_recomputing_keeps_a_ninth_of_the_activations():
    x = noise(2, 3, 128, 96)
    kept, recomputing = bytes_kept(LDCRN(), x), bytes_kept(LDCRN(with_cp=True), x)
    assert 0.10 < recomputing / kept < 0.12


def test_recomputing_repeats_the_stem_and_the_dense_layers():
    """A transition's convolution is not repeated: only its input is needed."""
    model, repeated = small_backbone(with_cp=True), set()
    outputs = model(noise(2, 3, 32, 32))
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda *_, name=name: repeated.add(name))
    sum(y.sum() for y in outputs).backward()
    convolutions = {n for n, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    assert repeated == {n for n in convolutions if 'layers.' in n or 'stem.' in n}


# Errors


@pytest.mark.parametrize(('height', 'width'), [(48, 32), (32, 40), (8, 8)])
def test_exception_for_an_image_that_cannot_be_halved(height, width):
    model = small_backbone(channels=(4, 6, 8, 10), num_modules=(1, 1, 1))
    with pytest.raises(ValueError, match=rf'32, got {height}x{width}.*`input_size`'):
        model(noise(1, 3, height, width))


@pytest.mark.parametrize(
    ('settings', 'named'),
    [
        (dict(channels=(32,), num_modules=()), r'`channels`.*\(32,\)'),
        (dict(channels=(32, 0), num_modules=(1,)), r'`channels`.*\(32, 0\)'),
        (dict(num_modules=(1, 2)), r'`num_modules`.*\(1, 2\)'),
        (dict(num_modules=(1, 0, 2)), r'`num_modules`.*\(1, 0, 2\)'),
        (dict(growth_rate=-1, num_layers=0), 'num_layers=0, growth_rate=-1'),
        (dict(in_channels=0), 'in_channels=0'),
        (dict(stem_channels=0), 'stem_channels=0'),
        (dict(num_blocks=0), 'num_blocks=0'),
        (dict(expansion=0), 'expansion=0'),
    ],
)
def test_exception_for_arguments_that_describe_no_network(settings, named):
    with pytest.raises(ValueError, match=named):
        LDCRN(**settings)
