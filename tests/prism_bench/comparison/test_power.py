"""What seeds can show, against simulation."""

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from prism_bench.comparison.power import smallest_for, spread_of
from prism_bench.comparison.rows import Difference


def difference(values: dict[int, float], **changes) -> Difference:
    facts = {
        "configuration": "a",
        "baseline": "b",
        "stage": "final",
        "split": "valid",
        "quantity": "success",
        "task_type": "all",
    }
    ends = {"mean": 0.0, "low": 0.0, "high": 0.0, "p": 1.0, "smallest": 0.1, "improvement": 0.5}
    return Difference(**facts | ends | {"values": values, "verdict": "not told apart"} | changes)


@pytest.mark.parametrize("seeds", [3, 10])
def test_a_difference_of_that_size_is_found_four_times_in_five(seeds):
    generator = np.random.default_rng(seeds)
    draws = generator.normal(smallest_for(seeds, 0.07), 0.07, (4000, seeds))
    found = (ttest_1samp(draws, 0, axis=1).pvalue < 0.05).mean()
    assert 0.75 < found < 0.88


def test_the_spread_is_pooled_over_what_has_two_seeds():
    rows = [difference({0: 0.1, 1: 0.3}), difference({0: 0.0, 1: 0.0, 2: 0.0}), difference({0: 0.5})]
    rows.append(difference({0: 0.9, 1: -0.9}, task_type="pick"))
    assert spread_of(rows) == pytest.approx(np.sqrt((0.02 + 0) / 2))
    assert spread_of([difference({0: 0.5})]) is None
