import os
import subprocess
import sys

import mmengine.hub
import mmpose.registry
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from ldcrn_mm import registry
from ldcrn_mm.models import LDCRN, LDCRNHead, PyramidFusionNeck
from ldcrn_mm.training import BFloat16OptimWrapper, ChannelsLastHook, SafeCheckpointHook

# A model of MMPose with another backbone.
INHERITING = """
_base_ = 'mmpose::body_2d_keypoint/topdown_heatmap/coco/\
td-hm_hrnet-w32_8xb64-210e_coco-256x192.py'
custom_imports = dict(imports=['ldcrn_mm'])
model = dict(
    backbone=dict(_delete_=True, type='LDCRN'),
    neck=dict(type='PyramidFusionNeck'),
    test_cfg=dict(flip_test=False))
"""
BY_SCOPE = """
from mmengine.registry import MODELS, init_default_scope

init_default_scope('ldcrn_mm')
print(type(MODELS.build(dict(type='LDCRN'))).__module__)
"""


def test_every_registry_of_mmpose_has_a_child_that_is_a_scope_of_its_own():
    theirs = {
        name
        for name, value in vars(mmpose.registry).items()
        if getattr(value, 'scope', None) == 'mmpose'
    }
    assert {'MODELS', 'HOOKS', 'TRANSFORMS', 'METRICS', 'INFERENCERS'} < theirs
    assert set(registry.CHILDREN) == theirs
    for name in theirs:
        child, parent = getattr(registry, name), getattr(mmpose.registry, name)
        assert child.scope == 'ldcrn_mm'
        assert child.parent is parent
        assert parent.children['ldcrn_mm'] is child
        assert child._locations == [*parent._locations, 'ldcrn_mm']


@pytest.mark.parametrize(
    ('room', 'module'),
    [
        ('MODELS', LDCRN),
        ('MODELS', PyramidFusionNeck),
        ('MODELS', LDCRNHead),
        ('HOOKS', ChannelsLastHook),
        ('HOOKS', SafeCheckpointHook),
        ('OPTIM_WRAPPERS', BFloat16OptimWrapper),
    ],
)
def test_modules_are_found_from_both_scopes(room, module):
    for scope in (registry, mmpose.registry):
        assert getattr(scope, room).get(module.__name__) is module


def test_its_scope_brings_the_package_in(root, tmp_path):
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', BY_SCOPE],
        cwd=tmp_path,
        env=os.environ | {'PYTHONPATH': str(root)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == 'ldcrn_mm.models.ldcrn'


@pytest.mark.parametrize('scope', ['mmpose', 'ldcrn_mm'])
def test_an_inherited_head_works_on_the_network(tmp_path, scope):
    config = tmp_path / 'inheriting.py'
    config.write_text(INHERITING)
    with DefaultScope.overwrite_default_scope(scope):
        model = registry.MODELS.build(Config.fromfile(config).model)
    heatmaps = model.head(model.extract_feat(torch.rand(1, 3, 64, 64)))
    assert heatmaps.shape == (1, 17, 16, 16)


def test_the_hub_of_mmengine_builds_a_model_by_name():
    model = mmengine.hub.get_model('ldcrn_mm::ldcrn/td-hm_ldcrn-tiny_sample-128x96.py')
    assert isinstance(model.backbone, LDCRN)
    assert isinstance(model.head, LDCRNHead)


@pytest.mark.parametrize(
    ('init_default_scope', 'scope'), [(True, 'ldcrn_mm'), (False, 'mmengine')]
)
def test_the_scope_is_set_only_where_asked_for(init_default_scope, scope):
    with DefaultScope.overwrite_default_scope('mmengine'):
        registry.register_all_modules(init_default_scope)
        assert DefaultScope.get_current_instance().scope_name == scope
