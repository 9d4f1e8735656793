"""What is said of the machine, and doubts about what it measured."""

import platform
import subprocess
import sys
from importlib import metadata

import pytest
import torch

import ldcrn_mm
from ldcrn_mm.benchmark import machine


def test_the_machine_is_described():
    found = machine.describe('cpu')
    assert found['cpu']
    assert 1 <= found['usable_cores'] <= found['cores']
    assert 'gpu' not in found


@pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc/cpuinfo')
def test_the_processor_has_its_name():
    listed = subprocess.run(['lscpu'], capture_output=True, text=True).stdout
    if 'Model name' not in listed:
        pytest.skip('lscpu does not know it')
    assert machine.cpu_model() in listed


def test_versions_of_what_is_installed():
    found = machine.versions()
    assert found['python'] == platform.python_version()
    assert found['ldcrn_mm'] == ldcrn_mm.__version__
    assert found['torch'] == metadata.version('torch')
    assert found['mmpose'] == metadata.version('mmpose')
    assert all(found.values())


def repository(folder):
    def git(*arguments):
        name = [
            '-c',
            'user.name=x',
            '-c',
            'user.email=x@y',
            '-c',
            'init.defaultBranch=m',
        ]
        done = subprocess.run(
            ['git', '-C', folder, *name, *arguments],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    (folder / 'ldcrn_mm').mkdir()
    (folder / 'ldcrn_mm' / '__init__.py').write_text('')
    git('init')
    git('add', '.')
    git('commit', '-m', 'first')
    return git('rev-parse', 'HEAD')


def test_the_commit_and_whether_there_are_changes(monkeypatch, tmp_path):
    module = tmp_path / 'ldcrn_mm' / '__init__.py'
    monkeypatch.setattr(ldcrn_mm, '__file__', str(module))
    assert machine.commit() is None  # no checkout
    head = repository(tmp_path)
    (tmp_path / 'results.json').write_text('')  # not of the repository
    assert machine.commit() == head
    module.write_text('changed = True')
    assert machine.commit() == f'{head}+changes'
    monkeypatch.setenv('PATH', str(tmp_path))  # no git
    assert machine.commit() is None


@pytest.mark.parametrize(
    ('before', 'after', 'threads', 'spread', 'expected'),
    [
        (0.1, 1.9, 2, 0.02, []),
        (None, None, 2, None, []),
        (1.5, 1.9, 2, 0.02, ['busy before: load average 1.50']),
        (0.1, 3.4, 2, 0.02, ['busy meanwhile: load average 3.40, with 2 threads']),
        (0.1, 1.9, 1, 0.02, ['busy meanwhile: load average 1.90, with 1 thread of']),
        (0.1, 1.9, 2, 0.25, ['25% of its median']),
        (9, 9, 2, 9, ['before', 'meanwhile', 'median']),
    ],
)
def test_doubts(before, after, threads, spread, expected):
    found = machine.doubts(before, after, threads, spread)
    assert len(found) == len(expected)
    assert all(text in doubt for text, doubt in zip(expected, found))


def test_the_command_does_not_name_folders(monkeypatch):
    monkeypatch.setattr(
        sys, 'argv', ['/home/me/tools/benchmark.py', 'ldcrn', '--deploy']
    )
    assert machine.command() == 'benchmark.py ldcrn --deploy'


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs CUDA')
def test_a_gpu_has_its_name():
    assert machine.describe('cuda')['gpu'] == torch.cuda.get_device_name()
