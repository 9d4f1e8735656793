"""Trainings by tools/train.py that are killed at random moments and resumed.

The variable KILLS sets how many kills there are at least.
"""

import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest
import torch
from mmpose.utils import register_all_modules
from torch.testing import assert_close

from ldcrn_mm.training.resume import check_resumable, last_checkpoint

# The error goes down, so there is a new best after almost every epoch.
CONFIG = """
_base_ = '{config}'
val_evaluator = dict(_delete_=True, type='EPE')
default_hooks = dict(checkpoint=dict(save_best='EPE'))
model = dict(test_cfg=dict(flip_test=False))
optim_wrapper = dict(optimizer=dict(lr=3e-3))
param_scheduler = [dict(type='LinearLR', begin=0, end=12)]
train_cfg = dict(max_epochs=12)
"""
TOOLS = Path(__file__).resolve().parents[2] / 'tools'
READY = b'Checkpoints will be saved'  # MMEngine says so just before the first epoch


class Fork:
    """train.py in a process that has everything imported."""

    def __init__(self, arguments, log):
        self.status = None
        self.pid = os.fork()
        if not self.pid:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            sys.argv = [str(TOOLS / 'train.py'), *map(str, arguments)]
            runpy.run_path(sys.argv[0], run_name='__main__')
            sys.stdout.flush()
            os._exit(0)

    def poll(self):
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = os.waitstatus_to_exitcode(status) if pid else None
        return self.status

    def processes(self):
        return [self.pid]


class Torchrun(subprocess.Popen):
    """train.py in two processes, with the one that starts them."""

    def __init__(self, arguments, log):
        config, *options = arguments
        script = TOOLS / 'dist_train.sh'
        super().__init__(
            ['bash', script, config, '2', *options], stdout=log, stderr=log
        )

    def processes(self):
        children = Path(f'/proc/{self.pid}/task/{self.pid}/children').read_text()
        return [self.pid, *map(int, children.split())]


def live(start, arguments, work_dir, delay=None, turn=0):
    """Starts a training, kills it some seconds after it is ready, and waits for it.

    Returns:
        Its exit status, and the seconds that it lived after it was ready.
    """
    ready = 0.0
    with (work_dir.parent / 'log.txt').open('w+b') as log:
        process = start([*arguments, '--resume', '--work-dir', work_dir], log)
        while process.poll() is None:
            time.sleep(0.01)
            if not ready and READY in Path(log.name).read_bytes():
                ready = time.monotonic()
            if ready and delay is not None:
                time.sleep(delay)
                everything = process.processes()
                os.kill(everything[turn % len(everything)], signal.SIGKILL)
                killed, delay = time.monotonic(), None
                while any(Path(f'/proc/{pid}').exists() for pid in everything[1:]):
                    assert time.monotonic() < killed + 120, 'a worker goes on alone'
                    time.sleep(0.1)
    return process.poll(), time.monotonic() - ready


def check_kills(start, arguments, folder, kills):
    """Trains once without a kill, then again and again, until there were ``kills``."""
    random = Random(0)
    expected = folder / 'expected'
    status, seconds = live(start, arguments, expected)
    assert status == 0, (folder / 'log.txt').read_text()
    while kills > 0:
        work_dir = folder / f'{kills}_left'
        last = best = None
        for life in range(9):
            delay = random.uniform(0, seconds / 4) if life < 8 else None
            status, _ = live(start, arguments, work_dir, delay, turn=kills)
            if status == 0:
                break
            assert delay is not None, (folder / 'log.txt').read_text()
            kills -= 1
            assert last_checkpoint(str(work_dir)) or last is None, 'the last is lost'
            assert [*work_dir.glob('best_*.pth')] or best is None, 'the best is lost'
            last = last_checkpoint(str(work_dir))
            if last:
                check_resumable(last)
            for best in work_dir.glob('best_*.pth'):
                torch.load(best)
        assert_equal_files(work_dir, expected)
        print(f'{work_dir}: equal after {life} kills', flush=True)


def tensors(part):
    """A state dict, or the states of an optimizer's parameters."""
    return part.get('state', part)


def assert_equal_files(found, expected):
    names = sorted(path.name for path in expected.glob('*.pth*'))
    assert sorted(path.name for path in found.glob('*.pth*')) == names
    assert len(names) == 3
    for name in names:
        one, two = (torch.load(folder / name) for folder in (found, expected))
        assert {*one} == {*two}
        assert one.get('param_schedulers') == two.get('param_schedulers')
        for key in {'state_dict', 'ema_state_dict', 'optimizer'} & {*two}:
            assert_close(tensors(one[key]), tensors(two[key]), rtol=0, atol=0)
        scores = (each['message_hub']['runtime_info'] for each in (one, two))
        assert len({info['best_score'] for info in scores}) == 1


@pytest.fixture
def arguments(tiny_config, not_random, tmp_path):
    config = tmp_path / 'config.py'
    config.write_text(CONFIG.format(config=tiny_config))
    return [config, '--cfg-options', *not_random]


@pytest.mark.slow
def test_a_run_killed_at_random_ends_as_one_that_was_not(
    arguments, environment, tmp_path
):
    kills = os.environ.get('KILLS', '40')
    command = [sys.executable, __file__, kills, tmp_path, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)

    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_two_processes_killed_at_random_end_as_if_they_were_not(
    arguments, environment, tmp_path, monkeypatch
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    check_kills(Torchrun, arguments, tmp_path, int(os.environ.get('KILLS', '6')))


if __name__ == '__main__':
    register_all_modules(init_default_scope=False)  # imports what forks would import
    check_kills(Fork, sys.argv[3:], Path(sys.argv[2]), int(sys.argv[1]))
