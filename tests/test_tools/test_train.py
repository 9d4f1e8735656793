import json
import re
import signal
from pathlib import PurePosixPath
from pickle import UnpicklingError

import pytest
import torch
from mmengine.config import Config
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

# A module that kills its process with no warning, at a point of the training.
KILLER = """
import os
import signal
from pathlib import PurePosixPath

from mmengine.hooks import Hook
from mmengine.registry import HOOKS


def kill(*args):
    os.kill(os.getpid(), signal.SIGKILL)


@HOOKS.register_module()
class KillInEpoch(Hook):
    def after_train_iter(self, runner, *args, **kwargs):
        if runner.iter == 2:  # the first of epoch 2
            kill()


@HOOKS.register_module()
class KillInSaving(Hook):
    def after_train_epoch(self, runner):
        if runner.epoch == 1:
            os.fsync = kill  # called between writing and renaming


@HOOKS.register_module()
class KillInValidation(Hook):
    def before_val(self, runner):
        if runner.epoch == 3:  # the last
            kill()
"""
KILLED = """
_base_ = '{config}'
custom_imports = dict(imports=['ldcrn_mm', 'killer'])
custom_hooks = [
    dict(type='SyncBuffersHook'),
    dict(type='EMAHook', ema_type='ExpMomentumEMA', update_buffers=True),
    dict(type='{hook}')]
"""


def log_of(work_dir):
    """What the run logged, a dict a line; the newest run of the folder."""
    newest = max(work_dir.glob('*/vis_data/scalars.json'))
    return [json.loads(line) for line in newest.read_text().splitlines()]


def test_training_leaves_checkpoints_a_log_and_its_config(trained):
    names = {path.name for path in trained.glob('*.pth')}
    assert names == {'best_coco_AP_epoch_1.pth', 'epoch_2.pth', 'epoch_3.pth'}
    steps = [line for line in log_of(trained) if 'loss' in line]
    assert len(steps) == 6
    assert all(0 < line['loss'] < 1 for line in steps)
    assert [line['lr'] for line in steps] == [1e-2] * 4 + [5e-3] * 2
    validations = [line for line in log_of(trained) if 'coco/AP' in line]
    assert [line['step'] for line in validations] == [1, 2, 3]


def test_the_config_left_behind_is_complete(trained):
    cfg = Config.fromfile(trained / 'tiny.py')

    assert cfg.test_dataloader.dataset.bbox_file.endswith('boxes.json')
    assert cfg.train_dataloader.dataset.pipeline[4].scale_sigma == 0


def test_a_checkpoint_is_read_without_trusting_it(trained):
    checkpoint = torch.load(trained / 'epoch_3.pth', weights_only=True)

    assert set(checkpoint) >= {
        'meta',
        'state_dict',
        'message_hub',
        'optimizer',
        'param_schedulers',
        'ema_state_dict',
    }
    assert checkpoint['meta']['epoch'] == 3
    assert checkpoint['meta']['dataset_meta']['dataset_name'] == 'coco'


def test_a_run_killed_thrice_ends_as_one_that_was_not(
    run_tool, trained, tiny_config, not_random, environment, tmp_path
):
    (tmp_path / 'killer.py').write_text(KILLER)
    work_dir = tmp_path / 'work'

    def train(config, *options, **expected):
        return run_tool(
            'train.py',
            config,
            *['--work-dir', work_dir, *options, '--cfg-options', *not_random],
            **expected,
            PYTHONPATH=f'{tmp_path}:{environment["PYTHONPATH"]}',
        )

    def train_until(hook, *options):
        config = tmp_path / f'{hook}.py'
        config.write_text(KILLED.format(config=tiny_config, hook=hook))
        return train(config, *options, status=-signal.SIGKILL)

    for hook, options in [('KillInEpoch', []), ('KillInSaving', ['--resume'])]:
        train_until(hook, *options)
        left = {path.name for path in work_dir.glob('epoch_*.pth')}
        assert left == {'epoch_1.pth'}
    assert len(list(work_dir.glob('epoch_2.pth.*.partial'))) == 1

    resumed = train_until('KillInValidation', '--resume')

    assert re.search('resumed epoch: 1, iter: 2', resumed.stdout)
    assert not list(work_dir.glob('*.partial'))

    train(tiny_config, '--resume')

    (last,) = log_of(work_dir)
    assert last['step'] == 3
    assert last['coco/AP'] == log_of(trained)[-1]['coco/AP']
    for name in ('epoch_2.pth', 'epoch_3.pth'):
        one, other = (torch.load(folder / name) for folder in (trained, work_dir))
        for key in ('state_dict', 'ema_state_dict', 'optimizer'):
            torch.testing.assert_close(other[key], one[key], rtol=0, atol=0)
        assert (
            other['param_schedulers'][0]['_last_value']
            == (one['param_schedulers'][0]['_last_value'])
        )


