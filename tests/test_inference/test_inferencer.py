"""The inferencer with boxes. MMPose's own API is the oracle."""

import itertools
import json
import os
import pickle
import resource
import shutil
import tracemalloc
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpose.apis import MMPoseInferencer, inference_topdown
from mmpose.apis.inferencers.utils import default_det_models
from pycocotools.coco import COCO

from ldcrn_mm.deploy.export import export_network
from ldcrn_mm.inference import (
    InputWarning,
    TopdownInferencer,
    Video,
    open_inputs,
    read_boxes,
)
from ldcrn_mm.inference.outputs import Outputs
from ldcrn_mm.inference.tracking import Tracker

BOXES = np.array(
    [[10, 5, 70, 110], [60.5, 20.25, 150, 100], [-9, 3, 40, 90], [0, 0, 160, 120]],
    np.float32,
)


def run(inferencer, inputs, **kwargs):
    return list(inferencer(inputs, **kwargs))


def instances(inferencer, inputs, **kwargs):
    """The ``pred_instances`` of each picture."""
    results = run(inferencer, inputs, return_datasamples=True, **kwargs)
    return [result['predictions'][0].pred_instances for result in results]


def drawn(inferencer, picture, **kwargs):
    (result,) = run(inferencer, picture, return_vis=True, kpt_thr=-9, **kwargs)
    return result['visualization'][0]


def assert_same(found, samples):
    """``found`` holds the people of MMPose's ``samples``, one for each box."""
    assert len(found) == len(samples)
    for key in ('keypoints', 'keypoint_scores', 'bboxes'):
        expected = np.concatenate([one.pred_instances[key] for one in samples])
        np.testing.assert_allclose(found[key], expected, atol=1e-4, err_msg=key)


def frames_of(file):
    capture = cv2.VideoCapture(str(file))
    frames = []
    while (frame := capture.read())[0]:
        frames.append(frame[1])
    return frames, capture.get(cv2.CAP_PROP_FPS)


def names_in(folder):
    return sorted(os.listdir(folder))


class TestBoxes:
    @pytest.mark.parametrize(('size', 'batches'), [(32, [4]), (3, [3, 1])])
    def test_people_in_batches_are_those_of_inference_topdown(
        self, inferencer, network, picture, monkeypatch, size, batches
    ):
        sizes, test_step = [], inferencer.model.test_step
        monkeypatch.setattr(
            inferencer.model,
            'test_step',
            lambda batch: sizes.append(len(batch['inputs'])) or test_step(batch),
        )
        (found,) = instances(inferencer, picture, bboxes=BOXES, batch_size=size)
        assert_same(found, inference_topdown(network, picture, BOXES))
        assert sizes == batches

    def test_without_boxes_the_picture_is_the_box(self, inferencer, network, picture):
        (found,) = instances(inferencer, picture)
        assert_same(found, inference_topdown(network, picture))
        np.testing.assert_array_equal(found.bboxes, [[0, 0, 160, 120]])
        np.testing.assert_array_equal(found.bbox_scores, [1])

    def test_each_picture_has_its_boxes_or_all_have_the_same(self, inferencer, picture):
        scored = np.column_stack([BOXES[1:3], [0.1, 0.2]])
        for bboxes, expected in (
            ([BOXES[:1], scored, []], [BOXES[:1], BOXES[1:3], np.zeros((0, 4))]),
            (BOXES[:2], [BOXES[:2]] * 3),
        ):
            found = instances(inferencer, [picture] * 3, bboxes=bboxes)
            for one, boxes in zip(found, expected, strict=True):
                np.testing.assert_array_equal(one.bboxes, boxes)
        found = instances(inferencer, picture, bboxes=scored)[0]
        np.testing.assert_allclose(found.bbox_scores, [0.1, 0.2])

    def test_wrong_boxes_of_the_only_picture(self, inferencer, picture, video):
        with pytest.raises(ValueError, match=r'box 5,5,5,9 in 000000\.jpg'):
            run(inferencer, picture, bboxes=[[5, 5, 5, 9]])
        with pytest.raises(ValueError, match=r'no boxes for 000002\.jpg'):
            run(inferencer, video, bboxes=[BOXES, []])


