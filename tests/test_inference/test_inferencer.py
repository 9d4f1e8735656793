"""The inferencer with boxes. MMPose's own API is the oracle."""

import json
from pathlib import Path

import cv2
import mmdet
import numpy as np
import pytest
import torch
from mmdet.apis import DetInferencer, init_detector
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmengine.structures import InstanceData
from mmpose.apis import MMPoseInferencer, inference_topdown
from mmpose.structures import PoseDataSample

from ldcrn_mm.deploy.export import export_onnx, export_openvino
from ldcrn_mm.inference import TopdownInferencer, read_boxes

RTMDET = 'rtmdet_tiny_8xb32-300e_coco'
BOXES = np.array(
    [[10, 5, 70, 110], [60.5, 20.25, 150, 100], [-9, 3, 40, 90], [0, 0, 160, 120]],
    np.float32,
)


class Code:
    """Leaves a trace where it is unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


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


def detections(boxes, scores, labels):
    """A stand-in for MMDetection's inferencer that finds these."""
    found = InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32),
        scores=torch.tensor(scores),
        labels=torch.tensor(labels),
    )
    sample = PoseDataSample()
    sample.pred_instances = found
    return lambda picture, return_datasamples: {'predictions': [sample]}


@pytest.fixture(scope='session')
def rtmdet(tmp_path_factory):
    """Config and checkpoint of a detector that sees people everywhere."""
    config = Path(mmdet.__file__).parent / f'.mim/configs/rtmdet/{RTMDET}.py'
    torch.manual_seed(0)
    detector = init_detector(str(config), device='cpu', palette='random')
    for scores, sides in zip(detector.bbox_head.rtm_cls, detector.bbox_head.rtm_reg):
        scores.bias.data[0] += 5  # of class 0, person
        sides.bias.data += 10  # in strides
    checkpoint = tmp_path_factory.mktemp('rtmdet') / 'rtmdet.pth'
    meta = dict(dataset_meta=detector.dataset_meta)
    torch.save(dict(state_dict=detector.state_dict(), meta=meta), checkpoint)
    return str(config), str(checkpoint)


@pytest.fixture
def folder(picture, tmp_path):
    """b.png, a.jpg and a note."""
    pictures = tmp_path / 'pictures'
    pictures.mkdir()
    cv2.imwrite(str(pictures / 'b.png'), picture)
    cv2.imwrite(str(pictures / 'a.jpg'), picture[::-1])
    (pictures / 'notes.txt').write_text('not a picture')
    return pictures


@pytest.fixture
def video(picture, tmp_path):
    """Five frames, at ten a second, each another shift of the picture."""
    file = tmp_path / 'walk.avi'
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*'MJPG'), 10, (160, 120))
    for shift in range(5):
        writer.write(np.roll(picture, 10 * shift, axis=1))
    writer.release()
    return file


def frames_of(file):
    capture = cv2.VideoCapture(str(file))
    frames = []
    while (frame := capture.read())[0]:
        frames.append(frame[1])
    return frames, capture.get(cv2.CAP_PROP_FPS)


