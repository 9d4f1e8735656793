"""The page of a run: errors against MMPose's metrics, pictures, missing parts."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.structures import InstanceData
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.structures import PoseDataSample

from ldcrn_mm import report
from ldcrn_mm.sample_data import make_sample_data

COCO = parse_pose_metainfo(dict(from_file='configs/_base_/datasets/coco.py'))
NOSE, LEFT_EYE = 0, 1
CONFIG = """
_base_ = '{root}/configs/ldcrn_{data}.py'
loader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(data_root='{folder}/{data}/'))
train_dataloader = dict(**loader)
val_dataloader = dict(**loader)
val_evaluator = {evaluator}
"""
COCO_AND_PCK = """[
    dict(type='CocoMetric',
         ann_file='{folder}/coco/annotations/person_keypoints_val2017.json'),
    dict(type='PCKAccuracy', thr=0.02)]"""
MPII = """dict()
val_dataloader['dataset']['headbox_file'] = '{folder}/mpii/annotations/mpii_gt_val.mat'
"""


@pytest.fixture(scope='module')
def config(root, tmp_path_factory):
    """A recipe for sample data of its own."""
    folder = tmp_path_factory.mktemp('sample') / 'data'
    make_sample_data(folder, num_train=3, num_val=6)

    def read(data: str) -> Config:
        evaluator = dict(coco=COCO_AND_PCK, mpii=MPII)[data].format(folder=folder)
        text = CONFIG.format(root=root, data=data, folder=folder, evaluator=evaluator)
        return Config.fromstring(text, '.py')

    return read


class Seer:
    """A model that finds the truth, some pixels (N, K, 2) away."""

    def __init__(self, pixels: np.ndarray, first: int) -> None:
        self.pixels, self.first = iter(pixels), first

    def val_step(self, batch: dict) -> list[PoseDataSample]:
        for sample in batch['data_samples']:
            truth = sample.gt_instances.keypoints - self.first
            sample.pred_instances = InstanceData(
                keypoints=truth + next(self.pixels),
                keypoint_scores=np.ones(truth.shape[:2]),
                bbox_scores=np.ones(1),
                bboxes=sample.gt_instances.bboxes,
            )
        return batch['data_samples']


@pytest.fixture
def seen(monkeypatch):
    """What is found by a model with such errors."""

    def run(cfg: Config, pixels: np.ndarray, first: int = 0) -> report.Predictions:
        for name in ('read_checkpoint', 'load_weights'):
            monkeypatch.setattr(report, name, lambda *_: None)
        model = Seer(pixels, first)
        monkeypatch.setattr(report, 'init_model', lambda *_, **__: model)
        return report.predict(cfg, 'checkpoint.pth')

    return run


@pytest.mark.parametrize('in_evaluator', [False, True])
def test_errors_are_those_of_the_metrics(config, seen, in_evaluator):
    pixels = np.random.default_rng(0).normal(0, 4, (99, 17, 2))
    cfg = config('coco')
    if in_evaluator:  # as a MultiDatasetEvaluator has them
        cfg.val_evaluator = dict(metrics=cfg.val_evaluator)
    found = seen(cfg, pixels)
    assert np.mean([*found.precision.values()]) == pytest.approx(
        found.metrics['coco/AP']
    )
    assert [*found.precision] == pytest.approx(np.arange(0.5, 1, 0.05))
    assert 0 < found.metrics['coco/AP'] < found.metrics['coco/AP .5']
    right = np.where(np.isnan(found.errors), np.nan, found.errors <= 0.02)
    assert np.nanmean(right, 0).mean() == pytest.approx(found.metrics['PCK'])
    assert 0 < found.metrics['PCK'] < 1


def test_mpii_counts_pixels_from_one(config, seen):
    found = seen(config('mpii'), np.zeros((99, 16, 2)), first=1)
    assert found.metrics['PCK@0.1'] == 100
    assert np.nanmax(found.errors) < 1e-6
    assert not found.precision


def test_a_run_without_validation_has_no_predictions(config):
    cfg = config('coco')
    cfg.val_dataloader = cfg.val_evaluator = None  # as tools/train.py --no-validate
    with pytest.raises(ValueError, match='no val_dataloader'):
        report.predict(cfg, 'checkpoint.pth')


@pytest.fixture
def person(tmp_path):
    """Two joints at one place, found at another, in a grey picture."""

    def make(truth: tuple, found: tuple, name: str = 'grey.png') -> PoseDataSample:
        path = tmp_path / name
        cv2.imwrite(str(path), np.full((60, 80, 3), 128, np.uint8))
        points = np.zeros((2, 1, 17, 2))
        points[:, 0, [NOSE, LEFT_EYE]] = np.array([truth, found])[:, None]
        visible = np.zeros((1, 17))
        visible[0, [NOSE, LEFT_EYE]] = 1
        box = np.array([[0, 0, 80, 60]])
        sample = PoseDataSample(metainfo=dict(img_path=str(path)))
        sample.gt_instances = InstanceData(
            keypoints=points[0], keypoints_visible=visible, bboxes=box
        )
        sample.pred_instances = InstanceData(keypoints=points[1])
        return sample

    return make


def test_truth_is_left_and_what_was_found_right(person):
    pair = report.draw_person(person((20, 30), (60, 30)), COCO).astype(int)
    assert pair.shape == (320, 480, 3)
    coloured = np.argwhere(np.ptp(pair, axis=2) > 60)
    rows, columns = coloured[:, 0], coloured[:, 1]
    scale = 240 / 80 / 1.3
    assert rows.mean() == pytest.approx(160, abs=2)
    left, right = columns[columns < 240], columns[columns >= 240]
    assert left.mean() == pytest.approx(120 - 20 * scale, abs=2)
    assert right.mean() == pytest.approx(360 + 20 * scale, abs=2)


def test_the_worst_and_the_best_are_shown_once_each(person):
    offsets = [2, 8, 4, 1, 16]
    people = [person((0, 0), (x, 0), f'{x}.png') for x in offsets]
    people.append(person((0, 0), (9, 9), 'nobody.png'))
    people[-1].gt_instances.keypoints_visible[:] = 0
    errors = np.array([report._errors(one) for one in people])
    found = report.Predictions(people, errors, {}, {}, COCO)
    titles = {
        title: [text for text, _ in pictures]
        for title, pictures in report.draw_extremes(found, 3).items()
    }
    assert titles == {
        'Worst': [
            '16.png: 20.0 % of the box',
            '8.png: 10.0 % of the box',
            '4.png: 5.0 % of the box',
        ],
        'Best': ['1.png: 1.2 % of the box', '2.png: 2.5 % of the box'],
    }


def test_curves_are_those_of_the_log(monkeypatch):
    figures = []

    class Kept(Figure):
        def __init__(self, **settings: object) -> None:
            super().__init__(**settings)
            figures.append(self)

    monkeypatch.setattr(report, 'Figure', Kept)
    steps = [dict(epoch=e, step=s, loss=1 / s, lr=0.1) for e, s in ((1, 5), (2, 10))]
    ap, none, pck = {'c/AP': 0.5}, {'c/AP (L)': -1}, {'PCK': 80.0}
    log = report.TrainingLog(steps, {1: ap | none, 2: ap | none | pck})
    assert [*report.draw_curves(log)] == [
        *('Training loss', 'Learning rate', 'Validation c', 'Validation')
    ]
    lines = [[line.get_xydata().tolist() for line in f.axes[0].lines] for f in figures]
    assert lines[:2] == [[[[5, 0.2], [10, 0.1]]], [[[5, 0.1], [10, 0.1]]]]
    assert lines[2][0] == [[1, 0.5], [2, 0.5]]
    assert np.isnan(lines[2][1]).any(1).all()
    assert lines[3][0][1] == [2, 80]


def test_training_samples_are_the_networks_input(config, monkeypatch):
    drawn = []
    monkeypatch.setattr(report, '_jpeg', drawn.append)
    assert len([*report.draw_training(config('coco'), 2)]) == 2
    for image in drawn:
        assert image.shape == (256, 192, 3)
        assert (np.ptp(image.astype(int), axis=2) > 200).any()  # a skeleton's colours


@pytest.fixture
def logs(tmp_path) -> Path:
    """A work dir with nothing but a log."""
    file = tmp_path / '<my> run' / '1' / 'vis_data' / 'scalars.json'
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(dict(epoch=1, step=4, loss=0.5, lr=0.1)))
    return tmp_path / '<my> run'


def test_what_is_missing_is_said(logs):
    path, missing = report.write_report(logs)
    assert path == logs / 'report.html'
    assert [text.split(':')[0] for text in missing] == ['No config', 'No predictions']
    html = path.read_text()
    assert 'Training loss' in html
    assert '<h1>&lt;my&gt; run</h1>' in html
    assert all(text[:9] in html for text in missing)
    assert '<script' not in html


def test_data_that_are_gone_are_named(logs, root):
    config = root / 'configs' / 'ldcrn_coco.py'
    (logs / 'epoch_1.pth').touch()
    _, missing = report.write_report(logs, config=config)
    assert ['data/coco/annotations' in text for text in missing] == [True, True]


def test_the_config_is_that_of_the_training_and_not_of_a_later_test(logs):
    with pytest.raises(FileNotFoundError, match='--config'):
        report.find_config(logs)
    for run, loss in (('1', 'loss'), ('2', 'AP')):
        folder = logs / run / 'vis_data'
        folder.mkdir(parents=True, exist_ok=True)
        (folder / 'config.py').touch()
        (folder / 'scalars.json').write_text(json.dumps({'step': 4, loss: 0.5}))
    assert report.find_config(logs) == logs / '1' / 'vis_data' / 'config.py'
    (logs / '1' / 'vis_data' / 'scalars.json').unlink()
    assert report.find_config(logs) == logs / '2' / 'vis_data' / 'config.py'


def test_a_config_for_tests_alone_has_no_training_samples(config):
    cfg = config('coco')
    cfg.train_dataloader = None
    with pytest.raises(ValueError, match='train_dataloader'):
        report.training_dataset(cfg)


def test_exceptions(tmp_path, logs):
    with pytest.raises(FileNotFoundError, match='log not found'):
        report.write_report(tmp_path)
    with pytest.raises(ValueError, match='num'):
        report.write_report(logs, num=0)