class TestDetector:
    @pytest.fixture
    def detecting(self, inferencer, monkeypatch):
        """The inferencer with a detector that finds these boxes with scores."""

        def detecting(*boxes):
            found = np.array(boxes, np.float32)
            monkeypatch.setattr(inferencer, 'detector', lambda picture: found)
            return inferencer

        return detecting

    def test_people_above_the_threshold_without_doubles(self, detecting, picture):
        best, double, second = [10, 5, 70, 110], [12, 5, 70, 112], [80, 20, 150, 100]
        faint = [90, 50, 150, 118, 0.2]
        inferencer = detecting([*second, 0.5], [*double, 0.7], [*best, 0.8], faint)
        (found,) = instances(inferencer, picture)
        np.testing.assert_array_equal(found.bboxes, [best, second])
        np.testing.assert_allclose(found.bbox_scores, [0.8, 0.5])
        (lenient,) = instances(inferencer, picture, bbox_thr=0.1, nms_thr=0.99)
        assert len(lenient) == 4
        (given,) = instances(inferencer, picture, bboxes=BOXES[:2])
        np.testing.assert_array_equal(given.bboxes, BOXES[:2])

    def test_where_it_finds_nobody_there_is_nobody(self, detecting, picture):
        inferencer = detecting([0, 0, 50, 50, 0.2])
        assert run(inferencer, picture)[0]['predictions'] == [[]]
        expected = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
        np.testing.assert_array_equal(drawn(inferencer, picture), expected)

    def test_the_default_is_opened_once(self, config, checkpoint, picture, monkeypatch):
        opened, box = [], [20, 10, 60, 100, 0.9]
        monkeypatch.setattr(
            'ldcrn_mm.inference.inferencer.default_detector',
            lambda *args: opened.append(args) or (lambda _: np.float32([box])),
        )
        inferencer = TopdownInferencer(config, checkpoint, 'cpu')
        run(inferencer, picture, bboxes=BOXES)
        assert not opened
        for found in instances(inferencer, [picture, picture]):
            np.testing.assert_array_equal(found.bboxes, [box[:4]])
        assert opened == [(inferencer.cfg, 'cpu')]

    def test_without_the_default(self, config, checkpoint, picture, web, monkeypatch):
        weights = f'{web}/nowhere-0123abcd.pth'
        monkeypatch.setitem(default_det_models['human'], 'weights', weights)
        inferencer = TopdownInferencer(config, checkpoint, 'cpu')
        with pytest.warns(InputWarning, match='whole picture') as shown:
            results = instances(inferencer, [picture, picture])
        assert [found.bboxes.tolist() for found in results] == 2 * [[[0, 0, 160, 120]]]
        (message,) = [str(w.message) for w in shown if w.category is InputWarning]
        for part in (weights, '404', 'checkpoints/nowhere-0123abcd.pth'):
            assert part in message
        assert '\n' not in message


