"""The answer in words: nothing is called better that Holm's correction does not leave."""

import itertools
from dataclasses import replace

import pytest
from comparisons import Shape, comparison

from prism_bench.comparison.answer import answer, earlier_answers, percent, points, splits_of
from prism_bench.comparison.episodes import Episodes
from prism_bench.comparison.page import page
from prism_bench.comparison.rows import ALL, FINAL, Difference, Tables, Verdict
from prism_bench.comparison.tables import tables_of

NONE = Tables([], [], [], [], [], [], {}, [], [], [])


def difference(name: str, mean: float, verdict: Verdict, **changes: object) -> Difference:
    row = Difference(
        name, "random", FINAL, "test", "success", ALL, {}, mean, mean - 0.1, mean + 0.1, 0.5, 0.2, 0.5, verdict
    )
    return replace(row, **changes)  # type: ignore[arg-type]


def sentence(*rows: Difference) -> str:
    return answer(replace(NONE, differences=list(rows)), "test").sentence


def test_one_that_is_better_is_named_with_its_interval_and_the_others_are_counted():
    said = sentence(
        difference("a", 0.25, "better"), difference("b", 0.4, "not told apart"), difference("c", -0.2, "worse")
    )
    assert said == (
        "On test, a is better than random by 25.0 points (95 % interval 15.0 to 35.0); of the others, 1 is worse and 1 "
        "is not told apart."
    )


def test_a_phase_before_the_last_has_a_sentence_only_where_a_difference_is_told():
    told = [difference("a", -0.2, "worse", stage="sft"), difference("b", 0.1, "not told apart", stage="sft")]
    same = difference("a", 0.1, "not told apart", stage="sft", split="valid")
    assert earlier_answers(replace(NONE, earlier=[*told, same])) == [
        "On test after sft, before later phases, no configuration is better than its baseline; 1 is worse and 1 is not "
        "told apart."
    ]


def test_several_that_are_better_keep_their_order_since_nothing_ranks_them():
    rows = difference("a", 0.25, "better"), difference("b", 0.4, "better")
    assert sentence(*rows) == (
        "On test, a (+25.0 points [+15.0, +35.0]) and b (+40.0 points [+30.0, +50.0]) are better than random."
    )
    assert sentence(rows[0], replace(rows[1], baseline="loss")) == (
        "On test, a (+25.0 points [+15.0, +35.0] over random) and b (+40.0 points [+30.0, +50.0] over loss) are "
        "better than their baselines."
    )
    assert sentence(*[difference(name, 0.3, "better") for name in "abcd"]).startswith(
        "On test, 4 configurations are better"
    )


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([difference("a", 0.4, "not told apart")], "On test, a is not told apart from the baseline."),
        (
            [difference(name, 0.4, "not told apart") for name in "ab"],
            "On test, 2 configurations are not told apart from the baseline.",
        ),
        ([difference("a", -0.4, "worse")], "On test, no configuration is better than its baseline; 1 is worse."),
        (
            [difference("a", 0.4, "one seed", p=None, smallest=None)],
            "On test, one seed cannot tell which configuration is better, by its tasks alone: a (+40.0 points [+30.0, "
            "+50.0] over random).",
        ),
        ([], "0 configurations were evaluated on test, and none has a baseline to compare it with."),
    ],
)
def test_without_a_significant_difference_none_is_called_better(rows, said):
    assert sentence(*rows) == said


def test_other_splits_task_types_and_scores_do_not_count():
    others = [
        difference("a", 0.4, "better", split="other"),
        difference("a", 0.4, "better", task_type="a kind"),
        difference("a", 0.4, "better", quantity="score"),
    ]
    assert "better than" not in sentence(*others, difference("a", 0.1, "not told apart"))


def test_the_smallest_differences_are_the_least_and_the_greatest():
    rows = [
        difference(name, 0, "not told apart", smallest=smallest)
        for name, smallest in zip("abc", (0.2, 0.1, 0.3), strict=True)
    ]
    assert answer(replace(NONE, differences=rows), "test").smallest == (0.1, 0.3)
    assert answer(NONE, "test").smallest is None


def test_a_single_run_is_described_by_what_it_has():
    made = comparison(Shape(cells=(("prism", "split"),), seeds=1))
    said = answer(tables_of(made), "valid_unseen").sentence
    assert said.startswith("prism-split solves ") and said.endswith(" % before training.")


def test_the_split_comes_first_on_which_no_setting_was_chosen():
    assert splits_of(comparison(Shape())) == ["valid_unseen", "valid_seen"]


def test_halves_are_rounded_as_in_the_browser():
    assert (percent(0.3025), points(0.3025), points(-0.3025)) == ("30.3", "+30.3", "\N{MINUS SIGN}30.3")


@pytest.mark.parametrize(
    ("smallest", "said"),
    [
        ((1.0,), "No difference, however large, would be told apart with so few seeds"),
        ((0.1, 0.2), "10.0 to 20.0 points</b>"),
        ((0.1, 1.0), "10.0 points, and for some configurations none, however large</b>"),
        ((0.1,), "10.0 points</b>"),
    ],
)
def test_the_page_says_which_differences_could_be_told(smallest, said):
    of = comparison(Shape())
    tables = tables_of(of)
    rows = [replace(row, smallest=value) for row, value in zip(tables.differences, itertools.cycle(smallest))]
    assert said in page(of, replace(tables, differences=rows), Episodes(None, [], [], [], []))
