"""Areas against scipy, their intervals by simulation, and what covariates leave of a score."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu, norm, spearmanr

from prism_bench.diagnosis.detection import auroc, detection, residuals

few_values = st.lists(st.integers(0, 5).map(float), min_size=2, max_size=30)


@settings(deadline=None)
@given(few_values, few_values)
def test_the_area_is_mann_whitneys_u_by_the_number_of_pairs(above, below):
    scores = np.array([*above, *below])
    positive = np.arange(len(scores)) < len(above)
    expected = mannwhitneyu(above, below).statistic / (len(above) * len(below))
    assert auroc(scores, positive) == pytest.approx(expected)
    estimate = detection(scores[None], positive)
    assert estimate.mean == pytest.approx(expected)
    assert 0 <= estimate.low <= estimate.mean <= estimate.high <= 1


def draw(rng: np.random.Generator, seeds: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Return scores with a true area of .76 in the mean over seeds, whose shift varies between base models."""
    positive = np.arange(120) < 50
    own = rng.normal(size=120)  # of the trajectory, whichever model scores it
    shift = rng.normal(1.0, spread, size=seeds)
    return own + 0.5 * rng.normal(size=(seeds, 120)) + shift[:, None] * positive, positive


def true_area(spread: float) -> float:
    shifts = np.random.default_rng(0).normal(1.0, spread, size=200_000)
    return float(norm.cdf(shifts / np.sqrt(2 * 1.25)).mean())


@pytest.mark.parametrize(("seeds", "spread"), [(1, 0.0), (3, 0.0), (3, 0.4), (10, 0.4)])
def test_the_interval_holds_the_truth_as_often_as_it_says(seeds, spread):
    rng, truth = np.random.default_rng(1), true_area(spread)
    found = [detection(*draw(rng, seeds, spread)) for _ in range(400)]
    assert np.mean([estimate.low <= truth <= estimate.high for estimate in found]) >= 0.92


def test_the_interval_is_about_that_of_a_bootstrap_over_both_where_there_are_many_seeds():
    rng = np.random.default_rng(2)
    scores, positive = draw(rng, 30, 0.4)
    areas = []
    for _ in range(400):
        members = [rng.choice(np.flatnonzero(kind), kind.sum()) for kind in (positive, ~positive)]
        chosen = np.concatenate(members)
        rows = scores[rng.integers(len(scores), size=len(scores))][:, chosen]
        areas.append(np.mean([auroc(row, positive[chosen]) for row in rows]))
    low, high = np.quantile(areas, [0.025, 0.975])
    estimate = detection(scores, positive)
    assert estimate.high - estimate.low == pytest.approx(high - low, rel=0.2)


def test_covariates_take_away_what_they_explain_and_leave_the_rest():
    rng = np.random.default_rng(3)
    positive = np.arange(400) < 200
    loss, own = rng.normal(size=400) + positive, rng.normal(size=400) + positive
    repeated = np.exp(2 * loss)  # the same ranks
    assert auroc(repeated, positive) > 0.7
    assert auroc(residuals(repeated, {"loss": loss}), positive) == 0.5
    assert auroc(residuals(own, {"loss": rng.normal(size=400)}), positive) == pytest.approx(
        auroc(own, positive), abs=0.02
    )
    left = residuals(loss + own, {"loss": loss})
    assert abs(spearmanr(left, loss).statistic) < 0.1
    assert 0.55 < auroc(left, positive) < auroc(own, positive)
