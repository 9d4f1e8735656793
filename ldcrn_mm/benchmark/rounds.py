"""Contenders take turns: A B C, C B A, A B C, ...

References:
    [1] Georges, Buytaert, Eeckhout: "Statistically rigorous Java performance
        evaluation", OOPSLA 2007: fresh processes, many of them, and intervals
        instead of the best of some runs.
"""

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Any

from mmengine.utils import ProgressBar

from .worker import Case, Contender, ContenderError, Worker


@dataclass
class Measurement:
    """What was measured of one contender.

    Attributes:
        contender: which.
        times: for each case the seconds of a call, one value a round: the
            median of its calls.
        memory: for each case the peak in bytes, that of the cases before it
            included.
        errors: what went wrong, for each case where something did; these have
            no times.
    """

    contender: Contender
    times: dict[Case, list[float]] = field(default_factory=dict)
    memory: dict[Case, int] = field(default_factory=dict)
    errors: dict[Case, str] = field(default_factory=dict)

    def fail(self, cases: Sequence[Case], error: str) -> None:
        """Notes an error of some cases, and forgets what they took."""
        for case in cases:
            self.errors[case] = error
            self.times.pop(case, None)


def turns(contenders: Sequence[Contender], number: int) -> list[tuple[int, Case]]:
    """Who is timed with what in a round, in this order.

    A case's contenders follow each other; every other round runs backwards, so
    that nobody always comes after the same, or later in a machine that heats.

    Args:
        contenders: of them the indices are returned.
        number: of the round, from 0.
    """
    cases = dict.fromkeys(case for one in contenders for case in one.cases)
    order = [
        (index, case)
        for case in cases
        for index, one in enumerate(contenders)
        if case in one.cases
    ]
    return order[:: -1 if number % 2 else 1]


@dataclass(frozen=True)
class Schedule:
    """How often and how long contenders are timed.

    Attributes:
        threads: for each of them.
        rounds: how often each has its turn.
        warm_up: calls of each case before the first round, untimed.
        min_time: seconds of calls in a turn; each begins with an untimed one.

    Raises:
        ValueError: where one of them makes no sense.
    """

    threads: int = 1
    rounds: int = 10
    warm_up: int = 3
    min_time: float = 0.5

    def __post_init__(self) -> None:
        for name in ('threads', 'rounds', 'warm_up'):
            if getattr(self, name) < 1:
                raise ValueError(
                    f'{name} has to be at least 1, but is {getattr(self, name)}.'
                )
        if not self.min_time > 0:
            raise ValueError(f'min_time has to be positive, but is {self.min_time}.')


def compare(
    contenders: Sequence[Contender],
    schedule: Schedule,
    start: Callable[[Contender, int], Any] = Worker,
) -> list[Measurement]:
    """Times contenders in turn.

    One that fails does not keep the others from going on.

    Args:
        contenders: what to time.
        schedule: how often and how long.
        start: gives a contender with its threads a process.

    Returns:
        A measurement for each contender.
    """
    measurements = [Measurement(one) for one in contenders]
    with ExitStack() as stack:
        workers = [
            _started(measurement, schedule, start, stack)
            for measurement in measurements
        ]
        progress = ProgressBar(schedule.rounds, file=sys.stderr)
        for number in range(schedule.rounds):
            for index, case in turns(contenders, number):
                if case not in measurements[index].errors:
                    _take_turn(
                        measurements[index], workers[index], case, schedule.min_time
                    )
            progress.update()
        print(file=sys.stderr)
    return measurements


def _started(
    measurement: Measurement,
    schedule: Schedule,
    start: Callable[[Contender, int], Any],
    stack: ExitStack,
) -> Any:
    """A worker that is warm, ``None`` where there is none."""
    contender = measurement.contender
    if contender.error:
        measurement.fail(contender.cases, contender.error)
        return None
    print(f'Starting {contender.name}', file=sys.stderr)
    try:
        worker = stack.enter_context(closing(start(contender, schedule.threads)))
    except ContenderError as error:
        measurement.fail(contender.cases, str(error))
        return None
    for case in contender.cases:
        try:
            measurement.memory[case] = worker.warm_up(case, schedule.warm_up)
        except ContenderError as error:
            measurement.fail([case], str(error))
    return worker


def _take_turn(
    measurement: Measurement, worker: Any, case: Case, min_time: float
) -> None:
    try:
        seconds = worker.time(case, min_time)
    except ContenderError as error:
        measurement.fail([case], str(error))
    else:
        measurement.times.setdefault(case, []).append(seconds)
