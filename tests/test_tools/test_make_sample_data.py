"""tools/make_sample_data.py, as a user calls it."""

import json
import os
import runpy
import subprocess
import sys

import pytest

SCRIPT = 'tools/make_sample_data.py'


def test_makes_both_formats_with_progress(root, tmp_path):
    arguments = [tmp_path, '--num-train', 2, '--num-val', 1, '--workers', 2]
    paths = f'{root}{os.pathsep}{os.environ.get("PYTHONPATH", "")}'
    result = subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)],
        cwd=root,
        env=dict(os.environ, PYTHONPATH=paths),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert '3/3' in result.stdout
    assert f'wrote 2 + 1 pictures to {tmp_path}' in result.stdout
    assert len(list(tmp_path.glob('coco/train2017/*.jpg'))) == 2
    assert (tmp_path / 'mpii/annotations/mpii_gt_val.mat').is_file()


@pytest.fixture
def run(root, monkeypatch):
    """Runs the script in this process, which spares importing everything anew."""

    def call(*arguments):
        monkeypatch.setattr(sys, 'argv', [SCRIPT, *map(str, arguments)])
        runpy.run_path(str(root / SCRIPT), run_name='__main__')

    return call


def test_second_run_says_that_the_data_is_there(run, tmp_path, capsys):
    arguments = (tmp_path, '--format', 'coco', '--num-train', 1, '--num-val', 1)
    run(*arguments, '--workers', 1)
    assert 'wrote 1 + 1' in capsys.readouterr().out
    assert not (tmp_path / 'mpii').exists()
    run(*arguments, '--workers', 1)
    output = capsys.readouterr().out
    assert 'already holds' in output
    assert '2/2' not in output


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--num-train', '1'], 'is not empty'),
        (['--workers', '0'], 'at least one worker'),
        (['--seed', '-1'], 'seed must not be negative'),
        (['--format', 'voc'], 'invalid choice'),
    ],
)
def test_mistakes_are_told_without_a_traceback(
    run, tmp_path, capsys, arguments, message
):
    (tmp_path / 'mine.txt').write_text('keep me')
    with pytest.raises(SystemExit) as exit_:
        run(tmp_path, *arguments)
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ['mine.txt']


def test_simple_gives_one_person_to_a_picture(run, tmp_path):
    run(tmp_path, '--simple', '--format', 'coco', '--num-train', 3, '--num-val', 1)
    file = tmp_path / 'coco/annotations/person_keypoints_train2017.json'
    people = json.loads(file.read_text())['annotations']
    assert [person['image_id'] for person in people] == [1, 2, 3]
