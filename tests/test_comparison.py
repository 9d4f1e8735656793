"""The configs that compare networks differ in the network and in nothing else."""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.hub import get_config

MMPOSE = 'mmpose::body_2d_keypoint/topdown_heatmap/coco'
CONFIGS = Path(__file__).resolve().parent.parent / 'configs'
LDCRN = CONFIGS / 'ldcrn' / 'td-hm_ldcrn_1xb16-30e_lsp-extended-128x96.py'
COMPARED = {path.stem: path for path in (CONFIGS / 'comparison').glob('*.py')}


@pytest.mark.parametrize('name', sorted(COMPARED))
def test_data_and_schedule_are_those_of_ldcrn(name):
    compared, ldcrn = Config.fromfile(COMPARED[name]), Config.fromfile(LDCRN)

    assert compared.model != ldcrn.model
    for part in ('data_preprocessor', 'test_cfg'):
        assert compared.model[part] == ldcrn.model[part]
    for part in ('loss', 'decoder', 'out_channels'):
        assert compared.model.head.get(part) == ldcrn.model.head.get(part)
    assert {**compared, 'model': None} == {**ldcrn, 'model': None}


@pytest.mark.parametrize('name', ['hrnet-w32', 'litehrnet-18'])
def test_networks_of_mmpose_are_mmposes_from_scratch(name):
    model = Config.fromfile(COMPARED[f'td-hm_{name}_lsp-extended-128x96']).model
    theirs = get_config(f'{MMPOSE}/td-hm_{name}_8xb64-210e_coco-256x192.py').model

    assert 'init_cfg' not in model.backbone
    theirs.backbone.pop('init_cfg', None)
    assert model.backbone == theirs.backbone
    assert model.neck is None
    assert model.head.in_channels == theirs.head.in_channels


def test_without_pyramid_fusion_is_the_ablation_for_coco():
    model = Config.fromfile(COMPARED['td-hm_ldcrn-addition_lsp-extended-128x96']).model
    ablation = 'td-hm_ldcrn-addition_4xb32-400e_coco-256x192.py'
    coco = Config.fromfile(CONFIGS / 'ldcrn' / ablation).model

    assert model.backbone == coco.backbone
    assert model.neck == coco.neck
    assert model.head.in_channels == coco.head.in_channels
