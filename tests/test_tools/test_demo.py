"""tools/demo.py: pictures, folders and videos, in this process but for one."""

import json
import os
import re
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from mmpose.apis import init_model
from mmpose.apis.inferencers.utils import default_det_models
from mmpose.models import TopdownPoseEstimator

from ldcrn_mm.checkpoint import zoo
from ldcrn_mm.inference import TopdownInferencer, Video


@pytest.fixture(scope='module')
def checkpoint(tiny_config, tmp_path_factory):
    torch.manual_seed(0)
    model = init_model(str(tiny_config), device='cpu')
    file = tmp_path_factory.mktemp('checkpoint') / 'tiny.pth'
    torch.save(dict(state_dict=model.state_dict()), file)
    return file


@pytest.fixture
def run(tool, tiny_config, checkpoint, tmp_path):
    """Calls the tool's main and gives its exit status."""
    demo, logger = tool('demo.py'), MMLogger.get_current_instance()
    level = logger.level

    def call(given, *options, model=(tiny_config, checkpoint), detect=False):
        words = [given, *model, '--out-dir', tmp_path / 'out', *options]
        if not (detect or {'--det-config', '--bboxes', '--bbox-file'} & {*options}):
            words += ['--det', 'none']
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
    people = [dict(image_id=i, category_id=1, bbox=box, score=0.5) for i, box in boxes]
    images = [dict(id=i, file_name=f'{i}.png') for i in (1, 2)]
    content = dict(images=images, annotations=people)
    (tmp_path / 'boxes.json').write_text(json.dumps(content))
    (tmp_path / 'results.json').write_text(json.dumps(people))
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


def test_as_a_user_calls_it(
    call_tool, tiny_config, checkpoint, folder, tmp_path, capsys
):
    words = [folder / '1.png', '--det', 'none', tiny_config, checkpoint]
    call_tool('demo.py', *words, cwd=tmp_path)
    printed, out = capsys.readouterr().out, 'outputs/demo'
    assert 'Pictures: 1, people: 1' in printed
    assert f'Results: {out}/visualizations, {out}/predictions' in printed
    assert len(json.loads((tmp_path / out / 'predictions/1.json').read_text())) == 1
    assert cv2.imread(str(tmp_path / out / 'visualizations/1.png')).shape == (60, 90, 3)


def test_boxes_from_a_file(run, folder, tiny_config, checkpoint, tmp_path, capsys):
    assert run(folder, '--bbox-file', tmp_path / 'boxes.json', '--kpt-thr', -9) == 0
    assert 'Pictures: 2, people: 3' in capsys.readouterr().out
    inferencer = TopdownInferencer(tiny_config, checkpoint, 'cpu', det_model='none')
    boxes = [[[5, 5, 35, 55], [40, 0, 90, 60]], [[10, 10, 50, 50]]]
    for name, result in zip('12', inferencer(folder, bboxes=boxes), strict=True):
        assert [saved(tmp_path, name)] == result['predictions']
        drawn = cv2.imread(str(tmp_path / f'out/visualizations/{name}.png'))
        assert (drawn != cv2.imread(str(folder / f'{name}.png'))).any()


def test_a_broken_picture_is_listed_and_others_done(run, folder, tmp_path, capsys):
    (folder / '0.jpg').write_text('not a picture')
    assert run(folder) == 1
    printed = capsys.readouterr()
    assert 'Pictures: 2, people: 2' in printed.out
    assert re.search(r'Skipped: .*0\.jpg', printed.err)
    assert len(saved(tmp_path, '2')) == 1


def test_boxes_on_the_command_line(run, folder, tmp_path):
    assert run(folder / '1.png', '--bboxes', '-20,0,35,55', '-.5,-2,90.5,60') == 0
    found = [person['bbox'] for person in saved(tmp_path, '1')]
    assert found == [[[-20, 0, 35, 55]], [[-0.5, -2, 90.5, 60]]]


@pytest.mark.parametrize(('threshold', 'count'), [(0.4, 2), (0.5, 0)])
def test_detections_must_score(run, folder, tmp_path, threshold, count):
    options = ('--bbox-file', tmp_path / 'results.json', '--bbox-thr', threshold)
    assert run(folder / '1.png', *options) == 0
    assert len(saved(tmp_path, '1')) == count


def test_a_note_without_a_detector(run, folder, tmp_path, web, monkeypatch, capsys):
    weights = f'{web}/nowhere-01234567.pth'
    monkeypatch.setitem(default_det_models['human'], 'weights', weights)
    assert run(folder / '1.png', detect=True) == 0
    printed = capsys.readouterr()
    assert 'Pictures: 1, people: 1' in printed.out
    (note,) = [line for line in printed.err.splitlines() if 'Note: ' in line]
    assert weights in note
    assert saved(tmp_path, '1')[0]['bbox'] == [[0, 0, 90, 60]]


def test_options_are_passed_on(run, folder, monkeypatch):
    passed = {}

    def init(self, *args, **kwargs):
        passed.update(kwargs, device=args[2])

    def call(self, inputs, **kwargs):
        passed.update(kwargs)
        yield dict(predictions=[[]])

    monkeypatch.setattr(TopdownInferencer, '__init__', init)
    monkeypatch.setattr(TopdownInferencer, '__call__', call)
    options = dict(
        bbox_thr=0.4, nms_thr=0.6, kpt_thr=0.2, batch_size=5, radius=2, thickness=4
    )
    words = [f'--{name.replace("_", "-")}={value}' for name, value in options.items()]
    words += ['--det-config', 'a.py', '--det-checkpoint', 'a.pth', '--device', 'cuda:1']
    assert run(folder / '1.png', *words, '--draw-bbox', '--draw-heatmap', '--show') == 0
    expected = dict(det_model='a.py', det_weights='a.pth', device='cuda:1', bboxes=None)
    expected |= options | dict(draw_bbox=True, draw_heatmap=True, show=True)
    assert passed.items() >= expected.items()


