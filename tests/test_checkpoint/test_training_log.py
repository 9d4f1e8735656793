"""What a log of MMEngine says, also of a training that was resumed."""

import json
from pathlib import Path

import pytest

from ldcrn_mm.checkpoint.training_log import read_log


def trained(step: int, epoch: int, lr: float = 0.1, loss: float = 1.0) -> dict:
    return dict(lr=lr, data_time=0.1, loss=loss, epoch=epoch, iter=step, step=step)


def validated(epoch: int, **metrics: float) -> dict:
    return dict(**metrics, data_time=0.1, time=0.2, step=epoch)


def write(folder: Path, run: str, *entries: dict) -> Path:
    file = folder / run / 'vis_data' / 'scalars.json'
    file.parent.mkdir(parents=True)
    file.write_text(''.join(f'{json.dumps(entry)}\n' for entry in entries))
    return file


FIRST = (
    trained(5, 1, lr=0.1, loss=0.9),
    validated(1, AP=0.1),
    trained(10, 2, lr=0.2, loss=0.8),
    validated(2, AP=0.3),
    trained(15, 3, lr=0.2, loss=0.7),
    validated(3, AP=0.2),
)


@pytest.mark.parametrize('form', ['file', 'folder'])
def test_epochs_rates_loss_and_validations(tmp_path, form):
    file = write(tmp_path, '1', *FIRST)
    log = read_log(file if form == 'file' else tmp_path)
    assert log.epochs == 3
    assert log.learning_rates == (0.1, 0.2)
    assert log.loss == 0.7
    assert log.validations == {1: dict(AP=0.1), 2: dict(AP=0.3), 3: dict(AP=0.2)}


def test_what_a_resumed_run_did_again_counts(tmp_path):
    write(tmp_path, '1', *FIRST)
    again = (trained(10, 2, lr=0.05, loss=0.5), validated(2, AP=0.25))
    write(tmp_path, '2', *again)
    log = read_log(tmp_path)
    assert (log.epochs, log.loss, log.learning_rates) == (2, 0.5, (0.1, 0.05))
    assert log.validations == {1: dict(AP=0.1), 2: dict(AP=0.25)}


def test_values_of_epochs_that_are_done_again_are_forgotten(tmp_path):
    write(tmp_path, '1', *FIRST)
    write(tmp_path, '2', trained(8, 2))
    assert read_log(tmp_path).validations == {1: dict(AP=0.1)}


def test_a_run_that_was_killed_in_its_first_epoch_again_is_gone(tmp_path):
    write(tmp_path, '1', *FIRST)
    write(tmp_path, '2', trained(10, 2, loss=0.6))
    write(tmp_path, '3', trained(11, 2, loss=0.5), validated(2, AP=0.4))
    log = read_log(tmp_path)
    assert log.losses == {1: [0.9], 2: [0.5]}
    assert log.validations == {1: dict(AP=0.1), 2: dict(AP=0.4)}


def test_a_run_that_was_started_anew_discards_those_before(tmp_path):
    write(tmp_path, '1', *FIRST)
    longer_epochs = trained(50, 1, lr=0.3, loss=0.6)  # its steps go on from the first's
    write(tmp_path, '2', longer_epochs)
    log = read_log(tmp_path)
    assert (log.losses, log.learning_rates) == ({1: [0.6]}, (0.3, 0.3))
    assert log.validations == {}


def test_a_run_without_a_training_changes_nothing(tmp_path):
    write(tmp_path, '1', *FIRST)
    write(tmp_path, '2')
    write(tmp_path, '3', validated(0, AP=0.9))
    log = read_log(tmp_path)
    assert log.epochs == 3
    assert list(log.validations) == [1, 2, 3]


def test_a_validation_that_a_resumed_run_made_up_for_is_added(tmp_path):
    write(tmp_path, '1', *FIRST[:-1])
    write(tmp_path, '2', validated(3, AP=0.4))
    log = read_log(tmp_path)
    assert log.validations == {1: dict(AP=0.1), 2: dict(AP=0.3), 3: dict(AP=0.4)}


def test_runs_are_read_oldest_first(tmp_path):
    write(tmp_path, '20260102_000000', trained(10, 2))
    write(tmp_path, '20260101_000000', trained(5, 1))
    assert list(read_log(tmp_path).losses) == [1, 2]


def test_higher_is_better_but_for_errors(tmp_path):
    values = [(0.1, 9.0), (0.3, 5.0), (0.3, 5.0), (0.2, 7.0)]
    entries = [
        validated(i, **{'coco/AP': ap, 'EPE': epe, 'x/NME': epe})
        for i, (ap, epe) in enumerate(values, 1)
    ]
    log = read_log(write(tmp_path, '1', trained(1, 1), *entries))
    assert [log.best(name) for name in ('coco/AP', 'EPE', 'x/NME')] == [2, 2, 2]


def test_a_metric_that_came_later_has_a_best(tmp_path):
    entries = [validated(1, AP=0.9), validated(2, AP=0.5, AR=0.5)]
    log = read_log(write(tmp_path, '1', trained(1, 1), *entries))
    assert (log.best('AR'), log.best('AP')) == (2, 1)


@pytest.mark.parametrize('torn', ['{"lr": 0.1, "lo', '{"lr": 0.1\n', '\0\0\0'])
def test_a_last_line_that_a_kill_has_torn_is_left_out(tmp_path, torn):
    file = write(tmp_path, '1', *FIRST)
    file.write_text(file.read_text() + torn)
    write(tmp_path, '2', trained(20, 4))
    log = read_log(tmp_path)
    assert list(log.losses) == [1, 2, 3, 4]
    assert list(log.validations) == [1, 2, 3]


def test_a_missing_log_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'log not found: .*none\.json'):
        read_log(tmp_path / 'none.json')
    with pytest.raises(FileNotFoundError, match='No log of a training'):
        read_log(tmp_path)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('{"step": 1, "AP": 1}\n{"lo\n{"step": 2}\n', 'found line 2: Unterminated'),
        ('{"images": []}\n', "found line 1: it has no 'step'"),
        ('{"epoch": 1, "step": 1, "lr": 1}\n', "found line 1: it has no 'loss'"),
        ('[1, 2]\n', 'found line 1: it is none'),
    ],
)
def test_what_is_no_log_is_an_error(tmp_path, content, message):
    file = tmp_path / 'other.json'
    file.write_text(content)
    with pytest.raises(ValueError, match=rf'other\.json is no log: .*{message}'):
        read_log(file)


@pytest.mark.parametrize('entries', [[], [validated(0, AP=0.5)], [dict(step=9)]])
def test_a_log_without_epochs_is_of_no_training(tmp_path, entries):
    with pytest.raises(ValueError, match='has no epochs in it'):
        read_log(write(tmp_path, '1', *entries))
