"""docs/custom.md: its config learns other joints from the published weights."""

import json
import re

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import Evaluator
from mmengine.registry import DefaultScope
from mmengine.runner import load_checkpoint
from mmpose.registry import DATASETS, MODELS

from ldcrn_mm.sample_data import COCO_JOINTS, make_sample_data

JOINTS = ['nose', 'left_wrist', 'right_wrist', 'left_ankle', 'right_ankle']


@pytest.fixture
def cfg(root, tmp_path, monkeypatch):
    """The page's config, in a folder with its files and puppets with five joints."""
    monkeypatch.chdir(tmp_path)
    page = (root / 'docs' / 'custom.md').read_text()
    for code in re.findall(r'```python\n(.*?)```', page, re.DOTALL):
        name = code.split()[1]
        code = code.replace('ldcrn_mm::ldcrn/', f'{root}/configs/ldcrn/')
        (tmp_path / name).write_text(code)
    make_sample_data('data', ['coco'], num_train=3, num_val=3)
    (tmp_path / 'data' / 'coco').rename('data/climbers')
    chosen = [COCO_JOINTS.index(joint) for joint in JOINTS]
    for part in ('train', 'val'):
        folder = tmp_path / 'data' / 'climbers'
        file = folder / f'annotations/person_keypoints_{part}2017.json'
        content = json.loads(file.read_text())
        for person in content['annotations']:
            points = np.reshape(person['keypoints'], (-1, 3))[chosen]
            person['keypoints'] = points.ravel().tolist()
            person['num_keypoints'] = int((points[:, 2] > 0).sum())
        (folder / 'annotations' / f'{part}.json').write_text(json.dumps(content))
        for picture in (folder / f'{part}2017').iterdir():
            (folder / 'images').mkdir(exist_ok=True)
            picture.rename(folder / 'images' / picture.name)
    with DefaultScope.overwrite_default_scope('mmpose'):
        yield Config.fromfile('climbers.py')


def test_the_page_works(cfg):
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    published = load_checkpoint(model, cfg.load_from, map_location='cpu')
    weights = model.state_dict()
    for name, value in published['state_dict'].items():
        assert name.startswith('head.final_layer') or torch.equal(weights[name], value)
    assert weights['head.final_layer.weight'].shape == (5, 32, 1, 1)

    for split in ('train', 'val', 'test'):  # boxes around the body need a margin
        steps = cfg[f'{split}_dataloader'].dataset.pipeline
        assert [step.padding for step in steps if 'padding' in step] == [1.25]
    train = DATASETS.build(cfg.train_dataloader.dataset)
    assert train.metainfo['flip_indices'] == [0, 2, 1, 4, 3]
    batch = model.data_preprocessor(pseudo_collate([train[0], train[1]]), True)
    losses = model.train()(**batch, mode='loss')
    losses['loss_kpt'].backward()
    assert torch.isfinite(losses['loss_kpt'])

    val = DATASETS.build(cfg.val_dataloader.dataset)
    evaluator = Evaluator(cfg.val_evaluator)
    evaluator.dataset_meta = val.metainfo
    batch = pseudo_collate([*val])
    with torch.no_grad():
        found = model.eval().val_step(batch)
    for sample in found:
        assert sample.pred_instances.keypoints.shape == (1, 5, 2)
        sample.pred_instances.keypoints = sample.gt_instances.keypoints
    evaluator.process(found, batch)
    assert evaluator.evaluate(len(val))['coco/AP'] == pytest.approx(1)
