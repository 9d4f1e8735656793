"""What MMEngine logged of a training: its epochs and validations."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from ..report import read_scalars

TIMES = ('data_time', 'time', 'step')  # beside the metrics in an entry
LOWER_IS_BETTER = ('EPE', 'MPJPE', 'NME', 'loss')


@dataclass
class TrainingLog:
    """A training by epochs, as its log states it.

    Attributes:
        epochs: number of the last one trained in.
        learning_rates: the first and the last.
        loss: the last.
        validations: the metrics by the epoch after which they were measured.
    """

    epochs: int = 0
    learning_rates: tuple[float, float] = (0.0, 0.0)
    loss: float = 0.0
    validations: dict[int, dict[str, float]] = field(default_factory=dict)

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

    Where a run was resumed, what it did again counts.

    Raises:
        FileNotFoundError: where there is no such file or no log in the folder.
        ValueError: where it is no log of a training by MMEngine.
    """
    try:
        entries = read_scalars(path) if Path(path).is_dir() else _read_file(path)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f'{path} is no log: expected the scalars.json of MMEngine, a JSON object '
            f'a line ({error}).'
        ) from error
    log = TrainingLog()
    last_step = 0
    for entry in entries:
        if 'loss' not in entry or 'epoch' not in entry:
            log.validations[entry['step']] = _metrics(entry)
            continue
        if entry['step'] <= last_step:  # resumed: forget what is done again
            log.validations = {
                e: v for e, v in log.validations.items() if e < entry['epoch']
            }
        last_step, log.epochs, log.loss = entry['step'], entry['epoch'], entry['loss']
        first = log.learning_rates[0] if log.learning_rates[0] else entry['lr']
        log.learning_rates = (first, entry['lr'])
    if not log.epochs:
        raise ValueError(f'{path} is the log of no training: it has no epochs in it.')
    return log


def _read_file(path: str | Path) -> list[dict]:
    if not Path(path).is_file():
        raise FileNotFoundError(f'log not found: {path}')
    lines = Path(path).read_text(encoding='utf-8').splitlines()
    return [json.loads(line) for line in lines]


def _metrics(entry: dict) -> dict[str, float]:
    return {name: value for name, value in entry.items() if name not in TIMES}
