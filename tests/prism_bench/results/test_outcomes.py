"""Tables follow from the outcomes: by stage, split and task type, and differences task by task."""

import pytest

from prism_bench.results.outcomes import Outcome, ResultError, tables_of
from prism_bench.results.statistics import mean_estimate, paired_difference

SUCCESSES = {"base": [0, 0, 0, 1, 0, 0], "warm-up": [1, 0, 0, 1, 0, 0], "one loop": [1, 1, 1, 1, 0, 1]}


def outcomes(stages=tuple(SUCCESSES), splits=("valid_seen", "valid_unseen")):
    return [
        Outcome(stage, split, f"task-{number}", "heat" if number < 4 else "cool", bool(success), success / 2, 9)
        for stage in stages
        for split in splits
        for number, success in enumerate(SUCCESSES[stage])
    ]


def test_rates_are_by_stage_split_and_task_type():
    tables = tables_of(outcomes())
    assert list(tables.success) == list(tables.score) == ["base", "warm-up", "one loop"]
    last = tables.success["one loop"]["valid_seen"]
    assert list(last) == ["all", "cool", "heat"]
    assert last["all"] == mean_estimate(SUCCESSES["one loop"])
    assert (last["heat"].mean, last["heat"].n) == (1.0, 4)
    assert tables.score["one loop"]["valid_unseen"]["all"].mean == pytest.approx(5 / 12)


def test_every_stage_is_compared_with_every_earlier_one():
    tables = tables_of(outcomes())
    names = ["warm-up - base", "one loop - base", "one loop - warm-up"]
    assert list(tables.paired) == list(tables.paired_score) == names
    difference = paired_difference(SUCCESSES["warm-up"], SUCCESSES["one loop"])
    assert tables.paired["one loop - warm-up"] == {"valid_seen": difference, "valid_unseen": difference}
    assert tables.paired_score["one loop - base"]["valid_seen"].mean == pytest.approx(2 / 6)


def test_pairs_are_matched_by_task_and_not_by_order():
    stages = [outcomes([stage]) for stage in SUCCESSES]
    shuffled = [outcome for stage in stages for outcome in reversed(stage)]
    assert tables_of(shuffled).paired == tables_of(outcomes()).paired


def test_a_stage_that_lacks_a_split_is_not_compared_on_it():
    tables = tables_of(outcomes(["base"], ["valid_seen", "valid_unseen"]) + outcomes(["warm-up"], ["valid_unseen"]))
    assert list(tables.success["warm-up"]) == ["valid_unseen"]
    assert list(tables.paired["warm-up - base"]) == ["valid_unseen"]
    assert tables_of(outcomes(["base"])).paired == {}
    assert tables_of([]).success == {}


@pytest.mark.parametrize(
    ("episodes", "reason"),
    [
        (outcomes(["base"], ["train"]) * 2, "'task-0' occurs twice in base on train"),
        (outcomes(["base"]) + outcomes(["warm-up"])[1:], "base and warm-up have different tasks of valid_seen"),
    ],
)
def test_outcomes_that_cannot_be_compared_are_refused(episodes, reason):
    with pytest.raises(ResultError, match=reason):
        tables_of(episodes)