class TestBoxes:
    def test_keypoints_are_those_of_inference_topdown(
        self, inferencer, network, picture
    ):
        (found,) = instances(inferencer, picture, bboxes=BOXES)
        assert_same(found, inference_topdown(network, picture, BOXES))

    def test_without_boxes_the_whole_picture_is_the_box(
        self, inferencer, network, picture
    ):
        (found,) = instances(inferencer, picture)
        assert_same(found, inference_topdown(network, picture))
        np.testing.assert_array_equal(found.bboxes, [[0, 0, 160, 120]])
        np.testing.assert_array_equal(found.bbox_scores, [1])

    def test_keypoints_move_with_the_picture_and_its_box(self, inferencer, picture):
        moved = np.pad(picture, ((30, 0), (50, 0), (0, 0)), mode='edge')
        (here,) = instances(inferencer, picture, bboxes=[[40, 30, 100, 90]])
        (there,) = instances(inferencer, moved, bboxes=[[90, 60, 150, 120]])
        np.testing.assert_allclose(
            there.keypoints - here.keypoints,
            np.broadcast_to([50, 30], here.keypoints.shape),
            atol=1e-3,
        )

    def test_batches_do_not_change_the_results(self, inferencer, picture):
        (together,) = instances(inferencer, picture, bboxes=BOXES)
        (one_by_one,) = instances(inferencer, picture, bboxes=BOXES, batch_size=1)
        np.testing.assert_allclose(together.keypoints, one_by_one.keypoints, atol=1e-3)

    def test_people_of_a_picture_share_the_batches(
        self, inferencer, picture, monkeypatch
    ):
        sizes, test_step = [], inferencer.model.test_step
        monkeypatch.setattr(
            inferencer.model,
            'test_step',
            lambda batch: sizes.append(len(batch['inputs'])) or test_step(batch),
        )
        run(inferencer, picture, bboxes=BOXES, batch_size=3)
        assert sizes == [3, 1]

    def test_scores_of_boxes_are_kept(self, inferencer, picture):
        boxes = np.column_stack([BOXES, [0.1, 0.2, 0.3, 0.4]])
        (found,) = instances(inferencer, picture, bboxes=boxes)
        np.testing.assert_allclose(found.bbox_scores, [0.1, 0.2, 0.3, 0.4])

    def test_each_picture_has_its_boxes_or_all_have_the_same(self, inferencer, picture):
        pictures = [picture, picture[::-1].copy()]
        each = instances(inferencer, pictures, bboxes=[BOXES[:1], BOXES[1:3]])
        same = instances(inferencer, pictures, bboxes=BOXES[:2])
        np.testing.assert_array_equal(each[1].bboxes, BOXES[1:3])
        np.testing.assert_array_equal(same[1].bboxes, BOXES[:2])
        np.testing.assert_allclose(each[0].keypoints, same[0].keypoints[:1], atol=1e-3)

    def test_a_picture_with_an_empty_list_has_nobody(
        self, inferencer, picture, tmp_path
    ):
        boxes = [[], BOXES[:1]]
        results = run(inferencer, [picture, picture], bboxes=boxes, out_dir=tmp_path)
        assert [len(result['predictions'][0]) for result in results] == [0, 1]
        assert json.loads((tmp_path / 'predictions/000000.json').read_text()) == []
        np.testing.assert_array_equal(
            drawn(inferencer, picture, bboxes=[]), rgb(picture)
        )

    def test_a_box_that_cannot_be_meant_is_an_error(self, inferencer, picture):
        with pytest.raises(ValueError, match=r'box 5,5,5,9 in 000000\.jpg is empty'):
            run(inferencer, picture, bboxes=[[5, 5, 5, 9]])

    def test_real_photographs(self, inferencer, network, sample_data):
        folder = sample_data / 'coco/val2017'
        pictures = sorted(map(str, folder.iterdir()))
        annotations = sample_data / 'coco/annotations/person_keypoints_val2017.json'
        boxes = read_boxes(annotations, pictures)
        found = instances(inferencer, folder, bboxes=boxes)
        for picture, these, people in zip(pictures, boxes, found):
            assert_same(people, inference_topdown(network, picture, these))


