"""tools/demo.py: pictures, folders and videos, in this process but for one."""

import importlib.util
import json
import re

import cv2
import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from mmpose.apis import init_model
from mmpose.models import TopdownPoseEstimator

from ldcrn_mm.checkpoint import zoo
from ldcrn_mm.inference import TopdownInferencer


@pytest.fixture(scope='module')
def demo(root):
    """The tool as a module."""
    spec = importlib.util.spec_from_file_location('demo', root / 'tools/demo.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def checkpoint(tiny_config, tmp_path_factory):
    torch.manual_seed(0)
    model = init_model(str(tiny_config), device='cpu')
    file = tmp_path_factory.mktemp('checkpoint') / 'tiny.pth'
    torch.save(dict(state_dict=model.state_dict()), file)
    return file


@pytest.fixture
def run(demo, tiny_config, checkpoint, tmp_path):
    """Calls the tool's main; gives its exit status."""
    logger = MMLogger.get_current_instance()
    level = logger.level

    def call(given, *options, config=tiny_config, weights=checkpoint):
        words = [given, config, weights, '--out-dir', tmp_path / 'out', *options]
        return demo.main([str(word) for word in words])

    yield call
    logger.setLevel(level)


@pytest.fixture
def folder(tmp_path):
    """Two pictures of 90x60 and a COCO file with 2 + 1 people."""
    folder = tmp_path / 'pictures'
    folder.mkdir()
    random = np.random.default_rng(0)
    for name in ('1.png', '2.png'):
        picture = random.integers(0, 256, (60, 90, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / name), picture)
    boxes = [(1, [5, 5, 30, 50]), (1, [40, 0, 50, 60]), (2, [10, 10, 40, 40])]
    annotations = [dict(image_id=i, category_id=1, bbox=box) for i, box in boxes]
    images = [dict(id=i, file_name=f'{i}.png') for i in (1, 2)]
    content = dict(images=images, annotations=annotations)
    (tmp_path / 'boxes.json').write_text(json.dumps(content))
    return folder


@pytest.fixture
def video(folder, tmp_path):
    file = tmp_path / 'walk.avi'
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*'MJPG'), 10, (90, 60))
    for _ in range(5):
        writer.write(cv2.imread(str(folder / '1.png')))
    writer.release()
    return file


def saved(tmp_path, name):
    return json.loads((tmp_path / f'out/predictions/{name}.json').read_text())


def test_as_a_user_calls_it(run_tool, tiny_config, checkpoint, folder, tmp_path):
    out = tmp_path / 'out'
    done = run_tool(
        'demo.py', folder / '1.png', tiny_config, checkpoint, '--out-dir', out
    )
    assert 'Pictures: 1, people: 1' in done.stdout
    assert f'Results: {out}/visualizations, {out}/predictions' in done.stdout
    assert len(saved(tmp_path, '1')) == 1
    assert cv2.imread(str(out / 'visualizations/1.png')).shape == (60, 90, 3)


def test_a_folder_with_boxes_from_a_file(
    run, folder, tiny_config, checkpoint, tmp_path, capsys
):
    assert run(folder, '--bbox-file', tmp_path / 'boxes.json', '--kpt-thr', -9) == 0
    assert 'Pictures: 2, people: 3' in capsys.readouterr().out
    inferencer = TopdownInferencer(tiny_config, checkpoint)
    boxes = [[[5, 5, 35, 55], [40, 0, 90, 60]], [[10, 10, 50, 50]]]
    for name, result in zip('12', inferencer(folder, bboxes=boxes), strict=True):
        for person, expected in zip(
            saved(tmp_path, name), result['predictions'][0], strict=True
        ):
            np.testing.assert_allclose(person['keypoints'], expected['keypoints'])
            np.testing.assert_allclose(person['bbox'], expected['bbox'])
        drawn = cv2.imread(str(tmp_path / f'out/visualizations/{name}.png'))
        picture = cv2.imread(str(folder / f'{name}.png'))
        assert drawn.shape == picture.shape
        assert (drawn != picture).any()


def test_boxes_on_the_command_line(run, folder, tmp_path):
    assert run(folder / '1.png', '--bboxes', '5,5,35,55', '40.5,0,90,60') == 0
    found = [person['bbox'] for person in saved(tmp_path, '1')]
    assert found == [[[5, 5, 35, 55]], [[40.5, 0, 90, 60]]]


def test_boxes_may_begin_left_of_the_picture(run, folder, tmp_path):
    assert run(folder / '1.png', '--bboxes', '-20,0,35,55', '-.5,-2,90,60') == 0
    found = [person['bbox'] for person in saved(tmp_path, '1')]
    assert found == [[[-20, 0, 35, 55]], [[-0.5, -2, 90, 60]]]


