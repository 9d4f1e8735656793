"""A tiny network, and contenders that are timed in the process of the tests."""

from functools import partial

import numpy as np
import pytest

from ldcrn_mm.benchmark import candidates, end_to_end, inference, loading, training
from ldcrn_mm.benchmark.rounds import Schedule, compare
from ldcrn_mm.benchmark.worker import Bench, ContenderError, one_line


@pytest.fixture(scope='session')
def tiny(root, tiny_model, tmp_path_factory):
    """The path of a config."""
    file = tmp_path_factory.mktemp('config') / 'tiny.py'
    file.write_text(f"_base_ = ['{root}/configs/ldcrn_coco.py']\n{tiny_model}")
    return str(file)


@pytest.fixture
def schedule():
    return Schedule(threads=1, rounds=2, warm_up=1, min_time=0.001)


class InThisProcess:
    """What a worker does, without the seconds that a process takes to start."""

    def __init__(self, contender, threads):
        self.bench = self.answer(Bench, contender, threads)

    def answer(self, method, *arguments):
        try:
            return method(*arguments)
        except Exception as error:
            raise ContenderError(one_line(error)) from error

    def warm_up(self, case, calls):
        return self.answer(self.bench.warm_up, case, calls)

    def time(self, case, min_time):
        return self.answer(self.bench.time, case, min_time)

    def close(self):
        pass


@pytest.fixture
def in_this_process(monkeypatch):
    for module in (inference, training, loading, end_to_end):
        monkeypatch.setattr(module, 'compare', partial(compare, start=InThisProcess))
    monkeypatch.setattr(
        inference,
        'prepare_apart',
        lambda found, forms, folder: [
            one if one.config is None else candidates.prepare(one, forms, folder)
            for one in found
        ],
    )


@pytest.fixture
def random():
    return np.random.default_rng(0)
