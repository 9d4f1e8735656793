"""Trainings by tools/dist_train.sh that are killed at random moments and resumed.

What one process loses is in test_training/test_resume.py, at every change of a file.

The variable KILLS sets how many kills there are at least.
"""

import os
import signal
import subprocess
import time
from pathlib import Path
from random import Random

import pytest
import torch
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


def live(arguments, work_dir, delay=None, turn=0):
    """Starts a training, kills it some seconds after it is ready, and waits for it.

    Returns:
        Its exit status, and the seconds that it lived after it was ready.
    """
    ready = 0.0
    with (work_dir.parent / 'log.txt').open('w+b') as log:
        process = Torchrun([*arguments, '--resume', '--work-dir', work_dir], log)
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


def check_kills(arguments, folder, kills):
    """Trains once without a kill, then again and again, until there were ``kills``."""
    random = Random(0)
    expected = folder / 'expected'
    status, seconds = live(arguments, expected)
    assert status == 0, (folder / 'log.txt').read_text()
    while kills > 0:
        work_dir = folder / f'{kills}_left'
        last = best = None
        for life in range(9):
            delay = random.uniform(0, seconds / 4) if life < 8 else None
            status, _ = live(arguments, work_dir, delay, turn=kills)
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
def test_two_processes_killed_at_random(arguments, environment, tmp_path, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    check_kills(arguments, tmp_path, int(os.environ.get('KILLS', '6')))
