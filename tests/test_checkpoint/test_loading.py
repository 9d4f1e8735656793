"""Checkpoints that fit, and those that must not be taken for such."""

from collections import OrderedDict

import pytest
import torch
from torch import nn

from ldcrn_mm.checkpoint import load_weights


class Model(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, width, 1), nn.BatchNorm2d(width))
        self.head = nn.Conv2d(width, 2, 1)


@pytest.fixture
def model():
    return Model()


@pytest.fixture
def state():
    return Model().state_dict()


def test_loads_every_weight(model, state):
    load_weights(model, dict(state_dict=state), 'file')
    assert all(torch.equal(model.state_dict()[name], state[name]) for name in state)


def test_takes_bare_and_wrapped_state_dicts(model, state):
    wrapped = {f'module.{name}': value for name, value in state.items()}
    load_weights(model, wrapped, 'file')
    assert torch.equal(model.head.weight, state['head.weight'])


def test_a_model_that_is_wrapped_for_several_gpus_gets_them_too(model, state):
    load_weights(nn.DataParallel(model), dict(state_dict=state), 'file')
    assert torch.equal(model.head.weight, state['head.weight'])


def test_leaves_the_checkpoint_as_it_was(model, state):
    names = list(state)
    with pytest.raises(ValueError, match='another shape'):
        load_weights(Model(5), dict(state_dict=state), 'file')
    assert list(state) == names


def test_counts_and_names_what_is_missing(model, state):
    del state['backbone.0.weight'], state['head.bias']
    with pytest.raises(
        ValueError,
        match=r'`file` .* Of 9 .*: 2 missing \(such as backbone\.0\.weight\)',
    ):
        load_weights(model, state, 'file')


def test_tells_both_shapes(model):
    with pytest.raises(ValueError, match=r'another shape') as caught:
        load_weights(model, Model(5).state_dict(), 'file')
    message = str(caught.value)
    assert '7 of another shape' in message
    assert 'backbone.0.weight (5, 3, 1, 1) instead of (4, 3, 1, 1)' in message
    assert 'missing' not in message


def test_a_larger_model_of_the_same_names_does_not_fit(model, state):
    state['backbone.2.weight'] = torch.zeros(4)
    with pytest.raises(ValueError, match=r'1 unknown \(such as backbone\.2\.weight\)'):
        load_weights(model, state, 'file')


def test_modules_that_the_model_has_not_are_ignored(model, state):
    state['teacher.weight'] = torch.zeros(4)
    load_weights(model, state, 'file')
    assert torch.equal(model.head.weight, state['head.weight'])


def test_a_dict_of_other_things_does_not_fit(model):
    with pytest.raises(ValueError, match='8 missing'):
        load_weights(model, dict(epoch=3), 'file')


def test_modules_see_the_version_that_was_saved(model, state):
    seen = []
    model.head._version = 2
    state = model.state_dict()
    assert isinstance(state, OrderedDict)
    model.head._register_load_state_dict_pre_hook(
        lambda state, prefix, meta, *args: seen.append(meta.get('version'))
    )
    load_weights(model, state, 'file')
    assert seen == [2]