class TestPictures:
    def test_a_folder_in_order(self, inferencer, folder, picture, tmp_path):
        results = run(inferencer, folder, out_dir=tmp_path / 'out', kpt_thr=99)
        for name, result in zip('ab', results, strict=True):
            saved = (tmp_path / f'out/predictions/{name}.json').read_text()
            assert json.loads(saved) == json.loads(json.dumps(*result['predictions']))
        assert names_in(tmp_path / 'out/visualizations') == ['a.jpg', 'b.png']
        saved = cv2.imread(str(tmp_path / 'out/visualizations/b.png'))
        np.testing.assert_array_equal(saved, picture)  # as no keypoint scores 99

    def test_json_as_of_mmpose(self, inferencer, config, checkpoint, folder, tmp_path):
        options = dict(device='cpu', det_model='whole_image')
        theirs = MMPoseInferencer(config, checkpoint, **options)
        run(theirs, str(folder / 'a.jpg'), pred_out_dir=str(tmp_path / 'theirs'))
        run(inferencer, folder / 'a.jpg', pred_out_dir=str(tmp_path / 'ours'))
        expected = (tmp_path / 'theirs/a.json').read_text()
        assert (tmp_path / 'ours/a.json').read_text() == expected

    @pytest.mark.parametrize('name', ['c.jfif', 'c.webp', 'c', 'c.JPG', 'c.png'])
    def test_drawings_are_jpg_or_png(self, inferencer, folder, tmp_path, name):
        (folder / 'a.jpg').rename(folder / name)
        run(inferencer, folder / name, out_dir=tmp_path / 'out')
        drawing = name if name in ('c.JPG', 'c.png') else 'c.jpg'
        assert names_in(tmp_path / 'out/visualizations') == [drawing]
        assert names_in(tmp_path / 'out/predictions') == ['c.json']

    def test_a_drawing_that_jpeg_cannot_hold_is_smaller(self, inferencer, tmp_path):
        run(inferencer, np.zeros((2, 70_000, 3), np.uint8), out_dir=tmp_path)
        drawing = cv2.imread(str(tmp_path / 'visualizations/000000.jpg'))
        assert drawing.shape == (1, 65_500, 3)

    def test_a_broken_picture_costs_itself_only(self, inferencer, folder, tmp_path):
        (folder / 'aa.jpg').write_text('not a picture')
        boxes = [BOXES[:1], BOXES[:1], BOXES]
        results = run(inferencer, folder, bboxes=boxes, out_dir=tmp_path / 'out')
        people = [[len(one) for one in result['predictions']] for result in results]
        assert people == [[1], [], [4]]
        assert 'aa.jpg' in results[1]['error']
        assert names_in(tmp_path / 'out/predictions') == ['a.json', 'b.json']
        boxes = [BOXES[:1], BOXES[:1], [[500, 0, 600, 90]]]
        assert 'b.png' in run(inferencer, folder, bboxes=boxes)[2]['error']
        with pytest.raises(ValueError, match=r'aa\.jpg'):
            run(inferencer, folder / 'aa.jpg')

    def test_what_is_no_file_costs_itself_only(self, inferencer, folder):
        (folder / 'aa.jpg').mkdir()
        (folder / 'ab.jpg').symlink_to('nowhere')
        os.mkfifo(folder / 'ac.jpg')
        (folder / 'ad.jpg').symlink_to('ad.jpg')
        for given in (folder, [*open_inputs(folder)]):
            results = run(inferencer, given)
            wrong = [i for i, result in enumerate(results) if 'error' in result]
            assert (len(results), wrong) == (6, [1, 2, 3, 4])
        with pytest.raises(FileNotFoundError, match=r'ab\.jpg'):
            run(inferencer, [folder / 'ab.jpg'])

    @pytest.mark.parametrize('option', ['out_dir', 'pred_out_dir', 'vis_out_dir'])
    def test_results_replace_no_others(self, inferencer, folder, tmp_path, option):
        other = tmp_path / 'other'
        other.mkdir()
        (folder / 'b.png').rename(other / 'a.jpg')
        with pytest.raises(ValueError, match=r'would replace those of .*a\.jpg'):
            inferencer([folder / 'a.jpg', other / 'a.jpg'], **{option: tmp_path / 'o'})

    @pytest.mark.parametrize('streamed', [False, True])
    def test_pictures_of_one_stem(self, inferencer, folder, tmp_path, streamed):
        (folder / 'b.png').rename(folder / 'a.bmp')
        shutil.copy(folder / 'a.jpg', folder / 'a.png')
        inputs = sorted(folder.iterdir(), reverse=True)
        run(inferencer, iter(inputs) if streamed else inputs, out_dir=tmp_path / 'out')
        names = ['a.bmp.json', 'a.jpg.json', 'a.json']
        assert names_in(tmp_path / 'out/predictions') == names
        names = ['a.bmp.jpg', 'a.jpg.jpg', 'a.png']
        assert names_in(tmp_path / 'out/visualizations') == names

    def test_a_picture_given_twice(self, inferencer, folder, tmp_path, monkeypatch):
        monkeypatch.chdir(folder)
        for twice in (['a.jpg', 'a.jpg'], ['a.jpg', folder / 'a.jpg']):
            with pytest.raises(ValueError, match='would replace those of'):
                inferencer(twice, out_dir=tmp_path / 'out')

    def test_results_never_replace_an_input(self, inferencer, folder, video, tmp_path):
        visualizations = tmp_path / 'out/visualizations'
        visualizations.parent.mkdir()
        folder.rename(visualizations)
        (visualizations / 'a.jpg').rename(visualizations / 'b.jfif')
        (visualizations / 'b.png').rename(visualizations / 'b.jpg')
        video = video.rename(visualizations / 'walk.mp4')
        for inputs in (visualizations / 'b.jpg', video):
            with pytest.raises(ValueError, match='would replace the input'):
                inferencer(inputs, out_dir=tmp_path / 'out')
        with pytest.raises(ValueError, match='would replace'):
            inferencer(visualizations, vis_out_dir=visualizations)

    def test_a_stream_is_read_lazily(self, inferencer, picture, folder, tmp_path):
        read = []

        def stream():
            for index in itertools.count():
                read.append(index)
                yield [picture, folder / 'b.png', folder / 'nowhere.png'][index % 3]

        boxes = itertools.cycle([BOXES[:1], BOXES[:2]])
        results = inferencer(stream(), bboxes=boxes, out_dir=tmp_path / 'out')
        assert not read
        first, second, third = itertools.islice(results, 3)
        assert read == [0, 1, 2]
        assert [len(one['predictions'][0]) for one in (first, second)] == [1, 2]
        assert 'nowhere' in third['error']
        assert names_in(tmp_path / 'out/predictions') == ['000000.json', 'b.json']
        next(results)
        with pytest.raises(ValueError, match='would replace'):
            next(results)  # b.png again

    def test_a_stream_never_replaces_its_pictures(self, inferencer, folder):
        with pytest.raises(ValueError, match='would replace'):
            next(inferencer(iter([folder / 'a.jpg']), vis_out_dir=folder))

    def test_an_array_of_a_stream_is_no_file_to_protect(
        self, inferencer, picture, tmp_path, monkeypatch
    ):
        monkeypatch.chdir(tmp_path)
        next(inferencer(iter([picture]), vis_out_dir='.'))
        assert names_in(tmp_path) == ['000000.jpg']


