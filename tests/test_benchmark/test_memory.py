"""Peak memory, by allocating some."""

import sys

import numpy as np
import pytest

from ldcrn_mm.benchmark import memory
from ldcrn_mm.benchmark.memory import PeakMemory

MIB = 2**20
on_linux = pytest.mark.skipif(sys.platform != 'linux', reason='/proc is of Linux')


def touch(size):
    return np.ones(size, np.uint8)


@on_linux
def test_what_was_held_at_most_counts_after_it_is_free():
    peak = PeakMemory()
    touch(200 * MIB)  # and freed
    assert 190 * MIB < peak.bytes() < 260 * MIB


@on_linux
def test_what_was_held_before_does_not_count():
    touch(200 * MIB)
    held = touch(100 * MIB)
    peak = PeakMemory()
    assert peak.bytes() < 20 * MIB
    assert held[0]


def test_other_systems_have_the_usage_of_resources(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, 'STATUS', tmp_path / 'none')
    monkeypatch.setattr(memory, 'CLEAR', tmp_path / 'none' / 'none')
    assert memory.resident_bytes() == memory.peak_bytes() > 50 * MIB
    assert PeakMemory().bytes() == 0
