"""Names of tensors, both ways."""

import json
from copy import deepcopy

import pytest
import torch
from mmengine.runner.checkpoint import load_state_dict
from mmpose.registry import MODELS

from ldcrn_mm.checkpoint import mmpose_name, original_name
from ldcrn_mm.models import LDCRN
from ldcrn_mm.models.original import NameTemplate

ESTIMATOR = dict(
    _scope_='mmpose',
    type='TopdownPoseEstimator',
    backbone=dict(type='LDCRN'),
    neck=dict(type='PyramidFusionNeck'),
    head=dict(type='LDCRNHead'),
)


@pytest.fixture(scope='module', params=['coco', 'mpii'])
def names(request, root) -> list[str]:
    file = root / 'tests' / 'data' / 'original_names.json'
    return [name for name, _ in json.loads(file.read_text())[request.param]]


def test_every_name_of_the_reference_goes_there_and_back(names):
    ours = [mmpose_name(name) for name in names]
    assert len(set(ours)) == len(names) == 1894
    assert [original_name(name) for name in ours] == names


def test_names_are_those_of_our_network(names):
    with torch.device('meta'):
        network = MODELS.build(ESTIMATOR)
    assert {mmpose_name(name) for name in names} == set(network.state_dict())


@pytest.mark.parametrize(
    ('original', 'ours'),
    [
        ('conv2.weight', 'backbone.stem.1.0.weight'),
        (
            'layer1.6.denselayer4.conv2.weight',
            'backbone.layer1.6.layers.3.bottleneck.5.weight',
        ),
        ('layer1.3.bn.running_var', 'backbone.layer1.3.0.running_var'),
        (
            'stage4.1.branches.3.0.denselayer1.bn3.bias',
            'backbone.stages.2.1.branches.3.0.layers.0.shortcut.1.bias',
        ),
        (
            'stage3.0.fuse_layers.2.0.1.0.weight',
            'backbone.stages.1.0.exchange.2.0.1.0.weight',
        ),
        ('transition3.3.0.0.weight', 'backbone.grow.1.0.weight'),
        ('fconv4.bias', 'neck.laterals.3.bias'),
        ('bn3.weight', 'neck.stem_projection.1.weight'),
    ],
)
def test_names_by_example(original, ours):
    assert mmpose_name(original) == ours
    assert original_name(ours) == original


@pytest.mark.parametrize(
    'name', ['', 'weight', 'conv4.weight', 'layer1.0.conv1.weight', 'xconv1.weight']
)
def test_foreign_names_have_none(name):
    assert mmpose_name(name) is None
    assert original_name(name) is None


def test_template_counts_from_zero_and_is_exact():
    template = NameTemplate('stage{s+2}.{m}.bn')
    assert template.read('stage4.1.bn') == dict(s=2, m=1)
    assert template.fill(dict(s=2, m=1)) == 'stage4.1.bn'
    for other in ('stage4.1.bn1', 'stage4.01.bn', 'stage4_1_bn', 'a.stage4.1.bn'):
        assert template.read(other) is None


class TestRefusal:
    @pytest.fixture(scope='class')
    def original(self, root) -> dict[str, torch.Tensor]:
        file = root / 'tests' / 'data' / 'original_names.json'
        shapes = json.loads(file.read_text())['coco']
        return {name: torch.zeros(shape) for name, shape in shapes}

    @pytest.mark.parametrize('alone', [False, True])
    def test_original_weights_say_how_to_convert_them(self, original, alone):
        network = LDCRN() if alone else MODELS.build(ESTIMATOR)
        for load in (load_state_dict, lambda m, s: m.load_state_dict(s)):
            with pytest.raises(ValueError, match=r'tools/convert_checkpoint\.py'):
                load(network, original)

    def test_ours_are_loaded(self, original):
        network = MODELS.build(ESTIMATOR)
        result = network.load_state_dict(
            {mmpose_name(n): t for n, t in original.items()}
        )
        assert not result.missing_keys
        assert not network.backbone.stem[0][0].weight.any()

    def test_a_copied_network_still_refuses(self, original):
        with pytest.raises(ValueError, match='Convert it'):
            deepcopy(LDCRN()).load_state_dict(original)
