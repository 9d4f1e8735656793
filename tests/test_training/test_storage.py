import os
from types import SimpleNamespace

import pytest
import torch
from mmengine.fileio import get_file_backend
from mmengine.logging import MessageHub, MMLogger
from mmengine.runner import save_checkpoint
from torch import nn

from ldcrn_mm.checkpoint.files import AtomicLocalBackend
from ldcrn_mm.training import SafeCheckpointHook
from ldcrn_mm.training.resume import last_checkpoint


class Killed(BaseException):
    """In place of SIGKILL: nothing of the program should catch it."""


class FakeRunner:
    """What CheckpointHook needs of a runner; saves through the hook's backend."""

    def __init__(self, folder, hub):
        self.work_dir = str(folder)
        self.message_hub = MessageHub.get_instance(hub)
        self.message_hub.runtime_info.clear()
        self.logger = MMLogger.get_instance('storage')
        self.epoch = self.iter = 0
        self.val_loop = None
        self.dies_before_writing = ''

    def save_checkpoint(self, out_dir, filename, *args, backend_args, **kwargs):
        if self.dies_before_writing and filename.startswith(self.dies_before_writing):
            raise Killed
        backend = get_file_backend(out_dir, backend_args=backend_args)
        backend.put(b'weights', os.path.join(out_dir, filename))


@pytest.fixture
def runner(tmp_path, request):
    return FakeRunner(tmp_path, request.node.name)


def started(runner, **arguments):
    hook = SafeCheckpointHook(interval=1, **arguments)
    hook.before_train(runner)
    return hook


def train_epoch(hook, runner, score=None):
    runner.train_loop = SimpleNamespace(dynamic_milestones=[], max_epochs=99)
    runner.max_epochs = 99
    hook.after_train_epoch(runner)
    runner.epoch += 1
    if score is not None:
        hook.after_val_epoch(runner, {'AP': score})


def checkpoints(runner):
    return sorted(name for name in os.listdir(runner.work_dir) if '.pth' in name)


def test_the_backend_is_found_by_its_name(tmp_path):
    backend = get_file_backend(tmp_path, backend_args=dict(backend='atomic'))

    assert isinstance(backend, AtomicLocalBackend)


def test_a_file_is_written_whole_into_a_folder_made_for_it(tmp_path):
    path = tmp_path / 'new' / 'a.pth'

    AtomicLocalBackend().put(b'first', path)
    AtomicLocalBackend().put(b'second', str(path))

    assert path.read_bytes() == b'second'
    assert list(path.parent.iterdir()) == [path]


def test_the_old_file_stays_whole_while_the_new_one_is_written(tmp_path, monkeypatch):
    path = tmp_path / 'a.pth'
    AtomicLocalBackend().put(b'old', path)
    seen = []
    monkeypatch.setattr(os, 'fsync', lambda _: seen.append(path.read_bytes()))

    AtomicLocalBackend().put(b'new', path)

    assert seen == [b'old']


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    def disk_full(_):
        raise OSError('No space left on device')

    path = tmp_path / 'a.pth'
    AtomicLocalBackend().put(b'old', path)
    monkeypatch.setattr(os, 'fsync', disk_full)

    with pytest.raises(OSError, match='No space left'):
        AtomicLocalBackend().put(b'new', path)

    assert path.read_bytes() == b'old'
    assert list(tmp_path.iterdir()) == [path]


def test_checkpoints_are_written_atomically_unless_configured_otherwise():
    assert SafeCheckpointHook().backend_args == dict(backend='atomic')
    local = dict(backend='local')
    assert SafeCheckpointHook(backend_args=local).backend_args == local


def test_the_newest_checkpoints_are_kept(runner):
    hook = started(runner, max_keep_ckpts=2)

    for _ in range(4):
        train_epoch(hook, runner)

    assert checkpoints(runner) == ['epoch_3.pth', 'epoch_4.pth']
    assert last_checkpoint(runner.work_dir).endswith('epoch_4.pth')


def test_the_only_checkpoint_survives_a_kill_while_the_next_is_written(runner):
    hook = started(runner, max_keep_ckpts=1)
    train_epoch(hook, runner)
    runner.dies_before_writing = 'epoch_2'

    with pytest.raises(Killed):
        train_epoch(hook, runner)

    assert checkpoints(runner) == ['epoch_1.pth']
    assert last_checkpoint(runner.work_dir).endswith('epoch_1.pth')


