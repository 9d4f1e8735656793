"""PCK in torsos, against counting by hand."""

import json
import math

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from mmpose.registry import DATASETS, METRICS

from ldcrn_mm.metrics import TorsoPCKAccuracy


def person(torso=10.0):
    """A person whose longer diagonal, left shoulder to right hip, is ``torso``."""
    points = np.random.RandomState(0).uniform(-50, 50, (17, 2))
    points[5], points[12] = (0, 0), (torso * 0.6, torso * 0.8)
    points[6], points[11] = (1, 1), (1, 1 + torso / 2)
    return points


def sample(points, found, seen=None):
    seen = np.ones(17) if seen is None else seen
    return dict(
        gt_instances=dict(keypoints=points[None], keypoints_visible=seen[None]),
        pred_instances=dict(keypoints=found[None]),
    )


def evaluate(*samples, **settings):
    metric = TorsoPCKAccuracy(**settings)
    metric.process([], samples)
    return metric.evaluate(len(samples))


def test_smoke_it_is_built_by_name():
    assert isinstance(METRICS.build(dict(type='TorsoPCKAccuracy')), TorsoPCKAccuracy)


def test_who_finds_everything_has_all():
    metrics = evaluate(sample(person(), person()))
    names = ('Shoulder', 'Elbow', 'Wrist', 'Hip', 'Knee', 'Ankle')
    assert metrics == {**{f'{name} PCK': 100.0 for name in names}, 'PCK': 100.0}


@pytest.mark.parametrize('thr', [0.2, 0.5])
@pytest.mark.parametrize('torso', [10.0, 40.0])
def test_a_joint_is_found_within_the_threshold_of_the_larger_torso(thr, torso):
    points = person(torso)
    for distance, right in ((0.99, True), (1.01, False)):
        found = points.copy()
        angle = 1.0
        offset = thr * torso * distance * np.array([math.cos(angle), math.sin(angle)])
        found[15] += offset  # the left ankle
        metrics = evaluate(sample(points, found), thr=thr)
        assert metrics['Ankle PCK'] == (100 if right else 50)
        assert metrics['PCK'] == pytest.approx(100 if right else 100 * 11 / 12)
        assert metrics['Knee PCK'] == 100


def test_the_other_diagonal_counts_where_it_is_larger():
    points = person(10)
    points[6], points[11] = (0, 0), (0, 100)
    found = points.copy()
    found[9] += (19, 0)
    assert evaluate(sample(points, found))['PCK'] == 100


def test_the_face_does_not_count():
    found = person()
    found[:5] += 1000
    assert evaluate(sample(person(), found))['PCK'] == 100


def test_joints_without_annotation_do_not_count():
    seen = np.ones(17)
    seen[[7, 8, 13]] = 0
    found = person()
    found[[7, 13, 16]] += 1000
    metrics = evaluate(sample(person(), found, seen))
    assert 'Elbow PCK' not in metrics
    assert metrics['Knee PCK'] == 100
    assert metrics['PCK'] == pytest.approx(100 * 8 / 9)


def test_joints_and_not_people_are_averaged():
    one, other = person(), person()
    few = np.zeros(17)
    few[[5, 6, 11, 12]] = 1
    other[11] += 1000
    metrics = evaluate(sample(one, one), sample(one, other, few))
    assert metrics['PCK'] == pytest.approx(100 * 15 / 16)


def test_exception_where_the_keypoints_are_not_cocos():
    points = np.zeros((16, 2))
    with pytest.raises(ValueError, match="COCO's 17 keypoints"):
        evaluate(sample(points, points, np.ones(16)))


@pytest.mark.parametrize('joint', [5, 6, 11, 12])
def test_people_without_a_torso_do_not_count(joint):
    seen = np.ones(17)
    seen[joint] = 0
    found = person()
    found[9] += 1000
    one, other = sample(person(), found), sample(person(), person() + 1000, seen)
    assert evaluate(one, other) == evaluate(one)
    with pytest.raises(ValueError, match='1 of 1 people'):
        evaluate(other)


def dataset_of(root, folder, people):
    """The COCO recipe's validation set of people, given as (17, 3) with ``v``."""
    cv2.imwrite(str(folder / '1.png'), np.zeros((200, 200, 3), np.uint8))
    usual = dict(image_id=1, category_id=1, bbox=[10, 10, 180, 180], area=9000)
    usual |= dict(iscrowd=0, num_keypoints=17)
    annotations = [
        dict(usual, id=i, keypoints=points.ravel().tolist())
        for i, points in enumerate(people, start=1)
    ]
    image = dict(id=1, file_name='1.png', width=200, height=200)
    category = dict(id=1, name='person', keypoints=[''] * 17, skeleton=[])
    content = dict(images=[image], annotations=annotations, categories=[category])
    (folder / 'people.json').write_text(json.dumps(content))
    dataset = Config.fromfile(root / 'configs/ldcrn_coco.py').val_dataloader.dataset
    dataset.update(data_root=str(folder), ann_file='people.json')
    dataset.data_prefix = dict(img='')
    with DefaultScope.overwrite_default_scope('mmpose'):
        return DATASETS.build(dataset)


def with_visibility(points, hidden=(), unknown=()):
    labelled = np.concatenate([points + 100, np.full((17, 1), 2.0)], axis=1)
    labelled[list(hidden), 2] = 1
    labelled[list(unknown)] = 0
    return labelled


@pytest.mark.parametrize(('least', 'wrong', 'counted'), [(1, 2, 11), (2, 1, 9)])
def test_hidden_joints_count_only_if_asked(root, tmp_path, least, wrong, counted):
    """Missed: 7 and 13; 7 and 9 are hidden, 16 is unknown."""
    people = [with_visibility(person(20), hidden=[0, 7, 9], unknown=[16])]
    dataset = dataset_of(root, tmp_path, people)
    (packed,) = pseudo_collate([dataset[0]])['data_samples']
    assert packed.gt_instances.keypoints_visible.max() == 1  # v is not in here
    found = person(20) + 100
    found[[7, 13]] += 1000
    packed.pred_instances = InstanceData(keypoints=found[None])
    metrics = evaluate(packed.to_dict(), min_visibility=least)
    assert metrics['PCK'] == pytest.approx(100 * (counted - wrong) / counted)
    assert metrics['Wrist PCK'] == 100


@pytest.mark.parametrize('least', [1, 2])
def test_hidden_shoulders_and_hips_still_measure_the_torso(root, tmp_path, least):
    dataset = dataset_of(
        root, tmp_path, [with_visibility(person(20), hidden=[5, 6, 11, 12])]
    )
    (packed,) = pseudo_collate([dataset[0]])['data_samples']
    found = person(20) + 100
    found[15] += (0, 3.9)
    found[16] += (0, 4.1)
    packed.pred_instances = InstanceData(keypoints=found[None])
    metrics = evaluate(packed.to_dict(), min_visibility=least)
    assert metrics['Ankle PCK'] == 50
    assert ('Hip PCK' in metrics) == (least == 1)


@pytest.mark.parametrize('least', [0, 3])
def test_exception_for_a_visibility_that_coco_has_not(least):
    with pytest.raises(ValueError, match='min_visibility is 1 or 2'):
        TorsoPCKAccuracy(min_visibility=least)
