import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from prism_bench.results.statistics import (
    Estimate,
    mean_estimate,
    mean_over_seeds,
    paired_difference,
    paired_over_seeds,
    summarise,
)

score = st.integers(0, 1000).map(lambda thousandths: thousandths / 1000)
scores = st.lists(score, min_size=1, max_size=60)
outcomes = st.lists(st.booleans(), min_size=1, max_size=300)


@given(outcomes)
def test_a_success_rate_has_wilsons_interval(successes):
    estimate = mean_estimate(successes)
    expected = stats.binomtest(sum(successes), len(successes)).proportion_ci(method="wilson")
    assert estimate.mean == pytest.approx(np.mean(successes))
    assert (estimate.low, estimate.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert estimate.n == len(successes)


@given(scores)
def test_a_mean_lies_in_its_interval_which_lies_in_its_range(values):
    estimate = mean_estimate(values)
    assert 0 <= estimate.low <= estimate.mean <= estimate.high <= 1
    assert estimate.low < estimate.high


@given(scores)
def test_an_interval_is_symmetric_in_success_and_failure(values):
    estimate, mirrored = mean_estimate(values), mean_estimate([1 - value for value in values])
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((estimate.low, estimate.high), abs=1e-6)


def test_many_scores_have_students_interval():
    values = np.random.default_rng(0).beta(2, 5, 2000)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    estimate = mean_estimate(values)
    assert (estimate.low, estimate.high) == pytest.approx((expected.low, expected.high), abs=1e-3)


def test_equal_scores_do_not_claim_certainty():
    few, many = mean_estimate([0.5] * 5), mean_estimate([0.5] * 500)
    assert few.high - few.low > 0.2
    assert 0 < many.high - many.low < 0.01


def webshop_like(generator, shape):
    values, weights = [0, 0.1, 0.25, 0.5, 2 / 3, 0.75, 1], [0.1, 0.03, 0.07, 0.15, 0.2, 0.15, 0.3]
    return generator.choice(values, size=shape, p=weights), np.dot(values, weights)


POPULATIONS = {
    "rare successes": lambda generator, shape: ((generator.random(shape) < 0.1) * 1.0, 0.1),
    "partial scores": webshop_like,
    "scores near both ends": lambda generator, shape: (generator.beta(0.2, 0.3, shape), 0.4),
    "narrow scores": lambda generator, shape: (generator.beta(2, 5, shape), 2 / 7),
}


@pytest.mark.parametrize("n", [20, 200])
@pytest.mark.parametrize("population", POPULATIONS)
def test_simulated_coverage_of_a_mean(population, n):
    samples, truth = POPULATIONS[population](np.random.default_rng(1), (2000, n))
    estimates = [mean_estimate(sample) for sample in samples]
    covered = np.mean([estimate.low <= truth <= estimate.high for estimate in estimates])
    assert 0.93 <= covered <= 0.98


@pytest.mark.parametrize("n", [30, 200])
@pytest.mark.parametrize("gained", [0.1, 0.3])
@pytest.mark.parametrize("lost", [0.05, 0.1])
def test_simulated_coverage_of_a_paired_difference(gained, lost, n):
    change = np.random.default_rng(2).choice([1, -1, 0], size=(2000, n), p=[gained, lost, 1 - gained - lost])
    before, after = (change < 0) * 1.0, (change > 0) * 1.0
    estimates = [paired_difference(first, second) for first, second in zip(before, after, strict=True)]
    covered = np.mean([estimate.low <= gained - lost <= estimate.high for estimate in estimates])
    assert 0.93 <= covered <= 0.985


def test_pairing_narrows_a_difference():
    solved = np.random.default_rng(3).random(200) < 0.6
    better = solved.copy()
    better[np.flatnonzero(~solved)[:16]] = True
    difference = paired_difference(solved, better)
    assert difference.mean == pytest.approx(0.08)
    assert difference.low > 0
    assert mean_estimate(solved).high > mean_estimate(better).low  # which the two separate intervals do not show


@given(st.lists(st.tuples(score, score), min_size=1, max_size=40))
def test_a_difference_changes_its_sign_with_its_order(pairs):
    before, after = zip(*pairs, strict=True)
    forth, back = paired_difference(before, after), paired_difference(after, before)
    assert -1 <= forth.low <= forth.mean <= forth.high <= 1
    assert forth.mean == pytest.approx(np.mean(after) - np.mean(before), abs=1e-9)
    assert (-back.high, -back.low) == pytest.approx((forth.low, forth.high), abs=1e-6)


def test_no_change_is_not_certain_either():
    difference = paired_difference([1.0] * 50, [1.0] * 50)
    assert difference.mean == 0
    assert -0.05 < difference.low < 0 < difference.high < 0.05


def test_summary_by_task_type():
    summary = summarise([True, False, True, True], ["heat", "cool", "heat", "cool"])
    assert list(summary) == ["all", "cool", "heat"]
    assert [summary[name].mean for name in summary] == [0.75, 0.5, 1.0]
    assert [summary[name].n for name in summary] == [4, 2, 2]
    assert isinstance(summary["all"], Estimate)


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: mean_estimate([]), "at least one value"),
        (lambda: mean_estimate([0.5, 1.5]), "found 0.5 to 1.5"),
        (lambda: mean_estimate([float("nan")]), "between 0 and 1"),
        (lambda: paired_difference([1.0], [1.0, 0.0]), "got 1 and 2"),
        (lambda: mean_over_seeds([[0.5]]), "at least two"),
        (lambda: paired_over_seeds([[0.5]], [[0.5, 0.5]]), "same seeds and tasks"),
        (lambda: summarise([1.0], ["all"]), "cannot be called 'all'"),
    ],
)
def test_bad_values_are_refused(call, reason):
    with pytest.raises(ValueError, match=reason):
        call()


