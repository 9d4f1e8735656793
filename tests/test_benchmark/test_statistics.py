"""Medians, quartiles, ratios: against numpy and against numbers by hand."""

import statistics

import numpy as np
import pytest

from ldcrn_mm.benchmark.statistics import Summary, rates, ratios


@pytest.mark.parametrize('count', [2, 3, 10, 11])
def test_quartiles_are_those_of_the_standard_library(random, count):
    values = random.exponential(size=count).tolist()
    found = Summary.of(values)
    expected = statistics.quantiles(values, n=4, method='inclusive')
    np.testing.assert_allclose((found.lower, found.median, found.upper), expected)
    assert found.median == pytest.approx(np.median(values))


def test_quartiles_by_hand():
    assert Summary.of([5, 1, 4, 2, 3]) == Summary(lower=2, median=3, upper=4)
    assert Summary.of([7.0]) == Summary(7, 7, 7)


def test_the_spread_is_a_part_of_the_median():
    assert Summary(lower=9, median=10, upper=12).spread == pytest.approx(0.3)


def test_ratios_are_taken_within_a_round():
    # The machine is ten times slower in the second round, for both.
    found = ratios([2, 20, 2.2], [1, 10, 1])
    assert found == Summary.of([2, 2, 2.2])
    assert found.median == 2


def test_rates_of_what_is_done_in_a_call():
    found = rates([0.5, 1, 2], amount=8)
    assert (found.lower, found.median, found.upper) == (6, 8, 12)


def test_no_values_and_other_rounds_are_refused():
    with pytest.raises(ValueError, match='no values'):
        Summary.of([])
    with pytest.raises(ValueError, match='there are 1 and 2 rounds'):
        ratios([1], [1, 2])
