"""Names of the configs, and their metafile."""

import re
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.config import Config
from mmengine.fileio import load
from mmengine.infer import BaseInferencer
from mmengine.registry import DefaultScope
from mmpose.apis.inferencers.utils import get_model_aliases
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.registry import DATASETS

from ldcrn_mm.checkpoint import zoo

ROOT = Path(__file__).resolve().parent.parent
PATHS = {
    path.stem: path
    for path in sorted((ROOT / 'configs').rglob('*.py'))
    if not {'_base_', 'comparison'} & set(path.parts)  # tests/test_comparison.py
}
NAME = re.compile(
    r'td-hm_ldcrn(?:-(?P<network>[a-z-]+))?'
    r'_(?:(?P<trick>[a-z-]+)-)?(?P<gpus>\d+)xb(?P<batch>\d+)-(?P<epochs>\d+)e'
    r'_(?P<data>[a-z-]+)-(?P<height>\d+)x(?P<width>\d+)'
)
VARIANTS = [name for name in PATHS if NAME.fullmatch(name)]
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
DATA = {
    'coco': ('CocoDataset', 17, 'coco/AP'),
    'crowdpose': ('CrowdPoseDataset', 14, 'crowdpose/AP'),
    'coco-wholebody': ('CocoWholeBodyDataset', 133, 'coco-wholebody/AP'),
    'lsp-extended': ('CocoDataset', 17, 'PCK'),
}
ENTRIES = load(ROOT / 'configs' / 'ldcrn' / 'metafile.yml')['Models']
PUBLISHED = [entry for entry in ENTRIES if entry['Weights']]


@pytest.fixture(scope='module', autouse=True)
def _scope():
    with DefaultScope.overwrite_default_scope('mmpose'):
        yield


@cache
def config(name):
    return Config.fromfile(PATHS[name])


@pytest.fixture(params=VARIANTS)
def name(request):
    return request.param


@pytest.fixture
def promised(name):
    return NAME.fullmatch(name).groupdict()


@pytest.fixture
def cfg(name):
    return config(name)


def find(node, kind):
    """All dictionaries of a type, however deep."""
    if isinstance(node, dict):
        if node.get('type') == kind:
            yield node
        node = list(node.values())
    if isinstance(node, list | tuple):
        for member in node:
            yield from find(member, kind)


def test_every_config_is_a_recipe_or_named_as_openmmlab_does():
    assert set(PATHS) - set(VARIANTS) == {
        'ldcrn_coco',
        'ldcrn_mpii',
        'td-hm_ldcrn-tiny_sample-128x96',
    }


def test_the_size_is_that_of_the_name_everywhere(cfg, promised):
    width, height = int(promised['width']), int(promised['height'])

    assert cfg.codec.input_size == (width, height)
    assert cfg.codec.heatmap_size == (width // 4, height // 4)
    assert cfg.model.head.decoder == cfg.codec
    crops = list(find(cfg.to_dict(), 'TopdownAffine'))
    assert len(crops) >= 3
    assert all(crop['input_size'] == (width, height) for crop in crops)
    encoders = list(find(cfg.to_dict(), 'GenerateTarget'))
    assert encoders
    assert all(step['encoder'] == cfg.codec.to_dict() for step in encoders)


def test_schedule_and_trick_are_those_of_the_name(cfg, promised):
    epochs, batch = int(promised['epochs']), int(promised['batch'])
    *warm_up, drops = cfg.param_scheduler

    assert cfg.train_cfg.max_epochs == drops.end == epochs
    assert all(0 < milestone < epochs for milestone in drops.get('milestones', []))
    assert all(step.by_epoch is False for step in warm_up)
    assert cfg.train_dataloader.batch_size == batch
    assert cfg.auto_scale_lr.base_batch_size == batch * int(promised['gpus'])
    udp = promised['trick'] == 'udp'
    assert cfg.codec.type == ('UDPHeatmap' if udp else 'MSRAHeatmap')
    assert cfg.model.test_cfg.shift_heatmap is not udp
    for crop in find(cfg.to_dict(), 'TopdownAffine'):
        assert crop.get('use_udp', False) is udp
    assert cfg.codec.get('unbiased', False) is (promised['trick'] == 'dark')


def test_data_and_joints_are_those_of_the_name(cfg, promised):
    kind, joints, measure = DATA[promised['data']]
    meta = parse_pose_metainfo(DATASETS.get(kind).METAINFO)

    assert {cfg[loader].dataset.type for loader in LOADERS} == {kind}
    assert {cfg[loader].dataset.data_root for loader in LOADERS} == {cfg.data_root}
    assert cfg.model.head.out_channels == meta['num_keypoints'] == joints
    assert cfg.default_hooks.checkpoint.save_best == measure
    assert cfg.val_evaluator == cfg.test_evaluator
    if promised['data'] != 'lsp-extended':
        test = cfg.test_dataloader.dataset
        assert cfg.test_evaluator.ann_file == test.data_root + test.ann_file
        assert test.bbox_file.startswith(test.data_root)


def test_the_metafile_lists_every_config_once():
    assert load(ROOT / 'model-index.yml')['Import'] == ['configs/ldcrn/metafile.yml']
    assert sorted(entry['Name'] for entry in ENTRIES) == sorted(PATHS)
    for entry in ENTRIES:
        assert ROOT / entry['Config'] == PATHS[entry['Name']]
        assert entry['In Collection'] == 'LDCRN'
        assert ('Results' in entry) == (entry in PUBLISHED)


def test_names_and_aliases_are_found_by_mmpose():
    aliases = get_model_aliases('ldcrn_mm')
    asking = SimpleNamespace(scope='ldcrn_mm')
    weights = {entry['Name']: entry['Weights'] for entry in ENTRIES}

    assert aliases['ldcrn-coco'] == 'ldcrn_coco'
    assert aliases['ldcrn-mpii'] == 'ldcrn_mpii'
    assert weights[aliases[zoo.DEFAULT]]
    listed = BaseInferencer.list_models('ldcrn_mm')
    assert sorted(listed) == sorted([*PATHS, *aliases])
    for alias, name in aliases.items():
        cfg, found = BaseInferencer._load_model_from_metafile(asking, alias)
        assert cfg.to_dict() == config(name).to_dict()
        assert found == weights[name]
