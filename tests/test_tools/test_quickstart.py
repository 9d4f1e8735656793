"""tools/quickstart.sh, as a newcomer calls it."""

import json
import subprocess
from pathlib import Path

import cv2
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


def test_a_step_that_fails_ends_it_with_the_reason(root, tmp_path):
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data' / 'holiday.jpg').write_bytes(b'not ours')
    result = quickstart(root, tmp_path)
    assert result.returncode == 1
    assert 'data.log' in result.stderr
    assert 'holiday.jpg' in result.stderr or 'not empty' in result.stderr
    assert '2/5 Drawing people' in result.stdout  # this one, and no further
    assert '3/5' not in result.stdout
    assert (tmp_path / 'data' / 'holiday.jpg').read_bytes() == b'not ours'


@pytest.mark.slow
def test_it_trains_tests_and_draws(root, tmp_path):
    result = quickstart(root, tmp_path)
    assert result.returncode == 0, result.stderr
    metrics = json.loads((tmp_path / 'test' / 'metrics.json').read_text())
    assert metrics['coco/AP'] >= 0.5
    assert f'{metrics["coco/AP"]:.3f}' in result.stdout
    for name in ('overview.jpg', 'curves.png'):
        assert cv2.imread(str(tmp_path / 'pictures' / name)) is not None
    assert list((tmp_path / 'pictures' / 'photo').rglob('grace_hopper.jpg'))
    again = quickstart(root, tmp_path)
    assert again.returncode == 0, again.stderr
    assert 'epoch 1 ' not in again.stdout
