"""Power of a comparison that has not been made: the difference that so many seeds can show.

As :func:`prism_bench.results.significance.smallest_difference`, from the spread between seeds alone.
"""

from collections.abc import Sequence
from math import sqrt
from statistics import fmean, variance

from scipy.special import stdtrit

from prism_bench.comparison.rows import ALL, Difference
from prism_bench.results.significance import POWER
from prism_bench.results.statistics import CONFIDENCE

SPREAD = 0.07
"""A guess: the standard deviation between seeds of the difference of two configurations."""


def spread_of(differences: Sequence[Difference]) -> float | None:
    """Return the standard deviation between seeds of differences of success, pooled over configurations and splits.

    None if none of them has two seeds.
    """
    rows = [row for row in differences if (row.quantity, row.task_type) == ("success", ALL) and len(row.values) > 1]
    return sqrt(fmean(variance(row.values.values()) for row in rows)) if rows else None


def smallest_for(seeds: int, spread: float) -> float:
    """Return the difference that ``seeds`` (two or more) show with a power of 80 %."""
    quantiles = [float(stdtrit(seeds - 1, level)) for level in ((1 + CONFIDENCE) / 2, POWER)]
    return sum(quantiles) * spread / sqrt(seeds)