class TestDetector:
    def test_people_above_the_threshold_without_doubles(
        self, inferencer, network, picture, monkeypatch
    ):
        first, double, second, chair, faint = (
            [10, 5, 70, 110],
            [12, 5, 70, 112],
            [80, 20, 150, 100],
            [0, 0, 50, 50],
            [90, 50, 150, 118],
        )
        monkeypatch.setattr(
            inferencer,
            'detector',
            detections(
                [second, double, first, chair, faint],
                [0.5, 0.7, 0.8, 0.9, 0.2],
                [0, 0, 0, 56, 0],
            ),
        )
        monkeypatch.setattr(inferencer, 'det_cat_ids', (0,), raising=False)
        (found,) = instances(inferencer, picture)
        np.testing.assert_array_equal(found.bboxes, [first, second])
        np.testing.assert_allclose(found.bbox_scores, [0.8, 0.5])
        (lenient,) = instances(inferencer, picture, bbox_thr=0.1, nms_thr=0.99)
        assert len(lenient) == 4

    def test_boxes_given_go_before_it(self, inferencer, picture, monkeypatch):
        monkeypatch.setattr(inferencer, 'detector', None)
        detector = detections([[0, 0, 50, 50]], [0.9], [0])
        monkeypatch.setattr(inferencer, 'detector', detector)
        (found,) = instances(inferencer, picture, bboxes=BOXES[:2])
        np.testing.assert_array_equal(found.bboxes, BOXES[:2])

    def test_where_it_finds_nobody_there_is_nobody(
        self, inferencer, picture, monkeypatch
    ):
        detector = detections([[0, 0, 50, 50]], [0.2], [0])
        monkeypatch.setattr(inferencer, 'detector', detector)
        monkeypatch.setattr(inferencer, 'det_cat_ids', (0,), raising=False)
        (found,) = instances(inferencer, picture)
        assert len(found) == 0

    def test_rtmdet_runs_without_compiled_ops(
        self, config, checkpoint, rtmdet, network, picture
    ):
        few = dict(bbox_thr=0.5, nms_thr=0.01)
        ours = TopdownInferencer(
            config, checkpoint, 'cpu', det_model=rtmdet[0], det_weights=rtmdet[1]
        )
        (found,) = instances(ours, picture, **few)
        assert 1 < len(found) < 30
        assert_same(found, inference_topdown(network, picture, found.bboxes))

        theirs = MMPoseInferencer(
            config,
            checkpoint,
            device='cpu',
            det_model=rtmdet[0],
            det_weights=rtmdet[1],
            det_cat_ids=0,
        )
        (expected,) = instances(theirs, picture, **few)
        np.testing.assert_array_equal(found.bboxes, expected.bboxes)
        np.testing.assert_allclose(found.keypoints, expected.keypoints, atol=1e-3)

    @pytest.mark.parametrize('named', [False, True])
    def test_code_in_its_checkpoint_is_not_run(
        self, config, checkpoint, rtmdet, web, tmp_path, monkeypatch, named
    ):
        trace = tmp_path / 'trace'
        torch.save(dict(state_dict={}, meta=Code(trace)), tmp_path / 'code.pth')
        address = f'{web}/code.pth'
        published = (Config.fromfile(rtmdet[0]), address)
        monkeypatch.setattr(
            DetInferencer, '_load_model_from_metafile', lambda self, name: published
        )
        detector = ('rtmdet-m', None) if named else (rtmdet[0], address)
        with pytest.raises(ValueError, match=r'detector `.*rtmdet.*not an allowed'):
            TopdownInferencer(config, checkpoint, 'cpu', 'mmpose', *detector)
        assert not trace.exists()
        torch.hub.load_state_dict_from_url(address, weights_only=False)
        assert trace.exists()

    def test_its_checkpoint_may_hold_what_mmengine_saves(
        self, config, checkpoint, rtmdet, web, tmp_path
    ):
        content = torch.load(rtmdet[1])
        content['message_hub'] = dict(loss=HistoryBuffer([1.0, 2.0], [1, 1]))
        content['meta']['seen'] = np.arange(3)
        torch.save(content, tmp_path / 'rtmdet.pth')
        ours = TopdownInferencer(
            config,
            checkpoint,
            'cpu',
            det_model=rtmdet[0],
            det_weights=f'{web}/rtmdet.pth',
        )
        state = ours.detector.model.state_dict()
        for name, weight in content['state_dict'].items():
            assert torch.equal(state[name], weight)

    @pytest.mark.parametrize('size', [0, 1000])
    def test_its_checkpoint_may_not_be_broken(
        self, config, checkpoint, rtmdet, tmp_path, size
    ):
        broken = tmp_path / 'broken.pth'
        broken.write_bytes(Path(rtmdet[1]).read_bytes()[:size])
        with pytest.raises(ValueError, match=r'checkpoint `.*broken\.pth` cannot be'):
            TopdownInferencer(
                config, checkpoint, 'cpu', det_model=rtmdet[0], det_weights=broken
            )

    def test_without_its_checkpoint_is_an_error(self, config, checkpoint):
        with pytest.raises(ValueError, match='needs a checkpoint'):
            TopdownInferencer(config, checkpoint, det_model=config)


