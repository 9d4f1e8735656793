"""Dense layers, modules and transitions against the paper's formulas."""

import copy

import pytest
import torch
from torch import nn

from ldcrn_mm.models import DCRM, DCRMLayer
from ldcrn_mm.models.dcrm import DCRMSequence, Transition, concatenate

from . import plain_ldcrn as plain
from .networks import noise, randomise, training_step

WIDTHS = [(64, 12, 4), (7, 3, 2), (5, 1, 1)]


def double(module, train=True):
    """The module with random weights in float64, and a copy of its tensors."""
    randomise(module).double().train(train)
    return module, {name: t.clone() for name, t in module.state_dict().items()}


@pytest.mark.parametrize('train', [True, False])
@pytest.mark.parametrize(('channels', 'growth', 'expansion'), WIDTHS)
def test_layer_is_the_formula(channels, growth, expansion, train):
    module, p = double(DCRMLayer(channels, growth, expansion), train)
    x = noise(2, channels, 6, 5, dtype=torch.float64)
    torch.testing.assert_close(module(x), plain.layer(p, x, train))


def test_layer_has_the_papers_shapes():
    shapes = {n: tuple(t.shape) for n, t in DCRMLayer(64, 12).state_dict().items()}
    weights = {name: shape for name, shape in shapes.items() if len(shape) == 4}
    assert weights == {
        'bottleneck.2.weight': (48, 64, 1, 1),
        'bottleneck.5.weight': (12, 48, 3, 3),
        'shortcut.0.weight': (12, 64, 3, 3),
    }


@pytest.mark.parametrize('with_cp', [False, True])
def test_layer_takes_its_maps_one_by_one_too(with_cp):
    module, _ = double(DCRMLayer(9, 3, with_cp=with_cp))
    x = noise(2, 9, 6, 5, dtype=torch.float64)
    parts = x.split([2, 3, 4], dim=1)
    torch.testing.assert_close(module(*parts), module(x), rtol=0, atol=0)


@pytest.mark.parametrize('train', [True, False])
@pytest.mark.parametrize(
    ('channels', 'num_layers', 'growth', 'expansion'),
    [(64, 4, 12, 4), (5, 1, 3, 4), (3, 6, 2, 3)],
)
def test_module_is_the_formula(channels, num_layers, growth, expansion, train):
    module, p = double(DCRM(channels, num_layers, growth, expansion), train)
    x = noise(2, channels, 6, 5, dtype=torch.float64)
    y = module(x)
    assert y.shape[1] == module.out_channels == channels + num_layers * growth
    torch.testing.assert_close(y, plain.dcrm(p, x, num_layers, train))


def test_module_keeps_its_input_in_front():
    x = noise(2, 5, 6, 5)
    before = x.clone()
    y = DCRM(5, 2, 3)(x)
    assert torch.equal(y[:, :5], before)
    assert torch.equal(x, before)


def test_gradcheck_module():
    module, _ = double(DCRM(2, 2, 2, 1))
    x = noise(2, 2, 4, 3, seed=1, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(module, x, fast_mode=True)


@pytest.mark.parametrize('train', [True, False])
def test_transition_is_the_formula(train):
    module, p = double(Transition(7, 4), train)
    x = noise(2, 7, 6, 5, dtype=torch.float64)
    expected = plain.transition(p, x, train)
    torch.testing.assert_close(module(x), expected)
    torch.testing.assert_close(module(*x.split([1, 4, 2], dim=1)), expected)


def sequence(with_cp, ends_with_transition):
    members = [
        DCRM(5, 2, 3, with_cp=with_cp),
        Transition(11, 6, with_cp=with_cp),
        DCRM(6, 1, 4, with_cp=with_cp),
        Transition(10, 3, with_cp=with_cp),
    ]
    return DCRMSequence(*members[: 4 if ends_with_transition else 3])


@pytest.mark.parametrize('ends_with_transition', [True, False])
@pytest.mark.parametrize('with_cp', [True, False])
def test_sequence_runs_its_members_in_turn(with_cp, ends_with_transition):
    module, _ = double(sequence(with_cp, ends_with_transition))
    plainly = nn.Sequential(*copy.deepcopy(module))
    x = noise(2, 5, 6, 5, dtype=torch.float64)
    expected, found = training_step(plainly, x), training_step(module, x)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_hooks_on_the_members_of_a_sequence_are_called():
    module, called = sequence(with_cp=False, ends_with_transition=True), []
    for member in module:
        member.register_forward_hook(lambda m, *_: called.append(m))
    module(noise(2, 5, 6, 5))
    assert called == list(module)


@pytest.mark.parametrize('norm_type', ['BN', 'SyncBN', 'GN'])
@pytest.mark.parametrize('train', [True, False])
def test_recomputing_changes_nothing(train, norm_type):
    norm_cfg = dict(type=norm_type)
    if norm_type == 'GN':
        norm_cfg['num_groups'] = 1
    modules = [DCRM(5, 3, 3, 2, norm_cfg, with_cp) for with_cp in (False, True)]
    modules[1].load_state_dict(double(modules[0])[1])
    modules[1].double()
    x = noise(2, 5, 6, 5, dtype=torch.float64)
    expected, found = (training_step(m.train(train), x) for m in modules)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_recomputing_stops_before_the_last_convolution_of_each_layer():
    convolutions = []
    module = DCRM(5, 3, 3, with_cp=True)
    for member in module.modules():
        if isinstance(member, nn.Conv2d):
            member.register_forward_hook(lambda conv, *_: convolutions.append(conv))
    y = module(noise(2, 5, 6, 5).requires_grad_())
    assert len(convolutions) == 9
    convolutions.clear()
    y.sum().backward()
    finished = set(convolutions)
    assert finished == {
        conv
        for layer in module.layers
        for conv in (layer.bottleneck[2], layer.shortcut[0])
    }


def test_concatenate_copies_a_single_map_not():
    x = noise(1, 2, 3, 3)
    assert concatenate([x]) is x
    assert torch.equal(concatenate([x, 2 * x]), torch.cat([x, 2 * x], 1))


def test_exception_for_a_wrong_number_of_channels():
    with pytest.raises(RuntimeError, match=r'5.*7|7.*5'):
        DCRM(5, 2, 3)(noise(1, 7, 4, 4))


@pytest.mark.slow
@pytest.mark.parametrize('train', [True, False])
def test_compiled_recomputing_changes_nothing(train):
    module, p = double(DCRM(5, 2, 3, with_cp=True), train)
    x = noise(2, 5, 6, 5, dtype=torch.float64)
    expected = training_step(module, x)
    compiled = DCRM(5, 2, 3, with_cp=True).double().train(train)
    compiled.load_state_dict(p)
    compiled.compile(backend='aot_eager', fullgraph=True)
    found = training_step(compiled, x)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