class TestResults:
    """``results.json``. pycocotools and our own reader are the oracles."""

    def test_pycocotools_and_read_boxes(self, inferencer, folder, tmp_path, network):
        boxes = [[], BOXES]
        scored = [[], np.column_stack([BOXES, [0.25, 0.5, 0.75, 1]])]
        options = dict(out_dir=tmp_path / 'out', bboxes=scored, kpt_thr=0.01)
        _, (people,) = (
            one['predictions'] for one in run(inferencer, folder, **options)
        )
        file = tmp_path / 'out/results.json'
        coco = COCO(file)
        images = coco.loadImgs([1, 2])
        assert [image['file_name'] for image in images] == ['a.jpg', 'b.png']
        assert {(image['width'], image['height']) for image in images} == {(160, 120)}
        (person,) = coco.loadCats(coco.getCatIds(['person']))
        assert person['keypoints'][:2] == ['nose', 'left_eye']
        assert [16, 14] in person['skeleton']  # COCO's left ankle and knee
        assert not coco.getAnnIds([1])
        annotations = coco.loadAnns(coco.getAnnIds([2], [1], iscrowd=False))
        for one, expected in zip(annotations, people, strict=True):
            scores = np.array(expected['keypoint_scores'])
            triples = np.reshape(one['keypoints'], (-1, 3))
            np.testing.assert_array_equal(triples[:, :2], expected['keypoints'])
            np.testing.assert_array_equal(triples[:, 2], 2 * (scores >= 0.01))
            assert one['num_keypoints'] == (scores >= 0.01).sum()
            assert one['keypoint_scores'] == expected['keypoint_scores']
            score = expected['bbox_score'] * scores.mean()
            assert one['score'] == pytest.approx(score)
            assert one['area'] == one['bbox'][2] * one['bbox'][3]
        found = read_boxes(file, open_inputs(folder))
        for one, expected in zip(found, boxes, strict=True):
            np.testing.assert_array_equal(one, expected)

    def test_no_results_no_file(self, inferencer, folder, tmp_path):
        (folder / 'a.jpg').write_text('not a picture')
        with pytest.raises(ValueError, match='not a picture'):
            run(inferencer, folder / 'a.jpg', out_dir=tmp_path / 'out')
        assert not (tmp_path / 'out').exists()