def seeds_and_tasks(generator, seeds, tasks, effect):
    """Return successes (seeds, tasks): tasks differ in difficulty, and seeds move all of them by their effect."""
    difficulty = generator.normal(0.0, 1.5, tasks)
    effects = generator.normal(0.0, effect, (seeds, 1))
    return generator.random((seeds, tasks)) < 1 / (1 + np.exp(-difficulty - effects))


@pytest.mark.parametrize("effect", [0.0, 0.3])
@pytest.mark.parametrize("seeds", [3, 10])
def test_simulated_coverage_over_seeds_and_tasks(seeds, effect):
    generator = np.random.default_rng(4)
    samples = [seeds_and_tasks(generator, seeds, 128, effect) for _ in range(1000)]
    means = [mean_over_seeds(sample) for sample in samples]
    differences = [paired_over_seeds(one, other) for one, other in zip(samples[::2], samples[1::2], strict=True)]
    assert 0.93 <= np.mean([estimate.low <= 0.5 <= estimate.high for estimate in means]) <= 1.0
    assert 0.93 <= np.mean([estimate.low <= 0 <= estimate.high for estimate in differences]) <= 1.0


def test_many_tasks_leave_students_interval_over_seeds():
    values = np.tile(np.array([[0.2], [0.4], [0.3]]), 100_000)
    expected = stats.ttest_1samp(values.mean(1), 0).confidence_interval(0.95)
    estimate = mean_over_seeds(values)
    assert (estimate.mean, estimate.n) == (pytest.approx(0.3), 3)
    assert (estimate.low, estimate.high) == pytest.approx((expected.low, expected.high), abs=1e-3)


def test_seeds_that_agree_are_not_certain():
    never = np.zeros((3, 8))
    assert (
        mean_over_seeds(never).high == pytest.approx(mean_estimate(never[0]).high) and mean_over_seeds(never).low == 0
    )
    difference = paired_over_seeds(never, never)
    assert difference.low < -0.1 and difference.high > 0.1
