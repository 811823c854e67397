"""Concentration and size of a trajectory's gradient, from the norms of all its matrices (arXiv 2601.07224)."""

from typing import Literal, get_args

import numpy as np
from scipy import stats

from prism_bench.errors import InputError

Concentration = Literal["gini", "cv", "kurtosis"]
KINDS: tuple[Concentration, ...] = get_args(Concentration)


def concentration(norms: np.ndarray, kind: Concentration) -> np.ndarray:
    """Return the concentration of each row of ``norms`` (trajectories, ...) over its entries; 0 for even rows.

    ``gini``: mean absolute difference over twice the mean. ``cv``: standard deviation over mean. ``kurtosis``: fourth
    standardised moment minus 3. All with the population's moments (no small-sample correction).

    Raises:
        ValueError: ``kind`` is none of the three.
    """
    check_kind(kind)
    rows = norms.reshape(len(norms), -1).astype(float)
    means = rows.mean(axis=1)
    safe = np.where(means > 0, means, 1.0)
    if kind == "gini":
        count = rows.shape[1]
        ranks = 2 * np.arange(1, count + 1) - count - 1
        return np.where(means > 0, (np.sort(rows, axis=1) @ ranks) / (count**2 * safe), 0.0)
    if kind == "cv":
        return np.where(means > 0, rows.std(axis=1) / safe, 0.0)
    even = rows.std(axis=1) <= 1e-12 * safe
    return np.where(even, 0.0, stats.kurtosis(np.where(even[:, None], np.arange(rows.shape[1]), rows), axis=1))


def magnitude(norms: np.ndarray) -> np.ndarray:
    """Return the norm of the gradient of all matrices together, for each row of ``norms`` (trajectories, ...)."""
    sizes: np.ndarray = np.linalg.norm(norms.reshape(len(norms), -1).astype(float), axis=1)
    return sizes


def check_kind(kind: str) -> None:
    """Refuse a ``kind`` that :func:`concentration` does not know, before a probe is paid for."""
    if kind not in KINDS:
        raise InputError(f"concentration={kind!r} is unknown; choose {', '.join(KINDS)}")