def test_only_the_best_checkpoint_is_kept(runner):
    hook = started(runner, max_keep_ckpts=1, save_best='AP', rule='greater')

    for score in (0.1, 0.3, 0.2):
        train_epoch(hook, runner, score)

    assert checkpoints(runner) == ['best_AP_epoch_2.pth', 'epoch_3.pth']


def test_the_best_checkpoint_survives_a_kill_while_a_better_one_is_written(runner):
    hook = started(runner, save_best='AP', rule='greater')
    train_epoch(hook, runner, 0.1)
    runner.dies_before_writing = 'best_AP_epoch_2'

    with pytest.raises(Killed):
        train_epoch(hook, runner, 0.2)

    assert 'best_AP_epoch_1.pth' in checkpoints(runner)


def test_the_best_by_each_of_two_metrics_is_kept(runner):
    hook = started(runner, max_keep_ckpts=1, save_best=['AP', 'AR'], rule='greater')

    for ap, ar in [(0.1, 0.3), (0.2, 0.2), (0.3, 0.1)]:
        train_epoch(hook, runner)
        hook.after_val_epoch(runner, dict(AP=ap, AR=ar))

    names = ['best_AP_epoch_3.pth', 'best_AR_epoch_1.pth', 'epoch_3.pth']
    assert checkpoints(runner) == names


@pytest.mark.parametrize('metrics', ['AP', ['AP', 'AR']])
def test_a_best_checkpoint_written_again_under_its_name_stays(runner, metrics):
    hook = started(runner, save_best=metrics, rule='greater')
    train_epoch(hook, runner)

    for score in (0.1, 0.2):  # the same epoch, validated twice
        hook.after_val_epoch(runner, dict(AP=score, AR=score))

    assert 'best_AP_epoch_1.pth' in checkpoints(runner)


@pytest.mark.parametrize('metrics', ['AP', ['AP', 'AR']])
def test_a_run_resumed_into_another_folder_leaves_the_first_as_it_is(
    runner, tmp_path, metrics
):
    hook = started(runner, save_best=metrics, rule='greater')
    train_epoch(hook, runner)
    hook.after_val_epoch(runner, dict(AP=0.1, AR=0.1))
    first, left = runner.work_dir, checkpoints(runner)

    runner.work_dir = str(tmp_path / 'second')
    hook = started(runner, save_best=metrics, rule='greater')
    for score in (0.2, 0.3):
        train_epoch(hook, runner)
        hook.after_val_epoch(runner, dict(AP=score, AR=score))

    names = [metrics] if isinstance(metrics, str) else metrics
    bests = [f'best_{name}_epoch_3.pth' for name in names]
    assert checkpoints(runner) == [*bests, 'epoch_2.pth', 'epoch_3.pth']
    runner.work_dir = first
    assert checkpoints(runner) == left


def test_the_best_is_replaced_after_the_folder_was_moved(runner, tmp_path):
    runner.work_dir = str(tmp_path / 'first')
    train_epoch(started(runner, save_best='AP', rule='greater'), runner, 0.1)

    os.rename(tmp_path / 'first', tmp_path / 'moved')
    runner.work_dir = str(tmp_path / 'moved')
    train_epoch(started(runner, save_best='AP', rule='greater'), runner, 0.2)

    assert checkpoints(runner) == [
        'best_AP_epoch_2.pth',
        'epoch_1.pth',
        'epoch_2.pth',
    ]


def test_leftovers_of_a_killed_run_are_removed(runner, tmp_path):
    for name in ('epoch_1.pth', 'epoch_2.pth.77.partial', 'notes.partial'):
        (tmp_path / name).touch()

    started(runner)

    assert sorted(os.listdir(tmp_path)) == ['epoch_1.pth', 'notes.partial']


def test_what_is_stored_can_be_loaded(tmp_path):
    weights = nn.Linear(2, 2).state_dict()
    path = str(tmp_path / 'a.pth')

    save_checkpoint(weights, path, backend_args=dict(backend='atomic'))

    torch.testing.assert_close(dict(torch.load(path)), dict(weights))
