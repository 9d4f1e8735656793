"""Pictures of a run."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib import pyplot as plt
from mmengine.config import Config
from mmengine.fileio import dump
from mmpose.datasets.datasets.utils import parse_pose_metainfo

from ldcrn_mm import report

COCO = parse_pose_metainfo(dict(from_file='configs/_base_/datasets/coco.py'))
NOSE, LEFT_EYE = 0, 1


def log(work_dir: Path, run: str, entries: list[dict]) -> None:
    """What MMEngine's LocalVisBackend writes."""
    folder = work_dir / run / 'vis_data'
    folder.mkdir(parents=True)
    lines = [json.dumps(entry) + '\n' for entry in entries]
    (folder / 'scalars.json').write_text(''.join(lines))


def train(epoch: int, step: int, loss: float) -> dict:
    return dict(epoch=epoch, step=step, loss=loss, lr=1e-3)


def val(epoch: int, ap: float) -> dict:
    return {'coco/AP': ap, 'step': epoch, 'time': 0.1}


def person(img_path: Path, truth: tuple, predicted: tuple) -> dict:
    """One sample of a dump, with a nose and a left eye at the same place."""

    def at(point: tuple) -> np.ndarray:
        keypoints = np.zeros((1, 17, 2))
        keypoints[0, [NOSE, LEFT_EYE]] = point
        return keypoints

    seen = np.zeros((1, 17))
    seen[0, [NOSE, LEFT_EYE]] = 1
    return dict(
        img_path=str(img_path),
        gt_instances=dict(keypoints=at(truth), keypoints_visible=seen),
        pred_instances=dict(keypoints=at(predicted), keypoint_scores=seen),
    )


@pytest.fixture
def curves(monkeypatch):
    """(x, y) of every line that is plotted."""
    lines = []
    close = plt.close

    def keep(figure):
        lines.extend(
            (list(line.get_xdata()), list(line.get_ydata()))
            for axes in figure.axes
            for line in axes.lines
        )
        close(figure)

    monkeypatch.setattr(report.plt, 'close', keep)
    return lines


@pytest.mark.parametrize(
    ('save_best', 'metrics'),
    [
        ('coco/AR', ['coco/AR']),
        (['coco/AP', 'coco/AR'], ['coco/AP', 'coco/AR']),
        ('auto', []),
        (None, []),
    ],
)
def test_metrics_are_those_of_the_best_checkpoint(save_best, metrics):
    hooks = dict(checkpoint=dict(save_best=save_best))
    assert report.metrics_of(Config(dict(default_hooks=hooks))) == metrics
    assert report.metrics_of(Config()) == []


TRAIN = [train(1, 1, 1.0), train(1, 2, 3.0), train(2, 3, 0.5)]
VAL = [{**val(1, 0.25), 'coco/AR': 0.75}, val(2, 0.5)]
LOSS, AP = ([1, 2], [2.0, 0.5]), ([1, 2], [0.25, 0.5])


@pytest.mark.parametrize(
    ('entries', 'metrics', 'expected'),
    [
        (TRAIN, ['coco/AP'], [LOSS]),
        (TRAIN + VAL, ['coco/AP'], [LOSS, AP]),
        (TRAIN + VAL, ['coco/AR', 'coco/AP'], [LOSS, ([1], [0.75]), AP]),
        (TRAIN + VAL, [], [LOSS, AP]),
    ],
)
def test_curves_have_the_mean_loss_and_the_metrics_of_each_epoch(
    tmp_path, curves, entries, metrics, expected
):
    log(tmp_path, 'a', entries)
    report.plot_curves(tmp_path, tmp_path / 'out' / 'curves.png', metrics)
    assert curves == expected
    assert cv2.imread(str(tmp_path / 'out' / 'curves.png')) is not None


def test_a_metric_that_was_not_measured_is_refused(tmp_path):
    log(tmp_path, 'a', TRAIN + VAL)
    with pytest.raises(ValueError, match='have no PCK, but coco/AP'):
        report.plot_curves(tmp_path, tmp_path / 'curves.png', ['PCK'])


