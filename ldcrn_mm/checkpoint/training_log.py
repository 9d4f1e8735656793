"""What MMEngine logged of a training: its epochs and validations."""

import json
from dataclasses import dataclass, field
from pathlib import Path

TIMES = ('data_time', 'time', 'step')  # beside the metrics in an entry
LOWER_IS_BETTER = ('EPE', 'MPJPE', 'NME', 'loss')


@dataclass
class TrainingLog:
    """A training by epochs, as its log states it.

    Attributes:
        losses: those that were logged, by epoch.
        learning_rates: the first and the last.
        validations: the metrics by the epoch after which they were measured.
    """

    losses: dict[int, list[float]]
    learning_rates: tuple[float, float]
    validations: dict[int, dict[str, float]] = field(default_factory=dict)

    @property
    def epochs(self) -> int:
        """Number of the last one trained in."""
        return max(self.losses)

    @property
    def loss(self) -> float:
        """The last."""
        return self.losses[self.epochs][-1]

    def best(self, metric: str) -> int:
        """The first epoch with the best value of ``metric``.

        Higher is better, but for errors such as ``EPE`` and for losses.
        """
        name = metric.rpartition('/')[2]
        sign = -1 if name.startswith(LOWER_IS_BETTER) else 1
        measured = {e: v[metric] for e, v in self.validations.items() if metric in v}
        return max(measured, key=lambda epoch: sign * measured[epoch])


def read_log(path: str | Path) -> TrainingLog:
    """Reads a work dir, all its runs, or the ``scalars.json`` of one run.

    Of several runs what led to the end counts: one that was resumed takes the place
    of the epochs that it did again, one that was started anew that of all before; one
    that only made up for a validation adds it.

    Raises:
        FileNotFoundError: where there is no such file or no log in the folder.
        ValueError: where it is no log of a training by MMEngine.
    """
    trained: list[dict] = []
    validations: dict[int, dict[str, float]] = {}
    for file in _files(Path(path)):
        entries = _entries(file)
        run = [entry for entry in entries if 'epoch' in entry]
        if run:  # not where it was killed before that, or made up for a validation
            begin = run[0]['epoch']  # 1 where it was started anew
            trained = [entry for entry in trained if entry['epoch'] < begin] + run
            validations = {e: v for e, v in validations.items() if e < begin}
        for entry in entries:
            if 'epoch' not in entry and entry['step'] > 0:  # 0 where it was a test
                validations[entry['step']] = _metrics(entry)
    if not trained:
        raise ValueError(
            f'{path} is the log of no training: expected the work dir or scalars.json '
            'of one by epochs, but it has no epochs in it.'
        )
    losses: dict[int, list[float]] = {}
    for entry in trained:
        losses.setdefault(entry['epoch'], []).append(entry['loss'])
    return TrainingLog(losses, (trained[0]['lr'], trained[-1]['lr']), validations)


def _files(path: Path) -> list[Path]:
    """The logs of all runs, oldest first."""
    if not path.is_dir():
        if not path.is_file():
            raise FileNotFoundError(f'log not found: {path}')
        return [path]
    files = sorted(path.glob('*/vis_data/scalars.json'))
    if not files:
        raise FileNotFoundError(
            f'No log of a training in {path}: expected */vis_data/scalars.json.'
        )
    return files


def _entries(file: Path) -> list[dict]:
    """What MMEngine logged; without a last line that a kill has torn."""
    lines = file.read_bytes().splitlines()
    entries = []
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
        except ValueError as error:
            if number == len(lines):
                break
            raise _no_log(file, number, str(error)) from error
        if not isinstance(entry, dict):
            raise _no_log(file, number, 'it is none')
        missing = [key for key in _expected(entry) if key not in entry]
        if missing:
            raise _no_log(file, number, f'it has no {missing[0]!r}')
        entries.append(entry)
    return entries


def _expected(entry: dict) -> tuple[str, ...]:
    return ('step', 'loss', 'lr') if 'epoch' in entry else ('step',)


def _no_log(file: Path, line: int, reason: str) -> ValueError:
    return ValueError(
        f'{file} is no log: expected the scalars.json of MMEngine, a JSON object a '
        f'line, but found line {line}: {reason}.'
    )


def _metrics(entry: dict) -> dict[str, float]:
    return {name: value for name, value in entry.items() if name not in TIMES}
