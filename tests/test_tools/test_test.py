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


def test_the_metrics_are_written(tested):
    metrics = json.loads((tested / 'metrics.json').read_text())

    assert {'coco/AP', 'coco/AR'} < set(metrics)
    assert all(-1 <= value <= 1 for value in metrics.values())


def test_the_predictions_on_detected_persons_are_written(tested):
    people = load(tested / 'people.pkl')

    assert sorted(person['img_id'] for person in people) == [1, 2, 3, 4]
    np.testing.assert_allclose(boxes(people), [DETECTED] * 4)
    for person in people:
        assert person['pred_instances']['keypoints'].shape == (1, 17, 2)


def test_every_person_is_drawn(tested):
    (folder,) = tested.glob('*/pictures')

    assert len(list(folder.glob('*_0.png'))) == 4


def test_bad_cases_are_listed_and_drawn(tested):
    (folder,) = tested.glob('*/badcase')

    listed = json.loads((folder / 'results.json').read_text())
    drawn = list(folder.glob('*.png'))
    assert len(listed) == len(drawn) > 0


def test_hooks_that_average_weights_start_from_those_of_the_checkpoint(
    run_tool, tiny_config, trained, tested, tmp_path
):
    predictions = tmp_path / 'people.pkl'
    done = run_tool(
        'test.py',
        *[tiny_config, trained / 'epoch_3.pth', '--work-dir', tmp_path],
        *['--dump', predictions, '--cfg-options', 'custom_hooks=[]'],
    )

    assert f'Load checkpoint from {trained}/epoch_3.pth' in done.stdout
    with_hook, without = (
        [person['pred_instances']['keypoint_scores'] for person in load(file)]
        for file in (tested / 'people.pkl', predictions)
    )
    np.testing.assert_array_equal(with_hook, without)


def test_what_the_config_loads_or_resumes_is_not_tested(tool, tiny_config, checkpoint):
    options = ['--cfg-options', 'load_from=other.pth', 'resume=True']
    module = tool('test.py', tiny_config, checkpoint, *options)

    cfg = module.build_config(module.parse_args())

    assert (cfg.load_from, cfg.resume) == (None, False)


def test_ground_truth_boxes_need_no_file_of_detections(
    run_tool, tiny_config, trained, tmp_path
):
    predictions = tmp_path / 'people.pkl'
    run_tool(
        'test.py',
        *[tiny_config, trained / 'epoch_3.pth', '--work-dir', tmp_path, '--gt-boxes'],
        *['--dump', predictions, '--cfg-options'],
        'test_dataloader.dataset.bbox_file=nowhere.json',
    )

    np.testing.assert_allclose(boxes(load(predictions)), [ANNOTATED] * 4)


def ended(module, capsys):
    """The message with which the program ends."""
    with pytest.raises(SystemExit) as caught:
        module.main()
    code = caught.value.code
    return capsys.readouterr().err if code == 2 else code


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / 'some.pth'
    path.touch()
    return path


def test_without_detections_the_message_names_them_and_the_way_on(
    tool, root, tmp_path, checkpoint, capsys
):
    config = root / 'configs' / 'ldcrn_coco.py'
    module = tool('test.py', config, checkpoint, '--work-dir', tmp_path)

    message = ended(module, capsys)

    assert message.startswith('test.py: error: these data files are missing')
    assert 'COCO_val2017_detections_AP_H_56_person.json' in message
    assert '--gt-boxes' in message
    assert 'train2017' not in message


def test_a_missing_checkpoint_is_named(tool, tiny_config, capsys):
    module = tool('test.py', tiny_config, 'nowhere.pth')

    assert 'checkpoint file not found: nowhere.pth' in ended(module, capsys)


def test_a_setting_that_holds_a_dict_is_refused(tool, tiny_config, checkpoint, capsys):
    option = 'model=dict(a=1)'
    module = tool('test.py', tiny_config, checkpoint, '--cfg-options', option)

    assert 'cannot hold a dict' in ended(module, capsys)


def test_weights_that_do_not_fit_are_not_tested(tool, tiny_config, tmp_path, capsys):
    path = tmp_path / 'other.pth'
    torch.save(dict(state_dict={'head.final_layer.bias': torch.zeros(17)}), path)
    module = tool('test.py', tiny_config, path, '--work-dir', tmp_path)

    message = ended(module, capsys)

    assert f'`{path}` is no checkpoint of the model in the config' in message
    assert 'missing (such as backbone.stem' in message


@pytest.mark.parametrize(
    ('option', 'endings'), [('--out', '.json or'), ('--dump', '.pkl or')]
)
def test_files_of_unknown_kinds_are_refused_before_testing(
    tool, tiny_config, checkpoint, capsys, option, endings
):
    module = tool('test.py', tiny_config, checkpoint, option, 'results.txt')

    message = ended(module, capsys)

    assert 'results.txt must end in' in message
    assert endings in message


def test_bad_cases_take_the_window_for_themselves(
    tool, tiny_config, checkpoint, monkeypatch
):
    monkeypatch.setenv('DISPLAY', ':0')
    options = ['--badcase', '--show', '--wait-time', '3', '--show-dir', 'pictures']
    module = tool('test.py', tiny_config, checkpoint, *options)

    hooks = module.build_config(module.parse_args()).default_hooks

    assert (hooks.badcase.show, hooks.badcase.wait_time) == (True, 3)
    assert hooks.visualization.enable
    assert not hooks.visualization.show


def test_several_metrics_and_a_dump_stand_side_by_side(tool, tiny_config, checkpoint):
    option = 'test_evaluator.nms_mode=none'
    options = ['--dump', 'people.pkl', '--cfg-options', option]
    module = tool('test.py', tiny_config, checkpoint, *options)

    coco, dump = module.build_config(module.parse_args()).test_evaluator

    assert coco.nms_mode == 'none'
    assert dump == dict(type='DumpResults', out_file_path='people.pkl')


def test_an_exported_file_is_tested_in_one_process(tool, tiny_config, tmp_path, capsys):
    file = tmp_path / 'some.onnx'
    file.touch()
    module = tool('test.py', tiny_config, file, '--launcher', 'pytorch')

    assert 'in one process, without --launcher' in ended(module, capsys)


def test_a_broken_exported_file_is_named(tool, tiny_config, tmp_path, capsys):
    file = tmp_path / 'some.onnx'
    file.write_text('nonsense')
    module = tool('test.py', tiny_config, file, '--work-dir', tmp_path)

    assert f'cannot read `{file}`' in ended(module, capsys)
