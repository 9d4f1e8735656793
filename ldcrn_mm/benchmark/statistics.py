"""Medians, quartiles and ratios of measurements that were taken in rounds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np


@dataclass(frozen=True)
class Summary:
    """The middle of some values and how far they spread.

    Attributes:
        lower: the first quartile.
        median: the second.
        upper: the third.
    """

    lower: float
    median: float
    upper: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Quartiles, interpolated linearly between the values.

        Raises:
            ValueError: where there are no values.
        """
        if not len(values):
            raise ValueError('There are no quartiles of no values.')
        return cls(*np.percentile(values, (25, 50, 75)).tolist())

    @property
    def spread(self) -> float:
        """From the first quartile to the third, as a part of the median."""
        return (self.upper - self.lower) / self.median


def ratios(times: Sequence[float], reference: Sequence[float]) -> Summary:
    """How much longer one took than another, compared round by round.

    What slows the machine down for a while slows both of a round, so that
    these ratios spread less than the times.

    Args:
        times: one of each round.
        reference: of the same rounds.

    Raises:
        ValueError: where they are not of the same rounds.
    """
    if len(times) != len(reference):
        raise ValueError(
            f'Ratios are taken round by round, but there are {len(times)} and '
            f'{len(reference)} rounds.'
        )
    return Summary.of([a / b for a, b in zip(times, reference)])


def rates(times: Sequence[float], amount: float) -> Summary:
    """What is done in a second, where ``amount`` is done in each of the times."""
    return Summary.of([amount / time for time in times])