class TestFiles:
    def test_a_folder_gives_its_pictures_in_order(self, inferencer, folder, tmp_path):
        results = run(inferencer, folder, out_dir=tmp_path / 'out')
        for name, result in zip(['a', 'b'], results, strict=True):
            saved = (tmp_path / f'out/predictions/{name}.json').read_text()
            assert json.loads(saved) == json.loads(json.dumps(plain(result)))
        names = {path.name for path in (tmp_path / 'out/visualizations').iterdir()}
        assert names == {'a.jpg', 'b.png'}

    @pytest.mark.parametrize('scope', ['mmpose', 'ldcrn_mm'])
    def test_json_is_that_of_mmpose(
        self, inferencer, config, checkpoint, folder, tmp_path, scope
    ):
        theirs = MMPoseInferencer(
            config, checkpoint, device='cpu', scope=scope, det_model='whole_image'
        )
        run(theirs, str(folder / 'a.jpg'), pred_out_dir=str(tmp_path / 'theirs'))
        run(inferencer, folder / 'a.jpg', pred_out_dir=str(tmp_path / 'ours'))
        expected = (tmp_path / 'theirs/a.json').read_text()
        assert (tmp_path / 'ours/a.json').read_text() == expected

    def test_a_video_becomes_a_video(self, inferencer, video, tmp_path):
        results = run(inferencer, video, out_dir=tmp_path, kpt_thr=-9)
        frames, fps = frames_of(tmp_path / 'visualizations/walk.mp4')
        assert len(results) == len(frames) == 5
        assert (fps, frames[0].shape) == (10, (120, 160, 3))
        saved = json.loads((tmp_path / 'predictions/walk.json').read_text())
        assert [frame['frame_id'] for frame in saved] == [0, 1, 2, 3, 4]
        expected = [json.loads(json.dumps(plain(result))) for result in results]
        assert [frame['instances'] for frame in saved] == expected

    def test_frames_are_predicted_like_pictures(self, inferencer, network, video):
        found = instances(inferencer, video, bboxes=BOXES[:2])
        for frame, people in zip(frames_of(video)[0], found, strict=True):
            assert_same(people, inference_topdown(network, frame, BOXES[:2]))

    def test_progress_knows_the_end(
        self, inferencer, video, folder, monkeypatch, capsys
    ):
        monkeypatch.setattr(inferencer, 'show_progress', True)
        for given in (video, folder):
            run(inferencer, given)
            assert '100%' in capsys.readouterr().out

    def test_what_is_done_of_a_video_is_kept_when_it_stops(
        self, inferencer, video, tmp_path
    ):
        results = inferencer(video, out_dir=tmp_path)
        next(results), next(results)
        results.close()
        assert len(frames_of(tmp_path / 'visualizations/walk.mp4')[0]) == 2
        assert len(json.loads((tmp_path / 'predictions/walk.json').read_text())) == 2

    def test_a_frame_without_people_keeps_the_size_of_heatmaps(
        self, inferencer, video, tmp_path
    ):
        boxes = [BOXES[:1], [], BOXES[:1], [], []]
        run(inferencer, video, bboxes=boxes, out_dir=tmp_path, draw_heatmap=True)
        frames, _ = frames_of(tmp_path / 'visualizations/walk.mp4')
        assert [frame.shape for frame in frames] == 5 * [(240, 160, 3)]

    def test_a_video_that_cannot_be_written_is_an_error(
        self, inferencer, video, tmp_path
    ):
        with pytest.raises(OSError, match='cannot write'):
            run(inferencer, video, vis_out_dir=str(tmp_path / 'walk.nothing'))

    def test_results_never_overwrite_each_other(self, inferencer, folder, tmp_path):
        (folder / 'a.jpg').rename(folder / 'b.jpg')
        with pytest.raises(ValueError, match='2 pictures are called b'):
            inferencer(folder, out_dir=tmp_path)

    def test_what_does_not_exist_is_an_error_at_once(self, inferencer):
        with pytest.raises(FileNotFoundError, match='nowhere'):
            inferencer('nowhere.jpg')


