"""Contenders in processes: requests, answers, errors, and what ends them."""

import os
import sys
from multiprocessing import Pipe
from pathlib import Path
from threading import Thread

import pytest
import torch

from ldcrn_mm.benchmark import worker
from ldcrn_mm.benchmark.worker import (
    Bench,
    Contender,
    ContenderError,
    Worker,
    one_line,
    serve,
)


@pytest.fixture
def toy(monkeypatch):
    """The module, where a new process finds it too."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    import toy_contender

    yield toy_contender
    del sys.modules['toy_contender']


@pytest.fixture(autouse=True)
def threads_as_before():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_bench_counts_its_warm_up_and_times_what_was_warmed():
    calls = []
    contender = Contender(
        'counting',
        lambda step: lambda case: lambda: calls.append(case + step),
        {'step': 1},
    )
    bench = Bench(contender, threads=1)
    assert bench.warm_up(10, calls=4) >= 0
    assert calls == [11] * 4
    assert bench.time(10, min_time=1e-4) > 0
    assert len(calls) > 5  # an untimed one, and at least one that was timed
    assert set(calls) == {11}
    with pytest.raises(KeyError):
        bench.time(20, min_time=1e-4)


def test_a_bench_sets_the_threads():
    seen = []
    contender = Contender(
        'x', lambda: lambda case: lambda: seen.append(torch.get_num_threads())
    )
    bench = Bench(contender, threads=3)
    bench.warm_up(1, 1)
    bench.time(1, 1e-4)
    assert set(seen) == {3}


def test_the_median_of_the_calls(monkeypatch):
    class Timer:
        def __init__(self, statement, globals, num_threads):
            self.call = globals['call']

        def blocked_autorange(self, min_run_time):
            self.call()
            assert min_run_time == 0.5
            return type('Measurement', (), dict(median=3, mean=4))

    monkeypatch.setattr(worker, 'Timer', Timer)
    bench = Bench(Contender('x', lambda: lambda case: lambda: None), 1)
    bench.warm_up(1, 1)
    assert bench.time(1, 0.5) == 3


@pytest.fixture
def ask(toy, monkeypatch):
    """Requests to :func:`serve`, which runs in a thread."""
    monkeypatch.setattr(worker, 'keep_quiet', lambda: None)
    ours, theirs = Pipe()
    contender = Contender('toy', toy.build)
    thread = Thread(target=serve, args=(theirs, contender, 1))
    thread.start()

    def request(*words):
        ours.send(words)
        assert ours.poll(60), 'no answer'
        return ours.recv()

    yield request
    ours.close()
    thread.join(timeout=60)
    assert not thread.is_alive()


def test_errors_are_answers_and_the_next_request_is_heard(ask):
    assert ask('build') == (None, None)
    assert ask('warm_up', 'error', 1) == (None, 'RuntimeError: no such operator')
    memory, error = ask('warm_up', 'fine', 1)
    assert error is None
    assert memory >= 0
    seconds, error = ask('time', 'fine', 1e-4)
    assert error is None
    assert seconds > 0


def test_an_error_is_one_line():
    assert one_line(ValueError('this\n\n  and that')) == 'ValueError: this and that'
    assert one_line(KeyError()) == 'KeyError'
    assert len(one_line(ValueError('x' * 9999))) < 600


def test_a_process_of_its_own_that_ends(toy, tmp_path, capfd):
    contender = Contender('toy', toy.build, dict(folder=str(tmp_path)))
    process = Worker(contender, threads=3)
    process.warm_up('environment', 1)
    pid, *threads = map(int, (tmp_path / 'environment').read_text().split())
    assert pid != os.getpid()
    assert threads == [3, 3, 3]
    assert process.time('environment', 1e-4) > 0
    process.warm_up('processes', 1)  # it may have some of its own
    with pytest.raises(ContenderError, match='RuntimeError: no such operator'):
        process.warm_up('error', 1)
    with pytest.raises(ContenderError, match='its process ended with status 7'):
        process.warm_up('exit', 1)
    with pytest.raises(ContenderError, match='its process ended'):
        process.time('environment', 1e-4)
    process.close()
    assert 'OMP_NUM_THREADS' not in capfd.readouterr().out


def test_what_cannot_be_built_leaves_no_process(toy, capfd):
    with pytest.raises(ContenderError, match='ValueError: it cannot be built, not at'):
        Worker(Contender('toy', toy.build, dict(broken=True)), threads=1)
    assert not worker.get_context('spawn').active_children()
