"""p-values, power and corrections, against SciPy, definitions and simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from prism_bench.results.significance import holm, p_value, probability_of_improvement, smallest_difference
from prism_bench.results.statistics import paired_over_seeds

RATES = st.lists(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=6, max_size=6), min_size=3, max_size=3)


def drawn(generator: np.random.Generator, seeds: int, tasks: int, shift: float = 0.0) -> np.ndarray:
    """Return successes, (seeds, tasks): tasks differ in difficulty, seeds in what they learned."""
    difficulty = generator.normal(0, 0.15, tasks)
    of_seeds = generator.normal(0.5 + shift, 0.05, (seeds, 1))
    return (generator.random((seeds, tasks)) < of_seeds + difficulty).astype(float)


@given(RATES, RATES)
@settings(max_examples=60, deadline=None)
def test_p_is_below_five_per_cent_exactly_where_the_interval_leaves_out_zero(before, after):
    estimate, p = paired_over_seeds(before, after), p_value(before, after)
    assert 0 < p <= 1
    assert (p < 0.05) == (estimate.low > 0 or estimate.high < 0) or p == pytest.approx(0.05, abs=1e-6)
    assert p_value(after, before) == pytest.approx(p, rel=1e-6)


def test_with_very_many_tasks_p_is_that_of_student_over_seeds():
    generator = np.random.default_rng(0)
    for shift in (0.02, 0.05):
        before, after = drawn(generator, 5, 200_000), drawn(generator, 5, 200_000, shift)
        expected = ttest_rel(after.mean(1), before.mean(1)).pvalue
        assert p_value(before, after) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("seeds", [2, 3, 10])
def test_where_there_is_no_difference_one_is_found_in_at_most_five_per_cent(seeds):
    generator = np.random.default_rng(seeds)
    found = sum(p_value(drawn(generator, seeds, 64), drawn(generator, seeds, 64)) < 0.05 for _ in range(300))
    assert found <= 24  # 15 are expected of an exact test, 24 or more in 2 % of all draws


def test_a_difference_of_the_smallest_size_is_found_about_four_times_in_five():
    generator = np.random.default_rng(1)
    draws = [(drawn(generator, 10, 64), drawn(generator, 10, 64)) for _ in range(200)]
    size = float(np.median([smallest_difference(*draw) for draw in draws]))
    found = np.mean([p_value(drawn(generator, 10, 64), drawn(generator, 10, 64, size)) < 0.05 for _ in range(200)])
    assert found > 0.7  # tasks drawn anew for both sides; the interval over tasks is on the safe side
    assert np.mean([p_value(drawn(generator, 10, 64), drawn(generator, 10, 64, size / 3)) < 0.05 for _ in draws]) < 0.4


def test_holm_multiplies_the_smallest_by_their_number_and_never_reorders():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_corrected_values_follow_from_the_definition(values):
    corrected, ordered = holm(values), sorted(values)
    for value, after in zip(values, corrected, strict=True):
        up_to = ordered.index(value) + 1
        steps = [(len(values) - rank) * ordered[rank] for rank in range(up_to)]
        steps += [(len(values) - rank) * value for rank in range(up_to, len(values)) if ordered[rank] == value]
        assert after == pytest.approx(min(1.0, max(steps)))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.lists(st.integers(0, 5), min_size=1, max_size=6))
def test_probability_of_improvement_counts_pairs(before, after):
    pairs = [(two > one) + 0.5 * (two == one) for one in before for two in after]
    assert probability_of_improvement(before, after) == pytest.approx(sum(pairs) / len(pairs))