class TestDrawing:
    def test_draws_into_a_copy_of_the_picture(self, inferencer, picture):
        before = picture.copy()
        image = drawn(inferencer, picture)
        assert image.shape == picture.shape
        assert (image != rgb(picture)).any()
        np.testing.assert_array_equal(picture, before)

    def test_sizes_follow_the_picture_unless_given(self, inferencer, picture):
        sizes = []
        for factor, options in ((1, {}), (20, {}), (1, dict(radius=7, thickness=5))):
            drawn(
                inferencer, cv2.resize(picture, None, fx=factor, fy=factor), **options
            )
            sizes.append(
                (inferencer.visualizer.radius, inferencer.visualizer.line_width)
            )
        assert sizes[0] == (1, 1)
        assert 10 < sizes[1][0] < 30
        assert 5 < sizes[1][1] < 15
        assert sizes[2] == (7, 5)

    def test_openpose_style_does_not_last(self, inferencer, picture):
        before = drawn(inferencer, picture)
        openpose = drawn(inferencer, picture, skeleton_style='openpose')
        assert (openpose != before).any()
        np.testing.assert_array_equal(drawn(inferencer, picture), before)

    def test_heatmaps_stand_below_the_picture(self, inferencer, picture):
        image = drawn(inferencer, picture, draw_heatmap=True)
        assert image.shape == (240, 160, 3)


class TestModel:
    def test_config_may_be_loaded_already(
        self, config, checkpoint, picture, inferencer
    ):
        cfg = Config.fromfile(config)
        cfg.model.test_cfg.flip_test = False
        plain_test = TopdownInferencer(cfg, Path(checkpoint), device='cpu')
        (flipped,), (not_flipped,) = (
            instances(each, picture, bboxes=BOXES) for each in (inferencer, plain_test)
        )
        assert np.abs(flipped.keypoint_scores - not_flipped.keypoint_scores).max() > 0

    def test_checkpoint_of_another_config_is_an_error(self, mpii_config, checkpoint):
        with pytest.raises(ValueError, match='of another shape'):
            TopdownInferencer(mpii_config, checkpoint)

    def test_missing_files_are_errors(self, config, checkpoint):
        with pytest.raises(FileNotFoundError, match='no config `nowhere'):
            TopdownInferencer('nowhere.py', checkpoint)
        with pytest.raises(FileNotFoundError, match=r'nowhere\.pth'):
            TopdownInferencer(config, 'nowhere.pth')
        with pytest.raises(ValueError, match='needs a checkpoint'):
            TopdownInferencer(config)

    def test_only_top_down_models(self, config, checkpoint):
        cfg = Config.fromfile(config)
        cfg.data_mode = 'bottomup'
        with pytest.raises(ValueError, match="data_mode='topdown'"):
            TopdownInferencer(cfg, checkpoint)


def rgb(picture):
    return picture[..., ::-1]


def plain(result):
    """The people of a result, with numpy's numbers as Python's."""
    return [
        dict(person, bbox_score=float(person['bbox_score']))
        for person in result['predictions'][0]
    ]


@pytest.mark.parametrize('suffix', ['.onnx', '.xml'])
def test_an_exported_network_finds_what_its_checkpoint_finds(
    inferencer, config, picture, tmp_path, suffix
):
    write = {'.onnx': export_onnx, '.xml': export_openvino}[suffix]
    file = write(inferencer.model, tmp_path / f'tiny{suffix}')

    (found,) = instances(TopdownInferencer(config, file), picture, bboxes=BOXES)

    (expected,) = instances(inferencer, picture, bboxes=BOXES)
    for key in ('keypoints', 'keypoint_scores', 'bboxes', 'bbox_scores'):
        np.testing.assert_allclose(found[key], expected[key], atol=1e-3, err_msg=key)


def test_a_network_exported_for_another_size_is_refused(inferencer, config, tmp_path):
    file = export_onnx(inferencer.model, tmp_path / 'small.onnx', (96, 128))

    with pytest.raises(ValueError, match='takes images of 96x128'):
        TopdownInferencer(config, file)