class TestVideos:
    def test_a_video_becomes_a_video(self, inferencer, network, video, tmp_path):
        results = run(inferencer, video, bboxes=BOXES[:2], out_dir=tmp_path)
        frames, fps = frames_of(tmp_path / 'visualizations/walk.mp4')
        assert (len(frames), fps, frames[0].shape) == (3, 10, (120, 160, 3))
        saved = json.loads((tmp_path / 'predictions/walk.json').read_text())
        assert [frame['frame_id'] for frame in saved] == [0, 1, 2]
        assert [[one['instances']] for one in saved] == [
            result['predictions'] for result in results
        ]
        found = instances(inferencer, video, bboxes=BOXES[:2])
        for frame, people in zip(frames_of(video)[0], found, strict=True):
            assert_same(people, inference_topdown(network, frame, BOXES[:2]))

    @pytest.mark.parametrize(
        ('fps', 'times', 'rate', 'expected'),
        [
            (10, [0, 100, 200], 10, [0, 1, 2]),
            (10, [0, 101, 199], 10, [0, 1, 2]),
            (10, [0, 300, 400], 10, [0, 0, 0, 1, 2]),
            (10, [0, 20, 100], 10, [0, 2]),
            (90_000, [0, 50, 100], 60, [0, 0, 0, 1, 1, 1, 2]),
            (10, [0, 1e9, 1e9 + 100], 10, [0, 1, 2]),
        ],
    )
    def test_the_drawn_video_keeps_the_times(
        self, inferencer, video, tmp_path, monkeypatch, fps, times, rate, expected
    ):
        capture, opened = cv2.VideoCapture, cv2.VideoCapture(str(video))

        class Capture:
            frame = -1

            def read(self):
                self.frame += 1
                return opened.read()

            def get(self, what):
                known = {cv2.CAP_PROP_FPS: fps, cv2.CAP_PROP_FRAME_COUNT: 3}
                return known.get(what, 70 + times[min(self.frame, 2)])

            def release(self):
                pass

        with monkeypatch.context() as context:
            stand_ins = {str(video): Capture}
            context.setattr(
                cv2, 'VideoCapture', lambda x: stand_ins.get(x, lambda: capture(x))()
            )
            run(inferencer, video, bboxes=[], out_dir=tmp_path)
        frames, found = frames_of(tmp_path / 'visualizations/walk.mp4')
        assert found == rate
        assert [round(frame.mean() / 100) for frame in frames] == expected

    def test_a_full_disk(self, inferencer, video, tmp_path):
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))
        try:
            with pytest.raises(OSError, match=r'walk\.mp4'):
                run(inferencer, video, bboxes=[], vis_out_dir=tmp_path / 'drawn')
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    def test_a_video_that_breaks_off(self, inferencer, video, tmp_path, monkeypatch):
        monkeypatch.setattr(Video, '_breaks_off', lambda self, frames: frames == 3)
        results = inferencer(video, out_dir=tmp_path)
        assert len(list(itertools.islice(results, 3))) == 3
        with pytest.raises(ValueError, match='breaks off: 3 of 3'):
            next(results)
        assert len(json.loads((tmp_path / 'predictions/walk.json').read_text())) == 3
        assert len(frames_of(tmp_path / 'visualizations/walk.mp4')[0]) == 3

    def test_calls_may_be_read_in_turns(self, inferencer, video, picture, tmp_path):
        big = dict(kpt_thr=-9, radius=9, skeleton_style='openpose', draw_heatmap=True)
        expected = drawn(inferencer, picture)
        for folder in (tmp_path / 'alone', tmp_path / 'turns'):
            calls = [
                inferencer(video, out_dir=folder / 'small', kpt_thr=-9),
                inferencer(video, out_dir=folder / 'big', bboxes=BOXES, **big),
            ]
            if folder.name == 'alone':
                calls = map(list, calls)
            for results in zip(
                *calls,
                inferencer([picture] * 3, return_vis=True, kpt_thr=-9),
                strict=True,
            ):
                np.testing.assert_array_equal(results[-1]['visualization'][0], expected)
        for name in ('small', 'big'):
            alone, turns = tmp_path / 'alone' / name, tmp_path / 'turns' / name
            for file in ('predictions/walk.json', 'visualizations/walk.mp4'):
                assert (alone / file).read_bytes() == (turns / file).read_bytes()

    def test_what_is_done_is_kept_when_it_stops(self, inferencer, video, tmp_path):
        results = inferencer(video, out_dir=tmp_path)
        next(results), next(results)
        assert not (tmp_path / 'results.json').exists()
        results.close()
        coco = COCO(tmp_path / 'results.json')
        names = [image['file_name'] for image in coco.loadImgs(coco.getImgIds())]
        assert names == ['walk_000000.jpg', 'walk_000001.jpg']
        assert len(coco.getAnnIds()) == 2
        assert len(frames_of(tmp_path / 'visualizations/walk.mp4')[0]) == 2
        assert len(json.loads((tmp_path / 'predictions/walk.json').read_text())) == 2

    def test_a_frame_without_people_has_heatmaps_too(self, inferencer, video, tmp_path):
        boxes = [BOXES[:1], [], BOXES[:2]]
        run(inferencer, video, bboxes=boxes, out_dir=tmp_path, draw_heatmap=True)
        frames, _ = frames_of(tmp_path / 'visualizations/walk.mp4')
        assert [frame.shape for frame in frames] == 3 * [(240, 160, 3)]

    def test_an_error_in_the_first_frame_leaves_no_file(
        self, inferencer, video, tmp_path
    ):
        with pytest.raises(ValueError, match='5,5,5,9'):
            run(inferencer, video, bboxes=[[5, 5, 5, 9]], out_dir=tmp_path / 'out')
        assert not (tmp_path / 'out').exists()

    def test_a_video_that_cannot_be_written(self, inferencer, video, tmp_path):
        (tmp_path / 'out/walk.mp4').mkdir(parents=True)
        with pytest.raises(OSError, match='cannot write'):
            run(inferencer, video, vis_out_dir=tmp_path / 'out')

    def test_a_camera_does_not_fill_the_memory(self, video):
        class People(list):
            pass

        outputs, people = Outputs(Video(str(video)), None, None), People()
        alive = weakref.ref(people)
        outputs.add('0.jpg', 'webcam', np.zeros((2, 2, 3), np.uint8), None, people)
        del people
        assert alive() is None

    def test_progress(self, inferencer, video, folder, monkeypatch, capsys):
        monkeypatch.setattr(inferencer, 'show_progress', True)
        for given in (video, folder):
            run(inferencer, given)
            assert '100%' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('options', 'error', 'name'),
    [
        *((dict(batch_size=x), ValueError, 'batch_size') for x in (0, -1, 2.5)),
        *((dict(bbox_thr=x), ValueError, 'bbox_thr') for x in (30, -1, float('nan'))),
        (dict(nms_thr=1.5), ValueError, 'nms_thr'),
        (dict(kpt_thr=float('nan')), ValueError, 'kpt_thr'),
        (dict(radius=-1), ValueError, 'radius'),
        (dict(thickness=10**6), ValueError, 'thickness'),
        (dict(out_dir='/dev/null/out'), OSError, '/dev/null'),
        (dict(show=True), ValueError, 'DISPLAY'),
        (dict(kpt_threshold=0.3), ValueError, 'kpt_threshold'),
        (dict(inputs='nowhere.jpg'), FileNotFoundError, 'nowhere'),
    ],
)
def test_errors_at_the_call(inferencer, picture, monkeypatch, options, error, name):
    for variable in ('DISPLAY', 'WAYLAND_DISPLAY', 'QT_QPA_PLATFORM'):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(error, match=name):
        inferencer(**dict(inputs=picture) | options)


