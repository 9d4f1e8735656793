"""Results as plain data, which go into JSON."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from . import machine
from .rate import best_rate
from .rounds import Measurement
from .statistics import Summary, rates, ratios


def describe_run(benchmark: str, settings: dict[str, Any], device: str) -> dict:
    """What is known before anything is timed.

    Args:
        benchmark: what kind it is.
        settings: of the run: threads, rounds and so on.
        device: such as ``'cpu'``.
    """
    return dict(
        benchmark=benchmark,
        date=datetime.now(UTC).isoformat(timespec='seconds'),
        command=machine.command(),
        commit=machine.commit(),
        versions=machine.versions(),
        machine=machine.describe(device),
        settings=settings,
        load_average=dict(before=machine.load_average()),
    )


def add_results(record: dict, measurements: Sequence[Measurement]) -> None:
    """Adds what was measured; ratios are against the first contender's first case.

    Of other cases the ratio is against the first contender's same case, where
    it has it.

    Args:
        record: of :func:`describe_run`, changed in place.
        measurements: the first is the reference.
    """
    reference = measurements[0].times
    record['contenders'] = [_result(one, reference) for one in measurements]
    after = machine.load_average()
    record['load_average']['after'] = after
    spreads = [Summary.of(times).spread for times in reference.values()]
    record['doubts'] = machine.doubts(
        record['load_average']['before'],
        after,
        record['settings']['threads'],
        max(spreads, default=None),
    )


def _result(measurement: Measurement, reference: dict) -> dict:
    contender = measurement.contender
    cases = {}
    for case in contender.cases:
        if case in measurement.errors:
            cases[str(case)] = dict(error=measurement.errors[case])
            continue
        times = measurement.times[case]
        cases[str(case)] = dict(
            seconds=asdict(Summary.of(times)),
            rounds=times,
            peak_memory=measurement.memory[case],
        )
        if case in reference:
            cases[str(case)]['ratio'] = asdict(ratios(times, reference[case]))
    return dict(name=contender.name, options=contender.options, cases=cases)


def add_throughput(result: dict) -> None:
    """Adds images a second to the cases of a result, which are batch sizes."""
    for batch, case in result['cases'].items():
        if 'rounds' in case:
            case['images_per_second'] = asdict(rates(case['rounds'], int(batch)))


def add_rates(record: dict, measured: dict[str, Measurement]) -> None:
    """Adds the machine's best rate in each precision, and the share of it.

    The share of a contender is that of its multiply-adds a second at batch 1,
    round by round; of what was not counted, or in a precision without a best
    rate, there is none.

    Args:
        record: with contenders that have ``multiply_adds``.
        measured: by precision; of :func:`.rate.contender`.
    """
    record['best_rate'] = {}
    for precision, measurement in measured.items():
        found = best_rate(measurement)
        if found is None:
            errors = ', '.join(sorted(set(measurement.errors.values())))
            record['best_rate'][precision] = dict(error=errors)
            continue
        product, values = found
        summary = asdict(Summary.of(values))
        record['best_rate'][precision] = dict(
            product=product,
            multiply_adds_per_second=summary,
            rounds=list(values),
            all={
                name: asdict(Summary.of(times))
                for name, times in measurement.times.items()
            },
        )
        for result in record['contenders']:
            _add_share(result, precision, values)


def _add_share(result: dict, precision: str, best: Sequence[float]) -> None:
    case = result['cases'].get('1', {})
    work = result.get('multiply_adds')
    if work and 'rounds' in case and result['options'].get('precision') == precision:
        shares = [work / t / rate for t, rate in zip(case['rounds'], best)]
        case['share_of_best_rate'] = asdict(Summary.of(shares))
