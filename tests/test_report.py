"""Pictures of a run."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib import pyplot as plt
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


class TestPlotCurves:
    def test_losses_are_averaged_over_an_epoch(self, tmp_path, curves):
        log(tmp_path, 'a', [train(1, 1, 1.0), train(1, 2, 3.0), train(2, 3, 0.5)])
        report.plot_curves(tmp_path, tmp_path / 'out' / 'curves.png', ['coco/AP'])
        assert curves[0] == ([1, 2], [2.0, 0.5])
        assert cv2.imread(str(tmp_path / 'out' / 'curves.png')) is not None

    def test_the_metric_stands_at_its_epochs(self, tmp_path, curves):
        log(tmp_path, 'a', [train(1, 1, 1.0), val(4, 0.25), val(8, 0.5)])
        report.plot_curves(tmp_path, tmp_path / 'curves.png', ['coco/AP'])
        assert curves[1] == ([4, 8], [0.25, 0.5])

    def test_each_metric_that_is_named_has_a_panel(self, tmp_path, curves):
        log(tmp_path, 'a', [train(1, 1, 1.0), {**val(1, 0.5), 'coco/AR': 0.75}])
        report.plot_curves(tmp_path, tmp_path / 'c.png', ['coco/AR', 'coco/AP'])
        assert curves[1:] == [([1], [0.75]), ([1], [0.5])]

    def test_without_a_name_the_first_metric_is_drawn(self, tmp_path, curves):
        log(tmp_path, 'a', [train(1, 1, 1.0), {**val(1, 0.5), 'coco/AR': 0.75}])
        report.plot_curves(tmp_path, tmp_path / 'curves.png')
        assert curves[1:] == [([1], [0.5])]

    def test_before_the_first_validation_the_loss_stands_alone(self, tmp_path, curves):
        log(tmp_path, 'a', [train(1, 1, 1.0)])
        report.plot_curves(tmp_path, tmp_path / 'curves.png', ['coco/AP'])
        assert curves == [([1], [1.0])]

    def test_a_metric_that_was_not_measured_is_refused(self, tmp_path):
        log(tmp_path, 'a', [train(1, 1, 1.0), val(1, 0.5)])
        with pytest.raises(ValueError, match='have no PCK, but coco/AP'):
            report.plot_curves(tmp_path, tmp_path / 'curves.png', ['PCK'])

    def test_of_several_runs_what_led_to_the_end_is_drawn(self, tmp_path, curves):
        log(tmp_path, '1', [train(1, 10, 9.0), val(1, 0.9), train(2, 20, 9.0)])
        anew = [train(1, 50, 4.0), val(1, 0.1), train(2, 100, 9.0), val(2, 0.8)]
        log(tmp_path, '2', [*anew, train(3, 150, 9.0), val(3, 0.8)])
        log(tmp_path, '3', [train(2, 100, 2.0), train(3, 150, 1.0), val(3, 0.3)])
        report.plot_curves(tmp_path, tmp_path / 'curves.png', ['coco/AP'])
        assert curves == [([1, 2, 3], [4.0, 2.0, 1.0]), ([1, 3], [0.1, 0.3])]


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

    def test_a_dump_without_predictions_is_refused(self, tmp_path):
        dump([], tmp_path / 'dump.pkl')
        with pytest.raises(ValueError, match='holds no predictions'):
            report.draw_predictions(tmp_path / 'dump.pkl', tmp_path / 'o', COCO)

    @pytest.mark.parametrize('content', [{'coco/AP': 0.5}, [{'coco/AP': 0.5}]])
    def test_metrics_instead_of_predictions_are_refused(self, tmp_path, content):
        dump(content, tmp_path / 'metrics.pkl')
        with pytest.raises(ValueError, match=r'expected what `tools/test\.py --dump`'):
            report.draw_predictions(tmp_path / 'metrics.pkl', tmp_path / 'o', COCO)

    def test_a_picture_that_is_gone_is_named(self, tmp_path):
        gone = tmp_path / 'gone.png'
        dump([person(gone, (1, 1), (1, 1))], tmp_path / 'dump.pkl')
        with pytest.raises(FileNotFoundError, match=r'gone\.png'):
            report.draw_predictions(tmp_path / 'dump.pkl', tmp_path / 'o', COCO)


class TestContactSheet:
    def test_rows_are_as_high_as_their_highest_picture(self):
        wide = np.zeros((50, 100, 3), np.uint8)
        high = np.zeros((200, 100, 3), np.uint8)
        sheet = report.contact_sheet([wide, high, wide], columns=2, width=100)
        assert sheet.shape == (200 + 8 + 50 + 8, 2 * 108, 3)
        assert sheet[:50, :100].max() == 0
        assert sheet[50:200, :100].min() == 255
        assert sheet[208:258, 108:].min() == 255
