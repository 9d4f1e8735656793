"""Reading MMEngine's log, also of a training that was resumed or restarted."""

import json
from pathlib import Path

import pytest

from ldcrn_mm.report import read_log


def trained(epoch: int, loss: float = 1.0) -> dict:
    return dict(lr=0.1, data_time=0.1, loss=loss, epoch=epoch, iter=epoch, step=epoch)


def validated(epoch: int, ap: float) -> dict:
    """``validated`` is a key of our training that MMEngine takes for a metric."""
    return dict(AP=ap, data_time=0.1, time=0.2, step=epoch, validated=epoch)


def write(folder: Path, run: str, *entries: dict) -> Path:
    file = folder / run / 'vis_data' / 'scalars.json'
    file.parent.mkdir(parents=True)
    file.write_text(''.join(f'{json.dumps(entry)}\n' for entry in entries))
    return file


def read(path: Path) -> tuple[dict, dict]:
    """Losses and metrics by epoch."""
    log, losses = read_log(path), {}
    for entry in log.steps:
        losses.setdefault(entry['epoch'], []).append(entry['loss'])
    return losses, log.validations


FIRST = (
    trained(1, 0.95),
    trained(1, 0.9),
    validated(1, 0.1),
    trained(2, 0.8),
    validated(2, 0.3),
)
LOSSES, VALIDATIONS = {1: [0.95, 0.9], 2: [0.8]}, {1: dict(AP=0.1), 2: dict(AP=0.3)}


@pytest.mark.parametrize(
    ('runs', 'losses', 'validations'),
    [
        ([FIRST], LOSSES, VALIDATIONS),
        # resumed: after epoch 2, in it, and killed in it once more before that
        ([FIRST, [trained(3)]], LOSSES | {3: [1.0]}, VALIDATIONS),
        ([FIRST, [trained(2, 0.5)]], LOSSES | {2: [0.5]}, {1: dict(AP=0.1)}),
        (
            [FIRST, [trained(2, 0.6)], [trained(2, 0.5), validated(2, 0.4)]],
            LOSSES | {2: [0.5]},
            VALIDATIONS | {2: dict(AP=0.4)},
        ),
        # resumed for the validation that the kill fell into
        ([FIRST[:-1], [validated(2, 0.3)]], LOSSES, VALIDATIONS),
        # started anew
        ([FIRST, [trained(1, 0.7)]], {1: [0.7]}, {}),
        # a run that was killed at once, and a test
        ([FIRST, [], [validated(0, 0.9)]], LOSSES, VALIDATIONS),
    ],
)
def test_what_led_to_the_end_counts(tmp_path, runs, losses, validations):
    for i in reversed(range(len(runs))):  # their names tell the order
        write(tmp_path, f'2026010{i}_000000', *runs[i])
    assert read(tmp_path) == (losses, validations)


@pytest.mark.parametrize('torn', ['', '{"lr": 0.1, "lo', '{"lr": 0.1\n', '\0\0\0'])
def test_one_run_without_a_torn_last_line(tmp_path, torn):
    file = write(tmp_path, '1', *FIRST)
    file.write_text(file.read_text() + torn)
    assert read(file) == (LOSSES, VALIDATIONS)


def test_a_training_by_iterations(tmp_path):
    steps = [dict(loss=1.0, step=step) for step in (10, 20, 30, 40)]
    write(tmp_path, '1', *steps[:2], dict(AP=0.1, step=20), steps[2])
    write(tmp_path, '2', *steps[2:], dict(AP=0.2, step=40))
    assert read_log(tmp_path) == (steps, {20: dict(AP=0.1), 40: dict(AP=0.2)})


def test_a_missing_log_is_named(tmp_path):
    for path in (tmp_path / 'none.json', tmp_path):
        with pytest.raises(FileNotFoundError, match=path.name):
            read_log(path)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('{"step": 1, "AP": 1}\n{"lo\n{"step": 2}\n', 'Line 2: Unterminated'),
        ('{"images": []}\n', "Line 1: 'step'"),
        ('{"epoch": 1, "step": 1, "lr": 1}\n', "Line 1: 'loss'"),
        *((f'{{"step": {value}}}\n', 'Line 1') for value in ('"9"', 'null', '[9]')),
        (f'{{"step": 1, "loss": 1{"0" * 400}, "lr": 0.1}}\n', 'Line 1'),
        ('[' * 10_000 + '\n', 'Line 1'),
        ('[1, 2]\n', 'Line 1'),
        ('3\n', 'Line 1'),
        ('', 'no losses'),
        ('{"step": 9}\n', 'no losses'),
        ('{"step": 0, "AP": 0.5}\n', 'no losses'),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    (tmp_path / 'other.json').write_text(content)
    with pytest.raises(ValueError, match=rf'other\.json is not .*{message}'):
        read_log(tmp_path / 'other.json')
