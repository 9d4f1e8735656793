"""MPII's keypoints lie where the picture shows them."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpose.registry import DATASETS, TRANSFORMS

LEFT, TOP = 120, 80  # middle of the spot, counted from zero


@pytest.fixture
def mpii(tmp_path: Path) -> Path:
    """A black picture with a white spot on every joint of its one person."""
    image = np.zeros((200, 240, 3), np.uint8)
    image[TOP - 1 : TOP + 2, LEFT - 1 : LEFT + 2] = 255
    (tmp_path / 'images').mkdir()
    cv2.imwrite(str(tmp_path / 'images' / '000000001.png'), image)
    person = dict(
        image='000000001.png',
        center=[110.0, 90.0],
        scale=1.024,  # of 200 pixels, padded by 1.25: 256 pixels
        joints=[[LEFT + 1.0, TOP + 1.0]] * 16,
        joints_vis=[1] * 16,
    )
    (tmp_path / 'mpii.json').write_text(json.dumps([person]))
    return tmp_path


@pytest.mark.parametrize('flip', [0.0, 1.0])
def test_training_target_lies_on_the_spot(root, mpii, flip):
    cfg = Config.fromfile(root / 'configs' / 'ldcrn_mpii.py')
    steps = [t for t in cfg.train_pipeline if t.type != 'ClippedGaussianBBoxTransform']
    steps = [dict(t, prob=flip) if t.type == 'RandomFlip' else t for t in steps]
    data = dict(cfg.train_dataloader.dataset, pipeline=steps[:-2])
    with DefaultScope.overwrite_default_scope('mmpose'):
        dataset = DATASETS.build(dict(data, data_root=str(mpii), ann_file='mpii.json'))
        sample = dataset[0]
    weights = sample['img'][..., 0] / sample['img'][..., 0].sum()
    rows, columns = np.indices(weights.shape)
    spot = [(weights * columns).sum(), (weights * rows).sum()]
    assert np.allclose(sample['transformed_keypoints'][0], spot, atol=0.02)


def test_keypoints_of_the_caller_are_left_alone():
    keypoints = np.array([[[1.0, 1.0], [5.5, 3.0]]], np.float32)
    transform = TRANSFORMS.build(dict(type='KeypointsFromZero'))
    result = transform(dict(keypoints=keypoints))
    assert result['keypoints'].tolist() == [[[0.0, 0.0], [4.5, 2.0]]]
    assert keypoints.tolist() == [[[1.0, 1.0], [5.5, 3.0]]]
    assert repr(transform) == 'KeypointsFromZero()'