class TestDrawing:
    def test_sizes_follow_the_picture_unless_given(self, inferencer, picture):
        before, sizes = picture.copy(), []
        for factor, options in ((1, {}), (20, {}), (1, dict(radius=7, thickness=5))):
            large = cv2.resize(picture, None, fx=factor, fy=factor)
            assert drawn(inferencer, large, **options).shape == large.shape
            visualizer = inferencer.visualizer
            sizes.append((visualizer.radius, visualizer.line_width))
        assert sizes[0] == (1, 1)
        assert 10 < sizes[1][0] < 30
        assert 5 < sizes[1][1] < 15
        assert sizes[2] == (7, 5)
        np.testing.assert_array_equal(picture, before)

    def test_options_show_and_do_not_last(self, inferencer, picture):
        before = drawn(inferencer, picture)
        options = dict(draw_bbox=True, show_kpt_idx=True, black_background=True)
        options |= dict(skeleton_style='openpose', draw_heatmap=True)
        for name, value in options.items():
            image = drawn(inferencer, picture, **{name: value})
            assert len(image) == (240 if name == 'draw_heatmap' else 120)
            assert (image[-120:] != before).any(), name
            np.testing.assert_array_equal(drawn(inferencer, picture), before)


def test_heatmaps_are_the_maximum_of_those_of_each_person(inferencer, picture):
    def heatmaps(boxes):
        options = dict(bboxes=boxes, draw_heatmap=True, return_datasamples=True)
        (result,) = run(inferencer, picture, **options)
        return result['predictions'][0].pred_fields.heatmaps

    expected = np.max([heatmaps([box]) for box in BOXES], axis=0)
    np.testing.assert_allclose(heatmaps(BOXES), expected, atol=1e-6)


