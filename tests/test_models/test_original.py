"""Names of tensors in both directions, and refusal of the authors' checkpoints."""

import json
from copy import deepcopy

import pytest
import torch
from mmengine.runner.checkpoint import load_state_dict
from mmpose.registry import MODELS

from ldcrn_mm.models import LDCRN
from ldcrn_mm.models.original import NameTemplate, mmpose_name, original_name

ESTIMATOR = dict(
    _scope_='mmpose',
    type='TopdownPoseEstimator',
    backbone=dict(type='LDCRN'),
    neck=dict(type='PyramidFusionNeck'),
    head=dict(type='LDCRNHead'),
)


@pytest.fixture(scope='module')
def tensors(root):
    """Names and shapes in the state dicts of the authors' code."""
    return json.loads((root / 'tests' / 'data' / 'original_names.json').read_text())


@pytest.fixture(scope='module')
def original(tensors):
    return {name: torch.zeros(shape) for name, shape in tensors['coco']}


@pytest.mark.parametrize('data', ['coco', 'mpii'])
def test_every_name_is_translated_there_and_back(tensors, data):
    names = [name for name, _ in tensors[data]]
    ours = [mmpose_name(name) for name in names]
    assert len(set(ours)) == len(names) == 1894
    assert [original_name(name) for name in ours] == names
    with torch.device('meta'):
        assert set(ours) == set(MODELS.build(ESTIMATOR).state_dict())


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


@pytest.mark.parametrize(
    'build', [LDCRN, lambda: deepcopy(LDCRN()), lambda: MODELS.build(ESTIMATOR)]
)
def test_exception_that_tells_how_to_convert_the_original_weights(build, original):
    for load in (load_state_dict, lambda m, s: m.load_state_dict(s)):
        with pytest.raises(ValueError, match=r'tools/convert_checkpoint\.py'):
            load(build(), original)


@pytest.mark.parametrize('prefix', [None, 'backbone.'])
def test_a_backbone_takes_its_weights_from_a_whole_network(tmp_path, prefix):
    torch.save(MODELS.build(ESTIMATOR).state_dict(), tmp_path / 'weights.pth')
    init = dict(type='Pretrained', checkpoint=str(tmp_path / 'weights.pth'))
    backbone = LDCRN(init_cfg=init | (dict(prefix=prefix) if prefix else {}))
    if prefix:
        backbone.init_weights()
        return
    with pytest.raises(ValueError, match=r"stem.*prefix='backbone\.'"):
        backbone.init_weights()


def test_translated_weights_are_loaded(original):
    network = MODELS.build(ESTIMATOR)
    network.load_state_dict({mmpose_name(n): t for n, t in original.items()})
    assert not any(parameter.any() for parameter in network.parameters())