def test_stopping_a_video_keeps_what_is_done(run, video, tmp_path, monkeypatch):
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


def test_a_stopped_process_keeps_what_is_done(
    root, folder, tiny_config, checkpoint, tmp_path
):
    for number in range(1000):
        (folder / f'{number:04d}.png').symlink_to(folder / '1.png')
    out = tmp_path / 'ö'
    words = [root / 'tools/demo.py', folder, tiny_config, checkpoint, '--det', 'none']
    process = subprocess.Popen(
        [sys.executable, *words, '--out-dir', out],
        env=os.environ | {'PYTHONIOENCODING': 'ascii'},  # a terminal without ö
        stdout=subprocess.PIPE,
        text=True,
    )
    while not (out / 'predictions/0001.json').exists() and process.poll() is None:
        time.sleep(0.1)
    process.terminate()
    printed, _ = process.communicate()
    assert process.returncode == 130
    count = len(json.loads((out / 'results.json').read_text())['images'])
    assert f'Pictures: {count}, people' in printed


def test_a_video_that_breaks_off(run, video, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Video, '_breaks_off', lambda self, frames: True)
    assert run(video) == 1
    printed = capsys.readouterr()
    assert 'Frames: 5, people: 5' in printed.out
    assert 'breaks off: 5 of 5' in printed.err
    assert len(saved(tmp_path, 'walk')) == 5


def test_escape_ends_a_shown_video(run, video, tmp_path, monkeypatch, capsys):
    shown = []
    monkeypatch.setenv('DISPLAY', ':0')
    monkeypatch.setattr(
        'mmpose.visualization.PoseLocalVisualizer.show',
        lambda *args, wait_time, **kwargs: shown.append(wait_time),
    )
    monkeypatch.setattr(cv2, 'waitKey', lambda delay: 27 if len(shown) == 3 else -1)
    assert run(video, '--show') == 0
    assert 'Frames: 3, people: 3' in capsys.readouterr().out
    assert len(shown) == len(saved(tmp_path, 'walk')) == 3
    assert min(shown) > 0  # 0 would wait for a key


def test_settings_of_the_config(run, folder, tmp_path):
    scores = []
    for flip in ('True', 'False'):
        run(folder / '1.png', '--cfg-options', f'model.test_cfg.flip_test={flip}')
        scores.append(saved(tmp_path, '1')[0]['keypoint_scores'])
    assert scores[0] != scores[1]


@pytest.mark.parametrize('settings', [(), ('--cfg-options', 'resume=False')])
def test_without_a_checkpoint(tool, run, folder, tmp_path, settings):
    assert tool('demo.py').parse_args(['1.png']).config == zoo.DEFAULT
    words = (folder / '1.png', '--device', 'cpu', *settings)
    assert run(*words, model=('ldcrn-narrow',)) == 0
    inferencer = TopdownInferencer('ldcrn-narrow', device='cpu', det_model='none')
    assert [saved(tmp_path, '1')] == next(inferencer(folder / '1.png'))['predictions']


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--bboxes', '1,2,3'], r"X1,Y1,X2,Y2 in pixels, got '1,2,3'"),
        (['--bboxes', '1,2,3,four'], r"got '1,2,3,four'"),
        (['--bboxes', '-1,2,3'], r"got '-1,2,3'"),
        (['--bboxes', '1,2,3,4', '--bbox-file', 'x'], 'not allowed with'),
        (['--bboxes', '1,2,3,4', '--det', 'none'], 'not allowed with'),
        (['--bboxes', '1,2,3,4', '--det-weights', 'x.pth'], 'needs --det'),
        (['--cfg-options', 'model=dict(a=1)'], 'cannot hold a dict'),
        (['--bbox-file', 'x/results.json', '--out-dir', './x'], 'would be replaced'),
    ],
)
def test_wrong_usage(run, folder, capsys, options, message):
    with pytest.raises(SystemExit, match='2'):
        run(folder / '1.png', *options)
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize(
    ('given', 'options', 'message'),
    [
        ('nowhere.png', [], 'no file or folder'),
        ('pictures/1.png', ['--bboxes', '100,0,120,60'], '100,0,120,60'),
        ('pictures/1.png', ['--bbox-file', 'nowhere.json'], 'nowhere.json'),
        ('walk.avi', ['--bbox-file', 'boxes.json'], 'use a detector'),
        ('pictures/1.png', ['--cfg-options', 'model.type.x=1'], 'model.type.x=1 does'),
        ('walk.avi', ('ldcrn_coco', 'nowhere.onnx'), 'nowhere.onnx'),
        ('walk.avi', ('ldcrn-mpii',), 'not been published'),
    ],
)
def test_what_cannot_be_used(
    run, video, capsys, monkeypatch, tmp_path, given, options, message
):
    monkeypatch.chdir(tmp_path)
    other = isinstance(options, tuple)  # another model
    assert (run(given, model=options) if other else run(given, *options)) == 1
    assert message in capsys.readouterr().err