def test_heatmaps_of_many_people_take_the_memory_of_one(inferencer):
    large, peaks = np.zeros((270, 480, 3), np.uint8), []
    for count in (2, 12):
        tracemalloc.start()
        boxes = [[i, 0, 50 + i, 90] for i in range(count)]
        run(inferencer, large, bboxes=boxes, draw_heatmap=True)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 2 * 17 * 270 * 480 * 4


def test_it_can_be_sent_to_another_process(inferencer, picture):
    other = pickle.loads(pickle.dumps(inferencer))
    found, expected = (
        next(one(picture, batch_size=np.int64(2))) for one in (other, inferencer)
    )
    assert found == expected


@pytest.mark.slow
def test_eight_threads_on_one_inferencer(inferencer):
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (16, 40, 30, 3), dtype=np.uint8)
    expected = [run(inferencer, one)[0]['predictions'] for one in pictures]

    def call(index):
        which = index % len(pictures)
        options = dict(return_vis=True, draw_heatmap=True) if index % 3 else {}
        (result,) = inferencer(pictures[which], **options)
        drawings = [drawing.shape for drawing in result['visualization']]
        assert drawings == ([(80, 30, 3)] if index % 3 else [])
        return result['predictions'] == expected[which]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(call, range(2000)))


class TestModel:
    def test_a_config_already_loaded(self, config, checkpoint, picture, inferencer):
        cfg = Config.fromfile(config)
        cfg.model.test_cfg.flip_test = False
        not_flipping = TopdownInferencer(cfg, Path(checkpoint), 'cpu', det_model='none')
        (flipped,), (plain,) = (
            instances(each, picture, bboxes=BOXES)
            for each in (inferencer, not_flipping)
        )
        assert np.abs(flipped.keypoint_scores - plain.keypoint_scores).max() > 0

    def test_a_checkpoint_without_meta(self, config, network, tmp_path):
        file = tmp_path / 'bare.pth'
        torch.save(dict(state_dict=network.state_dict(), meta=None), file)
        model = TopdownInferencer(config, file, 'cpu', det_model='none').model
        assert model.dataset_meta['num_keypoints'] == 17

    @pytest.mark.parametrize(
        ('change', 'kwargs', 'error', 'message'),
        [
            ({'model.head.out_channels': 16}, {}, ValueError, 'of another shape'),
            ({'data_mode': 'bottomup'}, {}, ValueError, "data_mode='topdown'"),
            (
                {'test_dataloader.dataset.pipeline.2.input_size': (96, 128)},
                *({}, ValueError, r'pipeline\.2\.input_size'),
            ),
            ({}, dict(model='nowhere.py'), FileNotFoundError, 'no config `nowhere'),
            ({}, dict(model='some.pth'), ValueError, 'is no config'),
            ({}, dict(weights='nowhere.pth'), FileNotFoundError, r'nowhere\.pth'),
            ({}, dict(weights=None), ValueError, 'needs a checkpoint'),
            ({}, dict(det_weights='x.pth'), ValueError, 'det_model'),
            ({}, dict(det_model='x.onnx', det_cat_ids='0'), ValueError, 'det_cat_ids'),
            ({}, dict(device='tpu9'), ValueError, 'device tpu9'),
            ({}, dict(model='nobody'), ValueError, r'nobody .*ldcrn-mpii'),
        ],
    )
    def test_what_does_not_fit_is_an_error(
        self, config, checkpoint, change, kwargs, error, message
    ):
        cfg = Config.fromfile(config)
        cfg.merge_from_dict(change)
        with pytest.raises(error, match=message):
            TopdownInferencer(**dict(model=cfg, weights=checkpoint) | kwargs)

    @pytest.mark.slow
    @pytest.mark.parametrize('suffix', ['.onnx', '.xml'])
    def test_an_exported_network(self, inferencer, config, picture, tmp_path, suffix):
        file = export_network(inferencer.model, tmp_path / f'tiny{suffix}')
        (found,) = instances(TopdownInferencer(config, file), picture, bboxes=BOXES)
        (expected,) = instances(inferencer, picture, bboxes=BOXES)
        for key in ('keypoints', 'keypoint_scores', 'bboxes', 'bbox_scores'):
            np.testing.assert_allclose(found[key], expected[key], atol=1e-3)
        other = tmp_path / f'small{suffix}'
        export_network(inferencer.model, other, (96, 128))
        with pytest.raises(ValueError, match='takes images of 96x128'):
            TopdownInferencer(config, other)

    def test_what_a_config_may_lack(self, config, checkpoint, picture, inferencer):
        cfg = Config.fromfile(config)
        cfg.test_dataloader = cfg.visualizer = None
        sparse = TopdownInferencer(cfg, checkpoint, 'cpu', det_model='none')
        expected = drawn(inferencer, picture)
        np.testing.assert_array_equal(drawn(sparse, picture), expected)

    def test_drawings_do_not_go_to_the_logs(
        self, config, checkpoint, picture, tmp_path
    ):
        cfg = Config.fromfile(config)
        cfg.visualizer.vis_backends[0].save_dir = str(tmp_path / 'logs')
        run(
            TopdownInferencer(cfg, checkpoint, 'cpu', det_model='none'),
            picture,
            return_vis=True,
        )
        assert not (tmp_path / 'logs').exists()


