"""Comparisons of two configurations by their seeds: p-values, Holm's correction, power, probability of improvement.

All of it follows from the interval of :func:`prism_bench.results.statistics.paired_over_seeds`, so that a p-value is
below 5 % exactly where the 95 % interval leaves out 0. That interval is Student's t over seeds with Wilson's over tasks
added as squares, and no bootstrap: with two or three seeds that differ much, a percentile bootstrap over seeds and
tasks is too narrow. ``python benchmarks/coverage.py`` prints how often each of the two holds the truth.

The probability of improvement is that of Agarwal et al. 2021 (rliable, arXiv 2108.13264) for runs: that a run of one
configuration beats a run of the other, ties counting half.
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import brentq
from scipy.stats import mannwhitneyu

from prism_bench.results.statistics import CONFIDENCE, Estimate, paired_over_seeds

POWER = 0.8

Runs = Sequence[Sequence[float]]  # a row per seed, a column per task
_SURE = 1 - 1e-12


def p_value(before: Runs, after: Runs) -> float:
    """Return the two-sided p-value of the hypothesis that the two do not differ: seeds and tasks in the same order.

    Raises:
        ValueError: as :func:`prism_bench.results.statistics.paired_over_seeds`.
    """

    def nearer_end(confidence: float) -> float:
        estimate = paired_over_seeds(before, after, confidence)
        return estimate.low if estimate.mean > 0 else -estimate.high

    if paired_over_seeds(before, after).mean == 0 or nearer_end(1 - _SURE) <= 0:
        return 1.0
    if nearer_end(_SURE) > 0:
        return 1 - _SURE
    return 1 - float(brentq(nearer_end, 1 - _SURE, _SURE, xtol=1e-13))


def smallest_difference(before: Runs, after: Runs) -> float:
    """Return the difference that as many seeds and tasks, varying as much, show with a power of 80 %.

    It is the half-width of the interval at 95 % and the 80 % quantile of the same distribution on top of it.
    """
    return sum(_half(paired_over_seeds(before, after, level)) for level in (CONFIDENCE, 2 * POWER - 1))


def probability_of_improvement(before: Sequence[float], after: Sequence[float]) -> float:
    """Return the share of pairs of runs, one of each side, in which ``after`` is better; ties count half."""
    return float(mannwhitneyu(after, before).statistic) / (len(before) * len(after))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values corrected for being several (Holm 1979), in the given order.

    Rejecting those below 5 % finds any difference that is not there in at most 5 % of all tables.
    """
    values = np.asarray(p_values, dtype=float)
    order = np.argsort(values, kind="stable")
    factors = np.arange(len(values), 0, -1)
    corrected = np.empty(len(values))
    corrected[order] = np.maximum.accumulate(np.minimum(1.0, factors * values[order]))
    return [float(value) for value in corrected]


def _half(estimate: Estimate) -> float:
    return (estimate.high - estimate.low) / 2
