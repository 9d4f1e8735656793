"""Whose turn it is, and what becomes of one that fails."""

import pytest

from ldcrn_mm.benchmark.rounds import Schedule, compare, turns
from ldcrn_mm.benchmark.worker import Contender, ContenderError


class Fake:
    """Writes down what it is asked for; fails as its options say."""

    log: list

    def __init__(self, contender, threads):
        self.name, self.options = contender.name, contender.options
        self.note('start', threads)

    def note(self, what, *details):
        self.log.append((self.name, what, *details))
        if (what, *details) == self.options.get('fails'):
            raise ContenderError(f'{what} went wrong')

    def warm_up(self, case, calls):
        self.note('warm up', case, calls)
        return 1000 * case

    def time(self, case, min_time):
        self.note('time', case)
        return case * min_time

    def close(self):
        self.log.append((self.name, 'close'))


@pytest.fixture(autouse=True)
def log(monkeypatch):
    calls = []
    monkeypatch.setattr(Fake, 'log', calls, raising=False)
    return calls


def contender(name, *cases, **options):
    return Contender(name, None, options, cases)


def run(*contenders, rounds=2):
    return compare(contenders, Schedule(3, rounds, 5, 0.25), start=Fake)


def test_rounds_alternate_their_order():
    three = [contender(name, 1) for name in 'abc']
    assert turns(three, 0) == [(0, 1), (1, 1), (2, 1)]
    assert turns(three, 1) == [(2, 1), (1, 1), (0, 1)]
    assert turns(three, 2) == turns(three, 0)


def test_contenders_of_a_case_follow_each_other():
    some = [contender('a', 1, 8), contender('b', 1, 8), contender('c', 8, 'x')]
    assert turns(some, 0) == [(0, 1), (1, 1), (0, 8), (1, 8), (2, 8), (2, 'x')]


def test_all_are_warm_before_the_first_is_timed(log):
    run(contender('a', 1, 2), contender('b', 1))
    assert log == [
        ('a', 'start', 3),
        ('a', 'warm up', 1, 5),
        ('a', 'warm up', 2, 5),
        ('b', 'start', 3),
        ('b', 'warm up', 1, 5),
        ('a', 'time', 1),
        ('b', 'time', 1),
        ('a', 'time', 2),
        ('a', 'time', 2),
        ('b', 'time', 1),
        ('a', 'time', 1),
        ('b', 'close'),
        ('a', 'close'),
    ]


def test_a_measurement_has_a_time_for_each_round_and_case():
    (found,) = run(contender('a', 1, 2), rounds=3)
    assert found.times == {1: [0.25] * 3, 2: [0.5] * 3}
    assert found.memory == {1: 1000, 2: 2000}
    assert not found.errors


@pytest.mark.parametrize(
    ('fails', 'error', 'left'),
    [
        (('start', 3), {1: 'start went wrong', 2: 'start went wrong'}, set()),
        (('warm up', 2, 5), {2: 'warm up went wrong'}, {1}),
        (('time', 1), {1: 'time went wrong'}, {2}),
    ],
)
def test_one_that_fails_does_not_keep_the_others(fails, error, left, log):
    good, bad, last = run(
        contender('good', 1, 2), contender('bad', 1, 2, fails=fails), contender('c', 1)
    )
    assert bad.errors == error
    assert set(bad.times) == left
    assert not good.errors
    assert not last.errors
    assert len(good.times[1]) == len(good.times[2]) == len(last.times[1]) == 2
    assert log.count(('bad', *fails[:2])) <= 1


def test_what_failed_in_a_later_round_has_no_times(monkeypatch):
    times = iter([1.0])

    def time(self, case, min_time):
        try:
            return next(times)
        except StopIteration:
            raise ContenderError('out of memory') from None

    monkeypatch.setattr(Fake, 'time', time)
    (found,) = run(contender('a', 1), rounds=3)
    assert found.times == {}
    assert found.errors == {1: 'out of memory'}


def test_what_is_known_to_fail_is_not_started(log):
    broken = Contender('broken', None, {}, (1, 8), error='not exported')
    (found,) = run(broken)
    assert found.errors == {1: 'not exported', 8: 'not exported'}
    assert log == []


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        (dict(threads=0), 'threads has to be at least 1, but is 0'),
        (dict(rounds=0), 'rounds has to be at least 1'),
        (dict(warm_up=-1), 'warm_up has to be at least 1'),
        (dict(min_time=0), 'min_time has to be positive'),
        (dict(min_time=float('nan')), 'min_time has to be positive'),
    ],
)
def test_a_schedule_that_makes_no_sense(wrong, message):
    with pytest.raises(ValueError, match=message):
        Schedule(**wrong)