class TestTracking:
    def test_people_keep_their_ids(self, inferencer, picture, tmp_path):
        boxes = [BOXES[[0, 1]], BOXES[[1, 0]], BOXES[[1]]]
        results = inferencer(
            [picture] * 3, bboxes=boxes, tracking=True, pred_out_dir=tmp_path
        )
        found = [[one['track_id'] for one in r['predictions'][0]] for r in results]
        assert found == [[1, 2], [2, 1], [2]]
        last = json.loads((tmp_path / '000002.json').read_text())
        assert [one['track_id'] for one in last] == [2]

    def test_frames_come_at_their_times(self, inferencer, video, tmp_path, monkeypatch):
        times, update = [], Tracker.update
        monkeypatch.setattr(
            Tracker, 'update', lambda *args: times.append(args[-1]) or update(*args)
        )
        run(inferencer, str(video), tracking=True, out_dir=tmp_path / 'out')
        assert times == pytest.approx([0, 0.1, 0.2])
        content = json.loads((tmp_path / 'out' / 'results.json').read_text())
        assert all(one['track_id'] > 0 for one in content['annotations'])

    def test_equal_frames_stay_and_ids_are_drawn(self, inferencer, picture):
        frames = [picture] * 3
        plain = instances(inferencer, frames, bboxes=BOXES[:2])
        tracked = instances(inferencer, iter(frames), bboxes=BOXES[:2], tracking=True)
        for found, expected in zip(tracked, plain, strict=True):
            assert found.track_ids.tolist() == [1, 2]
            np.testing.assert_allclose(found.keypoints, expected.keypoints, atol=1e-3)
        with_ids = drawn(inferencer, picture, bboxes=BOXES[:2], tracking=True)
        assert (with_ids != drawn(inferencer, picture, bboxes=BOXES[:2])).any()
