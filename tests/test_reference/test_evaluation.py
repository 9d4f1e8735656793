"""COCO's ten numbers and MPII's PCKh, through the evaluators of our configs."""

import json

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.evaluator import BaseMetric
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.registry import DATASETS, METRICS
from scipy.io import savemat


@pytest.mark.parametrize('dataset', ['coco'])
def test_coco(cfg, numbers, sample_data, agreement, capsys):
    expected = numbers('eval_coco')
    data = cfg.train_dataloader.dataset
    ann_file = str(sample_data / 'coco' / data.ann_file)
    metric = METRICS.build(dict(cfg.val_evaluator, ann_file=ann_file))
    metric.dataset_meta = parse_pose_metainfo(DATASETS.get(data.type).METAINFO)
    for i, keypoints in enumerate(expected['keypoints']):
        sample = dict(
            id=i,
            img_id=int(expected['image_id'][i]),
            pred_instances=dict(
                keypoints=keypoints[None, :, :2], keypoint_scores=keypoints[None, :, 2]
            ),
            gt_instances=dict(
                bbox_scales=expected['scale_px'][i : i + 1],
                bbox_scores=expected['score'][i : i + 1],
            ),
        )
        metric.process({}, [sample])
    results = metric.evaluate(len(expected['keypoints']))
    names = [f'coco/{name.replace("Ap", "AP")}' for name in expected['stat_names']]
    off = [abs(results[name] - v) for name, v in zip(names, expected['stats'])]
    assert len(off) == len(results) == 10
    agreement('evaluation', 'the ten numbers of COCO', max(off), 1e-6)


@pytest.fixture
def mpii_people(cfg: Config, numbers, tmp_path) -> BaseDataset:
    """The config's data set on annotations made of the arrays of ``gt_valid.mat``."""
    expected = numbers('eval_mpii')
    joints = expected['keypoints_gt_src'].transpose(2, 0, 1)
    visible = 1 - expected['joint_missing'].T
    annotations = [
        dict(
            image=f'{i:09d}.jpg',
            center=[100.0, 100.0],
            scale=1.0,
            joints=points.tolist(),
            joints_vis=flags.astype(int).tolist(),
        )
        for i, (points, flags) in enumerate(zip(joints, visible))
    ]
    (tmp_path / 'mpii.json').write_text(json.dumps(annotations))
    savemat(tmp_path / 'gt.mat', dict(headboxes_src=expected['headboxes_src']))
    files = dict(ann_file='mpii.json', headbox_file=str(tmp_path / 'gt.mat'))
    config = dict(cfg.val_dataloader.dataset, data_root=str(tmp_path), **files)
    return DATASETS.build(dict(config, pipeline=[]))


def pckh(
    metric: BaseMetric, people: BaseDataset, predictions: np.ndarray
) -> dict[str, float]:
    for person in people:
        sample = dict(
            pred_instances=dict(keypoints=predictions[person['id']][None]),
            gt_instances=person,
        )
        metric.process({}, [sample])
    return metric.evaluate(len(people))


@pytest.mark.parametrize('dataset', ['mpii'])
class TestMpii:
    def test_pckh(self, cfg, numbers, mpii_people, agreement):
        expected = numbers('eval_mpii')
        metric = METRICS.build(cfg.val_evaluator)
        results = pckh(metric, mpii_people, expected['keypoints'])
        names = [f'{name} PCK' for name in expected['stat_names'][:7]] + ['PCK']
        off = [abs(results[name] - v) for name, v in zip(names, expected['stats'])]
        agreement('evaluation', 'PCKh, seven groups and mean', max(off), 1e-6, '%')

    def test_mean_at_01_is_read_at_011(self, cfg, numbers, mpii_people, agreement):
        """The original takes the twelfth of its thresholds 0, 0.01, 0.02, ..."""
        expected = numbers('eval_mpii')
        metric = METRICS.build(dict(cfg.val_evaluator, thr=0.11))
        results = pckh(metric, mpii_people, expected['keypoints'])
        value = dict(zip(expected['stat_names'], expected['stats']))['Mean@0.1']
        off = abs(results['PCK'] - value)
        agreement('evaluation', '"mean@0.1", which is at 0.11', off, 1e-6, '%')
        assert results['PCK@0.1'] < value

    def test_predictions_count_pixels_from_zero(self, cfg, numbers, mpii_people):
        expected = numbers('eval_mpii')
        metric = METRICS.build(cfg.val_evaluator)
        exact = expected['keypoints_gt_src'].transpose(2, 0, 1) - 1
        assert pckh(metric, mpii_people, exact)['PCK@0.1'] == pytest.approx(100)
        for person in mpii_people:
            head = person['head_size']
            assert np.isclose(head.item(), head_size(expected, person['id']))


def head_size(expected: dict[str, np.ndarray], person: int) -> float:
    box = expected['headboxes_src'][..., person]
    return 0.6 * float(np.hypot(*(box[1] - box[0])))
