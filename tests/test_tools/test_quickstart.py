"""tools/quickstart.sh, as a newcomer calls it."""

import json
import subprocess
from pathlib import Path

import pytest


def quickstart(root: Path, *arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        ['bash', root / 'tools/quickstart.sh', *map(str, arguments)],
        capture_output=True,
        text=True,
    )


def test_help_says_what_it_does_and_leaves_nothing(root, tmp_path):
    result = quickstart(root, '--help')
    assert result.returncode == 0
    assert 'bash tools/quickstart.sh [FOLDER]' in result.stdout


def test_unknown_options_are_refused_with_the_usage(root):
    result = quickstart(root, '--epochs=3')
    assert result.returncode == 2
    assert 'bash tools/quickstart.sh [FOLDER]' in result.stderr


@pytest.mark.slow
def test_a_step_that_fails_ends_it_with_the_reason(root, tmp_path):
    (tmp_path / 'photo').write_bytes(b'not a folder')
    result = quickstart(root, tmp_path)
    assert result.returncode == 1
    assert f'{tmp_path}/demo.py.log' in result.stderr
    assert 'rror: ' in result.stderr
    assert 'tools/demo.py' in result.stdout
    assert 'tools/train.py' not in result.stdout
    assert (tmp_path / 'photo').read_bytes() == b'not a folder'


@pytest.mark.slow
def test_it_trains_tests_and_reports(root, tmp_path):
    result = quickstart(root, tmp_path)
    assert result.returncode == 0, result.stderr
    assert json.loads((tmp_path / 'metrics.json').read_text())['coco/AP'] >= 0.8
    assert f'{tmp_path}/run/report.html' in result.stdout
    assert 'Worst' in (tmp_path / 'run' / 'report.html').read_text()
    assert list((tmp_path / 'photo').rglob('grace_hopper.jpg'))
    again = quickstart(root, tmp_path)
    assert again.returncode == 0, again.stderr
    assert 'Epoch(train)' in result.stdout
    assert 'Epoch(train)' not in again.stdout
