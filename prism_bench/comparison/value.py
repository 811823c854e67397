"""The value of a router: how much of what routing could bring it brings.

    value = (success of the router - success of the baseline) / (success of the oracle - success of the baseline)

0 is the baseline's (random routing at the same share), 1 the oracle's, which knows the conflicts of a testbed. It is
paired by seed, and its interval is Fieller's (1954, doi 10.1111/j.2517-6161.1954.tb00159.x) over seeds, which exists
where that of the denominator leaves out 0. Where the oracle gains nothing that can be told from 0, a share of it means
nothing, and there is no row.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import sqrt

import numpy as np
from scipy.special import stdtrit

from prism_bench.comparison.record import Comparison
from prism_bench.comparison.rows import ALL, Difference, Value
from prism_bench.results.statistics import CONFIDENCE


def values_of(comparison: Comparison, differences: Sequence[Difference]) -> Iterator[Value]:
    """Yield the value of every router that has an oracle, on every split where the oracle gains something."""
    found = {(row.configuration, row.split): row for row in differences if _is_success(row)}
    oracles = {each.name: each.oracle for each in comparison.configurations if each.router and each.oracle}
    for (name, split), own in found.items():
        best = found.get((oracles[name], split)) if name in oracles else None
        if best is None or best.baseline != own.baseline or best.low <= 0:
            continue
        if (ends := fieller(own.values, best.values)) is not None:
            yield Value(name, best.configuration, split, *ends)


def _is_success(row: Difference) -> bool:
    return (row.quantity, row.task_type) == ("success", ALL)


def fieller(above: Mapping[int, float], below: Mapping[int, float]) -> tuple[float, float, float] | None:
    """Return the ratio of the means of two columns paired by seed, and the ends of its interval.

    None where fewer than two seeds have both, or where the mean below is not told from 0.
    """
    pairs = np.array([(above[seed], below[seed]) for seed in above if seed in below])
    if len(pairs) < 2:
        return None
    upper, lower = pairs.mean(0)
    (var_upper, both), (_, var_lower) = np.cov(pairs.T) / len(pairs)
    t = float(stdtrit(len(pairs) - 1, (1 + CONFIDENCE) / 2))
    rest = lower**2 - t**2 * var_lower
    if lower <= 0 or rest <= 0:
        return None
    middle = upper * lower - t**2 * both
    root = sqrt(max(0.0, middle**2 - rest * (upper**2 - t**2 * var_upper)))
    return float(upper / lower), float((middle - root) / rest), float((middle + root) / rest)
