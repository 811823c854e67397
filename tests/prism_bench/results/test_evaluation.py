"""Samples of tasks: seeded, in proportion to the task types, and the same in whatever order the tasks are listed."""

from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from prism_bench.errors import InputError
from prism_bench.results.evaluation import sample_tasks

TASKS = st.dictionaries(st.text(), st.sampled_from(["heat", "cool", "pick", "look", ""]), min_size=1, max_size=60)


@st.composite
def samples(draw):
    """Tasks with their types, a size that is possible, and a seed."""
    types = draw(TASKS)
    return types, draw(st.integers(1, len(types))), draw(st.integers(0, 5))


@given(samples())
def test_every_type_has_its_share(sample):
    types, n, seed = sample
    drawn = sample_tasks(list(types), list(types.values()), n, seed)
    assert len(drawn) == len(set(drawn)) == n and set(drawn) <= set(types)
    found = Counter(types[task] for task in drawn)
    for kind, count in Counter(types.values()).items():
        assert abs(found[kind] - Fraction(n * count, len(types))) < 1


@given(samples(), st.booleans(), st.randoms(use_true_random=False))
def test_the_order_of_the_list_does_not_matter(sample, typed, rng):
    types, n, seed = sample
    shuffled = rng.sample(sorted(types), len(types))
    drawn, again = (
        sample_tasks(tasks, [types[task] for task in tasks] if typed else None, n, seed)
        for tasks in (list(types), shuffled)
    )
    assert drawn == again


@given(samples(), st.booleans())
def test_all_tasks_are_all_tasks(sample, typed):
    types, _, seed = sample
    for n in (None, len(types)):
        drawn = sample_tasks(list(types), list(types.values()) if typed else None, n, seed)
        assert sorted(drawn) == sorted(types)


@pytest.mark.parametrize("types", [None, ["even", "odd"] * 10])
def test_seeds_draw_every_task_equally_often(types):
    tasks = [f"task {number}" for number in range(20)]
    drawn = Counter(task for seed in range(2000) for task in sample_tasks(tasks, types, 4, seed))
    assert len(drawn) == 20
    assert stats.chisquare(list(drawn.values())).pvalue > 1e-3


def test_equal_remainders_are_rounded_up_for_different_types():
    tasks, types = ["1", "2", "3"], ["heat", "cool", "pick"]
    first = Counter(sample_tasks(tasks, types, 1, seed)[0] for seed in range(300))
    assert set(first) == {"1", "2", "3"} and min(first.values()) > 60


@pytest.mark.parametrize("n", [0, -1, 3])
def test_sizes_that_are_not_possible_are_refused(n):
    with pytest.raises(InputError, match=rf"{n} tasks were asked for and there are 2"):
        sample_tasks(["1", "2"], None, n, 0)