class TestDrawPredictions:
    @pytest.fixture
    def picture(self, tmp_path):
        path = tmp_path / 'grey.png'
        cv2.imwrite(str(path), np.full((60, 80, 3), 128, np.uint8))
        return path

    def test_truth_is_left_and_prediction_right(self, tmp_path, picture):
        dump([person(picture, (20, 30), (60, 30))], tmp_path / 'dump.pkl')
        _, file = report.draw_predictions(tmp_path / 'dump.pkl', tmp_path / 'o', COCO)
        pair = cv2.imread(str(file)).astype(int)
        assert pair.shape == (60, 160, 3)
        drawn = np.argwhere(abs(pair - 128).max(2) > 60)[:, 1]
        left, right = drawn[drawn < 80], drawn[drawn >= 80] - 80
        assert left.mean() == pytest.approx(20, abs=1.5)
        assert right.mean() == pytest.approx(60, abs=1.5)

    def test_people_of_a_picture_are_drawn_into_one(self, tmp_path, picture):
        people = [
            person(picture, (10, 20), (10, 20)),
            person(picture, (70, 20), (9, 9)),
        ]
        dump(people, tmp_path / 'dump.pkl')
        files = report.draw_predictions(tmp_path / 'dump.pkl', tmp_path / 'o', COCO)
        assert [file.name for file in files] == ['overview.jpg', 'grey.jpg']
        left = cv2.imread(str(files[1]))[:, :80].astype(int)
        columns = np.argwhere(abs(left - 128).max(2) > 60)[:, 1]
        assert columns.min() < 12
        assert columns.max() > 68

    def test_keypoints_below_the_threshold_are_left_out(self, tmp_path, picture):
        sample = person(picture, (20, 30), (60, 30))
        sample['pred_instances']['keypoint_scores'] *= 0.2
        dump([sample], tmp_path / 'dump.pkl')
        _, file = report.draw_predictions(tmp_path / 'dump.pkl', tmp_path / 'o', COCO)
        right = cv2.imread(str(file))[:, 80:].astype(int)
        assert abs(right - 128).max() < 20

    def test_pictures_are_spread_over_the_data_set(self, tmp_path):
        samples = []
        for i in range(9):
            path = tmp_path / f'{i}.png'
            cv2.imwrite(str(path), np.zeros((8, 8, 3), np.uint8))
            samples.append(person(path, (1, 1), (1, 1)))
        dump(samples, tmp_path / 'dump.pkl')
        files = report.draw_predictions(
            tmp_path / 'dump.pkl', tmp_path / 'o', COCO, max_images=3
        )
        assert [file.stem for file in files] == ['overview', '0', '4', '8']

    @pytest.mark.parametrize('content', [[], {'coco/AP': 0.5}, [{'coco/AP': 0.5}]])
    def test_a_dump_without_predictions_is_refused(self, tmp_path, content):
        dump(content, tmp_path / 'dump.pkl')
        with pytest.raises(ValueError, match='holds no predictions'):
            report.draw_predictions(tmp_path / 'dump.pkl', tmp_path / 'o', COCO)

    def test_pictures_of_one_name_do_not_replace_each_other(self, tmp_path, picture):
        (tmp_path / 'other').mkdir()
        paths = [picture, tmp_path / 'other' / 'grey.jpg', tmp_path / 'overview.png']
        for path in paths:
            path.write_bytes(picture.read_bytes())
        dump([person(path, (1, 1), (1, 1)) for path in paths], tmp_path / 'dump.pkl')
        files = report.draw_predictions(tmp_path / 'dump.pkl', tmp_path / 'o', COCO)
        stems = [file.stem for file in files]
        assert stems == ['overview', 'grey', 'grey_', 'overview_']
        assert all(file.is_file() for file in files)

    def test_a_picture_that_is_gone_is_named(self, tmp_path):
        gone = tmp_path / 'gone.png'
        dump([person(gone, (1, 1), (1, 1))], tmp_path / 'dump.pkl')
        with pytest.raises(FileNotFoundError, match=r'gone\.png'):
            report.draw_predictions(tmp_path / 'dump.pkl', tmp_path / 'o', COCO)


def test_a_sheet_has_pictures_of_one_width_on_white():
    wide = np.zeros((50, 200, 3), np.uint8)
    high = np.zeros((200, 100, 3), np.uint8)
    sheet = report.contact_sheet([wide, high, wide], columns=2, width=100)
    assert sheet.shape == (2 * 208, 2 * 108, 3)
    black = (sheet == 0).all(2)
    assert black[:25, :100].all()
    assert black[:200, 108:208].all()
    assert black[208:233, :100].all()
    assert black.sum() == 100 * (25 + 200 + 25)
    assert (sheet[~black] == 255).all()
