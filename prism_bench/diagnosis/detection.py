"""How well a score tells two kinds of trajectories apart: the area under the ROC curve, over seeds of the base model.

It is the probability that a trajectory of the one kind scores higher than one of the other, ties counting half. Its
interval takes both sources of chance, as the intervals of success do (:mod:`prism_bench.results.statistics`): base
models (Student's t over seeds) and trajectories, which all seeds share (DeLong, DeLong and Clarke-Pearson 1988, doi
10.2307/2531595, on the means over seeds). Half-widths are added as squares. A bootstrap over both is as wide where
there are many seeds, and too narrow where there are few (``benchmarks/coverage.py`` shows it for success).
"""

from collections.abc import Mapping
from math import hypot, sqrt

import numpy as np
from scipy.special import ndtri
from scipy.stats import rankdata

from prism_bench.results.statistics import CONFIDENCE, Estimate, half_over_seeds

_NOTHING = 1e-9  # share of a score's variance that is left by rounding, where another number explains all of it


def detection(scores: np.ndarray, positive: np.ndarray) -> Estimate:
    """Return the area under the ROC curve with its interval.

    Args:
        scores: (seeds, trajectories).
        positive: (trajectories), which of them should score higher; two or more of each kind.

    With one seed, base models are no source of chance, and the interval is for that one.
    """
    placed = np.array([_placements(row, positive) for row in scores]).mean(0)
    above, below = placed[positive], placed[~positive]
    mean = float(above.mean())
    half = float(ndtri((1 + CONFIDENCE) / 2)) * sqrt(above.var(ddof=1) / len(above) + below.var(ddof=1) / len(below))
    if len(scores) > 1:
        half = hypot(half, half_over_seeds([auroc(row, positive) for row in scores]))
    return Estimate(mean, max(0.0, mean - half), min(1.0, mean + half), len(scores))


def auroc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Return the share of pairs of both kinds in which the positive one scores higher; ties count half."""
    return float(_placements(scores, positive)[positive].mean())


def residuals(scores: np.ndarray, covariates: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return what covariates do not explain of scores: the residuals of their ranks in a linear fit.

    Where covariates explain all of it, nothing but ties is left.
    """
    ranks = rankdata(scores)
    columns = np.column_stack([np.ones(len(ranks)), *map(rankdata, covariates.values())])
    left: np.ndarray = ranks - columns @ np.linalg.lstsq(columns, ranks, rcond=None)[0]
    return np.zeros_like(left) if left.var() <= _NOTHING * max(ranks.var(), 1.0) else left


def _placements(scores: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Return, for every trajectory, the share of the other kind that it beats: above it for a negative one."""
    ranks = rankdata(scores)
    placed = np.empty(len(scores))
    for kind, sign in ((positive, 1), (~positive, -1)):
        among = rankdata(scores[kind])
        others = len(scores) - kind.sum()
        placed[kind] = (ranks[kind] - among) / others if sign == 1 else 1 - (ranks[kind] - among) / others
    return placed