def test_precision_layout_learning_rate_and_curves_are_options(
    run_tool, tiny_config, tmp_path
):
    done = run_tool(
        'train.py',
        *[tiny_config, '--work-dir', tmp_path, '--amp', '--channels-last'],
        *['--auto-scale-lr', '--cfg-options', 'train_cfg.max_epochs=1'],
        'visualizer.vis_backends.0.type=TensorboardVisBackend',
    )

    assert 'BFloat16OptimWrapper' in done.stdout
    assert 'ChannelsLastHook' in done.stdout
    (events,) = tmp_path.glob('*/vis_data/events.out.tfevents.*')
    curves = EventAccumulator(str(events.parent)).Reload()
    assert len(curves.Scalars('loss')) == 2
    assert curves.Scalars('lr')[0].value == pytest.approx(1e-2 * 2 / 128)
    assert 'coco/AP' in curves.Tags()['scalars']


def test_pictures_of_the_validation_are_saved_where_asked(trained):
    (folder,) = trained.glob('*/pictures')

    assert len(list(folder.glob('val_img_*.png'))) == 6  # two batches, three times


def fails(capsys, module, status=2):
    with pytest.raises(SystemExit) as ended:
        module.main()
    code = ended.value.code
    return capsys.readouterr().err if code == status else str(code)


def test_missing_data_ends_the_program_with_the_files(tool, root, tmp_path, capsys):
    option = f'train_dataloader.dataset.data_root={tmp_path}/nowhere'
    module = tool(
        'train.py', root / 'configs' / 'ldcrn_coco.py', '--cfg-options', option
    )

    message = fails(capsys, module)

    assert message.startswith('train.py: error: these data files are missing')
    assert f'{tmp_path}/nowhere/annotations/person_keypoints_train2017.json' in message
    assert 'data/coco/annotations/person_keypoints_val2017.json' in message
    assert 'detections' not in message  # those are for testing


def test_a_missing_checkpoint_to_resume_from_is_named(tool, tiny_config, capsys):
    module = tool('train.py', tiny_config, '--resume', 'nowhere.pth')

    assert 'checkpoint file not found: nowhere.pth' in fails(capsys, module)


@pytest.mark.parametrize(
    ('start', 'message'),
    [
        ('work_dirs/first/epoch_30.pth', 'checkpoint file not found: work_dirs/first'),
        ('ldcrn_mm://nobody', "No model of ldcrn_mm is called 'nobody'"),
    ],
)
def test_a_missing_checkpoint_to_start_from_is_named(
    tool, tiny_config, tmp_path, capsys, start, message
):
    options = ['--work-dir', tmp_path, '--cfg-options', f'load_from={start}']

    message_shown = fails(capsys, tool('train.py', tiny_config, *options))

    assert message_shown.startswith('train.py: error: ')
    assert message in message_shown


def test_a_variable_of_the_config_is_refused(tool, tiny_config, capsys):
    module = tool('train.py', tiny_config, '--cfg-options', 'files.data_root=data/mine')

    message = fails(capsys, module)

    assert message.startswith(
        'train.py: error: --cfg-options files.data_root=data/mine'
    )
    assert 'changes nothing' in message


def test_a_setting_that_holds_a_dict_is_refused(tool, tiny_config, capsys):
    module = tool('train.py', tiny_config, '--cfg-options', 'model=dict(a=1)')

    assert 'cannot hold a dict' in fails(capsys, module)


def test_a_checkpoint_cannot_run_code(tool, tiny_config, tmp_path, monkeypatch):
    """Not even a downloaded one, which MMEngine loads as the runner here does."""
    torch.save(PurePosixPath('x'), tmp_path / 'code.pth')

    class Runner:
        @classmethod
        def from_cfg(cls, cfg):
            return cls()

        def train(self):
            torch.load(tmp_path / 'code.pth', weights_only=False)

    module = tool('train.py', tiny_config, '--work-dir', tmp_path)
    monkeypatch.setattr(module, 'Runner', Runner)

    with pytest.raises(UnpicklingError, match='PurePosixPath'):
        module.main()


def built(module):
    return module.build_config(module.parse_args())


def test_settings_are_overridden_before_options_look_at_them(tool, tiny_config):
    option = 'optim_wrapper.type=AmpOptimWrapper'

    cfg = built(tool('train.py', tiny_config, '--amp', '--cfg-options', option))

    assert cfg.optim_wrapper.type == 'AmpOptimWrapper'


def test_validation_can_be_left_out(tool, tiny_config):
    cfg = built(tool('train.py', tiny_config, '--no-validate'))

    assert cfg.val_cfg is cfg.val_dataloader is cfg.val_evaluator is None


def test_without_validation_its_files_may_be_missing(tool, tiny_config, tmp_path):
    option = f'val_dataloader.dataset.data_root={tmp_path}'

    built(tool('train.py', tiny_config, '--no-validate', '--cfg-options', option))


@pytest.mark.parametrize('options', [[], ['--resume']])
def test_a_run_starts_from_nothing_where_there_is_no_checkpoint(
    tool, tiny_config, tmp_path, options
):
    cfg = built(tool('train.py', tiny_config, '--work-dir', tmp_path, *options))

    assert not cfg.resume
    assert cfg.load_from is None


@pytest.mark.parametrize('name', [None, 'epoch_2.pth'])
def test_a_run_goes_on_from_the_last_checkpoint_or_a_named_one(
    tool, tiny_config, trained, name
):
    named = [trained / name] if name else []
    options = ['--work-dir', trained, '--resume', *named]

    cfg = built(tool('train.py', tiny_config, *options))

    assert cfg.resume is True
    assert cfg.load_from == str(trained / (name or 'epoch_3.pth'))
