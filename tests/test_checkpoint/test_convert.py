"""State dicts, checked and renamed."""

import json

import pytest
import torch
from torch import Tensor

from ldcrn_mm.checkpoint import mmpose_name, to_mmpose, to_original


@pytest.fixture
def original(root) -> dict[str, Tensor]:
    """A state dict of the original for COCO, each tensor with values of its own."""
    shapes = json.loads((root / 'tests/data/original_names.json').read_text())['coco']
    return {
        name: torch.full(shape, i, dtype=torch.float32)
        for i, (name, shape) in enumerate(shapes)
    }


def test_every_tensor_arrives_and_comes_back(original):
    ours = to_mmpose(original)
    assert len(ours) == len(original)
    for name, tensor in original.items():
        assert ours[mmpose_name(name)] is tensor
    back = to_original(ours)
    assert list(back) == list(original)
    assert all(back[name] is tensor for name, tensor in original.items())


@pytest.mark.parametrize('joints', [14, 16])
def test_number_of_joints_is_free(original, joints):
    original['final_layer.weight'] = torch.zeros(joints, 32, 1, 1)
    original['final_layer.bias'] = torch.zeros(joints)
    assert to_mmpose(original)['head.final_layer.bias'].shape == (joints,)


def test_missing_foreign_and_misshaped_tensors_are_listed(original):
    del original['layer1.2.denselayer1.conv1.weight']
    original['fconv5.bias'] = torch.zeros(32)
    original['conv1.weight'] = torch.zeros(64, 3, 7, 7)
    with pytest.raises(ValueError, match='not those of the network') as error:
        to_mmpose(original)
    text = str(error.value)
    assert '1 tensors missing:\n    layer1.2.denselayer1.conv1.weight' in text
    assert '1 tensors not of this network:\n    fconv5.bias' in text
    assert 'conv1.weight (64, 3, 7, 7) instead of (64, 3, 3, 3)' in text


def test_long_lists_are_cut(original):
    original = {name: t for name, t in original.items() if 'stage4' not in name}
    count = 1894 - len(original)
    with pytest.raises(ValueError, match=f'{count} tensors missing') as error:
        to_mmpose(original)
    assert f'... and {count - 6} more' in str(error.value)
    assert len(str(error.value).splitlines()) < 12


def test_weights_without_a_head_are_refused(original):
    del original['final_layer.weight']
    with pytest.raises(ValueError, match=r'final_layer\.weight'):
        to_mmpose(original)


def test_reverse_checks_too(original):
    ours = to_mmpose(original)
    ours['backbone.more.weight'] = torch.zeros(1)
    with pytest.raises(ValueError, match=r'backbone\.more\.weight'):
        to_original(ours)
