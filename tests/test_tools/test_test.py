import json

import numpy as np
import pytest
import torch
from mmengine.fileio import load

DETECTED = [5, 5, 55, 59]  # what mini_coco's files say, as corners
ANNOTATED = [6, 4, 54, 60]


def boxes(dumped):
    """Of every person whose joints were estimated."""
    return np.concatenate([person['pred_instances']['bboxes'] for person in dumped])


def test_metrics_and_predictions_on_detected_persons_are_written(tested):
    metrics = json.loads((tested / 'metrics.json').read_text())
    assert {'coco/AP', 'coco/AR'} < set(metrics)
    assert all(-1 <= value <= 1 for value in metrics.values())
    people = load(tested / 'people.pkl')
    assert sorted(person['img_id'] for person in people) == [1, 2, 3, 4]
    np.testing.assert_allclose(boxes(people), [DETECTED] * 4)
    for person in people:
        assert person['pred_instances']['keypoints'].shape == (1, 17, 2)


def test_every_person_is_drawn_and_bad_cases_are_listed(tested):
    (folder,) = tested.glob('*/pictures')
    assert len(list(folder.glob('*_0.png'))) == 4
    (folder,) = tested.glob('*/badcase')
    listed = json.loads((folder / 'results.json').read_text())
    assert len(listed) == len(list(folder.glob('*.png'))) > 0


def test_averages_start_from_the_weights(tool, tiny_config, trained, tested, tmp_path):
    predictions = tmp_path / 'people.pkl'
    options = ['--work-dir', tmp_path, '--dump', predictions]
    options += ['--cfg-options', 'custom_hooks=[]']
    tool('test.py', tiny_config, trained / 'epoch_3.pth', *options).main()
    with_hook, without = (
        [person['pred_instances']['keypoint_scores'] for person in load(file)]
        for file in (tested / 'people.pkl', predictions)
    )
    np.testing.assert_array_equal(with_hook, without)


def test_ground_truth_boxes_need_no_detections(tool, tiny_config, trained, tmp_path):
    predictions = tmp_path / 'people.pkl'
    options = ['--gt-boxes', '--work-dir', tmp_path, '--dump', predictions]
    options += ['--cfg-options', 'test_dataloader.dataset.bbox_file=nowhere.json']
    tool('test.py', tiny_config, trained / 'epoch_3.pth', *options).main()
    np.testing.assert_allclose(boxes(load(predictions)), [ANNOTATED] * 4)


@pytest.fixture
def checkpoint(tmp_path):
    """One of another network."""
    path = tmp_path / 'some.pth'
    torch.save(dict(state_dict={'head.final_layer.bias': torch.zeros(17)}), path)
    return path


@pytest.mark.parametrize(
    ('file', 'options', 'words'),
    [
        ('nowhere.pth', [], ['checkpoint file not found', 'nowhere.pth']),
        ('some.pth', [], ['some.pth` is no checkpoint of the model', 'backbone.stem']),
        ('some.pth', ['--out', 'a.txt'], ['a.txt must end in', '.json or']),
        ('some.pth', ['--dump', 'a.txt'], ['a.txt must end in', '.pkl or']),
        (
            'some.pth',
            ['--cfg-options', 'test_dataloader.dataset.bbox_file=gone.json'],
            ['data files are missing', 'gone.json', '--gt-boxes'],
        ),
        ('some.onnx', [], ['cannot read `', 'some.onnx`']),
        ('some.onnx', ['--launcher', 'pytorch'], ['in one process']),
        ('some.pth', ['--badcase', '--launcher', 'pytorch'], ['in one process']),
    ],
)
def test_what_cannot_be_done_ends_the_program_with_a_reason(
    tool, tiny_config, checkpoint, tmp_path, capsys, file, options, words
):
    (tmp_path / 'some.onnx').write_text('nonsense')
    arguments = [tiny_config, tmp_path / file, '--work-dir', tmp_path, *options]
    with pytest.raises(SystemExit) as ended:
        tool('test.py', *arguments).main()
    code = ended.value.code
    message = capsys.readouterr().err if code == 2 else code
    assert all(word in message for word in ['test.py: error: ', *words])


@pytest.fixture
def built(tool, tiny_config, checkpoint, monkeypatch):
    """The config of a command line."""
    monkeypatch.setenv('DISPLAY', ':0')

    def build(*arguments):
        module = tool('test.py', tiny_config, checkpoint, *arguments)
        return module.build_config(module.parse_args())

    return build


def test_what_the_config_loads_or_resumes_is_not_tested(built):
    cfg = built('--cfg-options', 'load_from=other.pth', 'resume=True')
    assert (cfg.load_from, cfg.resume) == (None, False)


def test_an_evaluator_with_metrics_of_its_own_cannot_dump(built):
    option = "test_evaluator.metrics=['a']"
    with pytest.raises(ValueError, match='--dump'):
        built('--dump', 'a.pkl', '--cfg-options', option)


def test_several_metrics_and_a_dump_stand_side_by_side(built):
    option = 'test_evaluator.nms_mode=none'
    coco, dump = built('--dump', 'a.pkl', '--cfg-options', option).test_evaluator
    assert coco.nms_mode == 'none'
    assert dump == dict(type='DumpResults', out_file_path='a.pkl')


def test_bad_cases_take_the_window_for_themselves(built):
    options = ['--badcase', '--show', '--wait-time', '3', '--show-dir', 'pictures']
    hooks = built(*options).default_hooks
    assert (hooks.badcase.show, hooks.badcase.wait_time) == (True, 3)
    assert (hooks.visualization.enable, hooks.visualization.show) == (True, False)


@pytest.mark.parametrize(
    ('settings', 'measure'),
    [
        ([], 'KeypointMSELoss'),
        (['default_hooks.badcase.metric_type=accuracy'], 'CocoMetric'),
        (['default_hooks.badcase.metric.type=SmoothL1Loss'], 'SmoothL1Loss'),
        (['model.head.loss=None'], None),  # the hook's own
        (['model.head.loss.type=KLDiscretLoss'], None),
    ],
)
def test_bad_cases_are_measured_by_the_loss_or_as_set(built, settings, measure):
    settings = ['resume=False', *settings]
    hook = built('--badcase', '--cfg-options', *settings).default_hooks.badcase
    assert hook.enable
    assert hook.get('metric', {}).get('type') == measure


@pytest.mark.parametrize(
    ('setting', 'words'),
    [
        ('default_hooks.badcase=None', 'BadCaseAnalysisHook'),
        ('default_hooks.badcase.metric_type=speed', "got 'speed'"),
    ],
)
def test_bad_cases_need_their_hook_with_a_measure(built, setting, words):
    with pytest.raises(ValueError, match=words):
        built('--badcase', '--cfg-options', setting)