def test_detected_boxes_must_score(run, folder, tmp_path):
    scores = (0.2, 0.6, 0.9)
    results = [
        dict(image_id=1, category_id=1, bbox=[5, 5, 30, 50], score=score)
        for score in scores
    ]
    (tmp_path / 'results.json').write_text(json.dumps(results))
    file = ('--bbox-file', tmp_path / 'results.json')
    for threshold, count in (((), 2), (('--bbox-thr', 0.7), 1)):
        assert run(folder / '1.png', *file, *threshold) == 0
        assert len(saved(tmp_path, '1')) == count


def test_the_detector_is_passed_on(run, demo, folder, monkeypatch):
    built, called = {}, {}

    class Inferencer:
        def __init__(self, *args, **kwargs):
            built.update(kwargs)

        def __call__(self, inputs, **kwargs):
            called.update(kwargs)
            yield dict(predictions=[[]])

    monkeypatch.setattr(demo, 'TopdownInferencer', Inferencer)
    options = '--det-config a.py --det-checkpoint a.pth --det-cat-id 3'
    thresholds = '--bbox-thr 0.4 --nms-thr 0.6 --batch-size 5'
    assert run(folder / '1.png', *options.split(), *thresholds.split()) == 0
    assert (built['det_model'], built['det_weights']) == ('a.py', 'a.pth')
    assert built['det_cat_ids'] == 3
    assert (called['bbox_thr'], called['nms_thr']) == (0.4, 0.6)
    assert called['batch_size'] == 5
    assert called['bboxes'] is None


def test_a_video_becomes_a_video(run, video, tmp_path, capsys):
    assert run(video, '--bboxes', '5,5,35,55') == 0
    out = capsys.readouterr().out
    assert 'Frames: 5, people: 5' in out
    assert '100%' in out
    assert [frame['frame_id'] for frame in saved(tmp_path, 'walk')] == [0, 1, 2, 3, 4]
    capture = cv2.VideoCapture(str(tmp_path / 'out/visualizations/walk.mp4'))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 5


def test_stopping_keeps_what_is_done(run, video, tmp_path, monkeypatch):
    test_step, steps = TopdownPoseEstimator.test_step, []

    def interrupted(self, batch):
        steps.append(batch)
        if len(steps) == 3:
            raise KeyboardInterrupt
        return test_step(self, batch)

    monkeypatch.setattr(TopdownPoseEstimator, 'test_step', interrupted)
    assert run(video) == 130
    assert len(saved(tmp_path, 'walk')) == 2
    capture = cv2.VideoCapture(str(tmp_path / 'out/visualizations/walk.mp4'))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 2


def test_escape_ends_a_shown_video(run, video, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setenv('DISPLAY', ':0')
    monkeypatch.setattr(
        'mmpose.visualization.PoseLocalVisualizer.show',
        lambda *args, **kwargs: shown.append(args),
    )
    monkeypatch.setattr(cv2, 'waitKey', lambda delay: 27 if len(shown) == 3 else -1)
    assert run(video, '--show') == 0
    assert len(shown) == len(saved(tmp_path, 'walk')) == 3


def test_drawing_options(run, folder, tmp_path):
    drawn = {}
    file = tmp_path / 'out/visualizations/1.png'
    for option in (
        '--draw-bbox --radius 1 --thickness 1',
        '--radius 9 --thickness 9',
        '--show-kpt-idx',
        '--skeleton-style openpose',
        '--draw-heatmap',
        '--kpt-thr 99',
    ):
        box = ('--bboxes', '5,5,85,55', '--kpt-thr', -9)
        assert run(folder / '1.png', *box, *option.split()) == 0
        drawn[option] = cv2.imread(str(file)).tobytes()
    assert len(set(drawn.values())) == len(drawn)
    assert cv2.imread(str(folder / '1.png')).tobytes() == drawn['--kpt-thr 99']


def test_settings_of_the_config(run, folder, tmp_path):
    scores = []
    for flip in ('True', 'False'):
        run(folder / '1.png', '--cfg-options', f'model.test_cfg.flip_test={flip}')
        scores.append(saved(tmp_path, '1')[0]['keypoint_scores'])
    assert scores[0] != scores[1]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--bboxes', '1,2,3'], r"X1,Y1,X2,Y2 in pixels, got '1,2,3'"),
        (['--bboxes', '1,2,3,four'], r"got '1,2,3,four'"),
        (['--bboxes', '-1,2,3'], r"got '-1,2,3'"),
        (['--bboxes', '1,2,3,4', '--bbox-file', 'x'], 'not allowed with'),
        (['--det-config', 'x.py'], 'go together'),
        (['--det-checkpoint', 'x.pth'], 'go together'),
        (['--batch-size', '0'], "at least 1, got '0'"),
        (['--device', 'tpu9'], '--device tpu9'),
        (['--show'], 'needs a display'),
        (['--cfg-options', 'model=dict(a=1)'], 'cannot hold a dict'),
    ],
)
def test_wrong_usage(run, folder, capsys, monkeypatch, options, message):
    for name in ('DISPLAY', 'WAYLAND_DISPLAY', 'QT_QPA_PLATFORM'):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SystemExit, match='2'):
        run(folder / '1.png', *options)
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize(
    ('given', 'options', 'message'),
    [
        ('nowhere.png', [], 'no file or folder'),
        ('boxes.json', [], 'can read no frame of'),
        ('pictures/1.png', ['--bboxes', '100,0,120,60'], 'outside the picture'),
        ('pictures/1.png', ['--bboxes', '9,9,9,20'], 'is empty'),
        ('pictures/1.png', ['--bbox-file', 'nowhere.json'], 'nowhere.json'),
        ('walk.avi', ['--bbox-file', 'boxes.json'], 'use a detector'),
        ('pictures/1.png', ['--cfg-options', 'model.type.x=1'], 'model.type.x=1 does'),
    ],
)
def test_input_that_cannot_be_used(
    run, video, capsys, monkeypatch, tmp_path, given, options, message
):
    monkeypatch.chdir(tmp_path)
    assert run(given, *options) == 1
    assert message in capsys.readouterr().err


