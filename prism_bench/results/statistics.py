"""Means with 95 % intervals: success rates, scores between 0 and 1, differences between two stages on the same tasks.

All three use Wilson's score interval with an effective sample size:

* For successes (0 or 1) it is Wilson's interval (Wilson 1927, doi 10.1080/01621459.1927.10502953). It keeps its
  coverage at rates near 0 and 1 and at small n, where the normal approximation fails.
* A score between 0 and 1 varies less than a coin of the same mean. With r = variance / (mean (1 - mean)) <= 1, n scores
  have the information of n / r coin tosses, and Wilson's interval gets that number as its n. Survey statistics do so
  for proportions from complex samples (Franco, Little, Louis and Slud 2019, doi 10.1093/jssam/smy019). Deviation: one
  imaginary observation of the largest possible variance enters r, so that the interval of a few equal scores is not
  empty.
* A difference of paired scores lies between -1 and 1; halved and shifted, it is such a score. Pairing matters: two
  stages that solve the same 60 % of games differ by nothing, although their separate intervals are wide.

Simulated coverage is 93 to 97 % from 20 values on, except near the edges: it is higher where nearly all values are
equal, and 87 % for a difference made by two games in a hundred in one direction (Student's t has 87 % there, and
45 to 80 % where Wilson has 95). ``tests/prism_bench/results/test_statistics.py`` simulates it.

Tasks are one source of chance; training is another, and often the larger. :func:`mean_over_seeds` takes both: the means
of runs with several seeds as draws from a normal distribution (Student's t), and the tasks, which all seeds share, as
above. The half-widths are added as independent errors are, as squares, so that three seeds that agree on eight tasks
are not certain.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot, sqrt

import numpy as np
from scipy.special import ndtri, stdtrit

from prism_bench.errors import InputError

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over ``n`` values and the ends of its interval, of 95 % where nothing else is said."""

    mean: float
    low: float
    high: float
    n: int


def mean_estimate(values: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """Return the mean of ``values``, each between 0 and 1 (or False and True), with its interval.

    Raises:
        ValueError: there are no values, or one lies outside 0 to 1.
    """
    array = np.asarray(values, dtype=np.float64)
    n = array.size
    if n == 0:
        raise ValueError("a mean needs at least one value")
    if not (array.min() >= 0 and array.max() <= 1):
        raise ValueError(f"scores must lie between 0 and 1, found {array.min()} to {array.max()}")
    mean = float(array.mean())
    largest_variance = mean * (1 - mean)
    squares = float(((array - mean) ** 2).sum())
    ratio = min(1.0, (squares / largest_variance + 1) / n) if largest_variance > 0 else 1.0
    low, high = _wilson(mean, n / ratio, float(ndtri((1 + confidence) / 2)))
    return Estimate(mean, min(low, mean), max(high, mean), n)


def paired_difference(before: Sequence[float], after: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """Return the mean of ``after - before``, task by task, with its interval; positive where ``after`` is better.

    Raises:
        ValueError: the sequences differ in length, are empty, or hold a value outside 0 to 1.
    """
    first, second = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"a paired difference needs the same tasks on both sides, got {first.size} and {second.size}")
    half = mean_estimate((1 + second - first) / 2, confidence)  # type: ignore[arg-type]  # arrays serve as sequences
    return Estimate(2 * half.mean - 1, 2 * half.low - 1, 2 * half.high - 1, half.n)


def mean_over_seeds(values: Sequence[Sequence[float]]) -> Estimate:
    """Return the mean of values between 0 and 1, a row per seed and a column per task, with its interval.

    ``n`` is the number of seeds. The interval may leave the range of the values.

    Raises:
        ValueError: there are fewer than two seeds, so their variance is unknown; there are no tasks, or a value is out
            of range.
    """
    array = np.asarray(values, dtype=np.float64)
    return _over_seeds(array, mean_estimate(array.mean(0)), CONFIDENCE)


def paired_over_seeds(
    before: Sequence[Sequence[float]], after: Sequence[Sequence[float]], confidence: float = CONFIDENCE
) -> Estimate:
    """Return the mean of ``after - before``, seed by seed and task by task; as :func:`mean_over_seeds`."""
    first, second = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"a paired difference needs the same seeds and tasks, got {first.shape} and {second.shape}")
    of_tasks = paired_difference(first.mean(0), second.mean(0), confidence)
    return _over_seeds(second - first, of_tasks, confidence)


def half_over_seeds(values: Sequence[float] | np.ndarray, confidence: float = CONFIDENCE) -> float:
    """Return half the width of Student's interval of a mean over two or more seeds, one value each."""
    return float(stdtrit(len(values) - 1, (1 + confidence) / 2) * np.std(values, ddof=1)) / sqrt(len(values))


def _over_seeds(array: np.ndarray, of_tasks: Estimate, confidence: float) -> Estimate:
    """Add the interval over the rows' means to that over tasks."""
    if array.ndim != 2 or len(array) < 2:
        raise ValueError(f"an interval over seeds needs a row for each of at least two, got the shape {array.shape}")
    seeds, mean = len(array), float(array.mean())
    of_seeds = half_over_seeds(array.mean(1), confidence)
    return Estimate(
        mean, mean - hypot(of_seeds, mean - of_tasks.low), mean + hypot(of_seeds, of_tasks.high - mean), seeds
    )


def summarise(values: Sequence[float], task_types: Sequence[str]) -> dict[str, Estimate]:
    """Return the estimate over ``all`` values and over those of every task type, types in alphabetical order.

    Raises:
        InputError: a type is called ``all``.
        ValueError: the sequences differ in length, or see :func:`mean_estimate`.
    """
    groups: dict[str, list[float]] = {name: [] for name in sorted(set(task_types))}
    if "all" in groups:
        raise InputError("a task type cannot be called 'all': that is the name of the mean over all types")
    for value, task_type in zip(values, task_types, strict=True):
        groups[task_type].append(value)
    return {"all": mean_estimate(values)} | {name: mean_estimate(group) for name, group in groups.items()}


def _wilson(mean: float, n: float, z: float) -> tuple[float, float]:
    """Solve |mean - p| = z sqrt(p (1 - p) / n) for p."""
    weight = z * z / n
    centre = (mean + weight / 2) / (1 + weight)
    half_width = z * sqrt((mean * (1 - mean) + weight / 4) / n) / (1 + weight)
    return max(0.0, centre - half_width), min(1.0, centre + half_width)