def test_files_that_do_not_fit(run, folder, root, tmp_path, capsys):
    picture = folder / '1.png'
    assert run(picture, config='nowhere.py') == 1
    assert run(picture, weights='nowhere.pth') == 1
    assert 'nowhere.py' in (errors := capsys.readouterr().err)
    assert 'nowhere.pth' in errors
    assert run(picture, config=root / 'configs/ldcrn_coco.py') == 1
    assert 'is no checkpoint of the model in the config' in capsys.readouterr().err


def test_without_a_model_the_published_one_looks(demo, folder, tmp_path):
    words = [folder / '1.png', '--out-dir', tmp_path / 'out', '--device', 'cpu']
    assert demo.main([str(word) for word in words]) == 0
    (expected,) = next(TopdownInferencer(device='cpu')(folder / '1.png'))['predictions']
    np.testing.assert_allclose(
        saved(tmp_path, '1')[0]['keypoints'], expected[0]['keypoints']
    )


def test_a_name_stands_for_its_config_and_checkpoint(demo):
    args = demo.parse_args(['a.jpg', '--radius', '3', zoo.DEFAULT, '--thickness', '2'])
    assert (args.config, args.checkpoint) == zoo.find()
    assert (args.radius, args.thickness) == (3, 2)


def test_a_name_with_a_checkpoint_stands_for_its_config(demo, root):
    args = demo.parse_args(['a.jpg', 'ldcrn-mpii', 'mine.pth'])
    assert args.config == str(root / 'configs/ldcrn_mpii.py')
    assert args.checkpoint == 'mine.pth'
    args = demo.parse_args(['a.jpg', 'nowhere.json', 'mine.pth'])
    assert args.config == 'nowhere.json'


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        ('config.py', 'config.py needs a checkpoint'),
        ('nobody', "No model of ldcrn_mm is called 'nobody'"),
        ('ldcrn-mpii', 'weights of ldcrn-mpii have not been published yet'),
    ],
)
def test_a_model_without_weights_is_refused(demo, capsys, config, message):
    with pytest.raises(SystemExit, match='2'):
        demo.main(['a.jpg', config])
    assert message in capsys.readouterr().err


def test_an_unknown_name_with_a_checkpoint_is_answered_with_the_known(demo, capsys):
    with pytest.raises(SystemExit, match='2'):
        demo.main(['a.jpg', 'nobody', 'mine.pth'])
    assert re.search(r"called 'nobody'.*ldcrn-mpii", capsys.readouterr().err)


def test_an_exported_file_stands_in_for_the_checkpoint(run, folder, tmp_path, capsys):
    weights = tmp_path / 'broken.xml'
    weights.write_text('nonsense')
    assert run(folder / '1.png', weights=weights) == 1
    assert f'OpenVINO cannot read `{weights}`' in capsys.readouterr().err
    assert run(folder / '1.png', weights='nowhere.onnx') == 1
    assert 'no exported network `nowhere.onnx`' in capsys.readouterr().err


def test_results_have_a_place_by_default(demo, monkeypatch):
    monkeypatch.setenv('DISPLAY', ':0')
    words = ['a.jpg', 'config.py', 'checkpoint.pth']
    assert demo.parse_args(words).out_dir == 'outputs/demo'
    assert demo.parse_args([*words, '--show']).out_dir is None
    assert demo.parse_args([*words, '--show', '--out-dir', 'x']).out_dir == 'x'
