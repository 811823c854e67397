"""Tables follow from the runs, and claim nothing that the seeds do not show."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from comparisons import SPLITS, Shape
from comparisons import comparison as example
from example_runs import point
from folders import folder_of

from prism_bench.accounting.meter import LedgerRow
from prism_bench.comparison.counterparts import Wanted
from prism_bench.comparison.gather import gather
from prism_bench.comparison.summary import markdown
from prism_bench.comparison.tables import check_tables, tables_of
from prism_bench.results.outcomes import ResultError
from prism_bench.results.significance import holm, p_value
from prism_bench.results.statistics import mean_over_seeds, paired_over_seeds

WANTED = Wanted({"router": "random"}, {"strategy": "rl"}, 0.6)
SOLVED = {"prism": (36, 37, 38, 36), "random": (12, 13, 12, 14), "loss": (13, 12, 14, 12)}


@pytest.fixture
def comparison(tmp_path):
    """Three routers, four seeds; a run solves the first so many of 40 tasks at the end, and a fourth of the others."""
    folders = [
        folder_of(tmp_path, router=router, seed=seed, won=won, scores=np.roll([seed, 0.5, 1, 9], len(router)).tolist())
        for router, finals in SOLVED.items()
        for seed, won in enumerate(finals)
    ]
    return gather(folders, WANTED)


def rows(won: int) -> list[float]:
    return [float(number % 4 == 0 or number < won) for number in range(40)]


def only(found):
    (one,) = found
    return one


def test_rates_are_means_over_seeds_with_their_intervals(comparison):
    rate = only(
        rate
        for rate in tables_of(comparison).rates
        if (rate.configuration, rate.stage, rate.task_type) == ("prism-split", "final", "all")
    )
    expected = mean_over_seeds([rows(won) for won in SOLVED["prism"]])
    assert (rate.mean, rate.low, rate.high) == (expected.mean, expected.low, expected.high)
    assert rate.values == {0: 0.925, 1: 0.925, 2: 0.95, 3: 0.925}


def test_a_difference_is_called_one_only_where_it_is_significant(comparison):
    found = {row.configuration: row for row in tables_of(comparison).differences if row.task_type == "all"}
    assert {name: row.verdict for name, row in found.items()} == {
        "prism-split": "better",
        "loss-split": "not told apart",
    }
    expected = paired_over_seeds(*([rows(won) for won in SOLVED[router]] for router in ("random", "prism")))
    assert (found["prism-split"].mean, found["prism-split"].low) == (expected.mean, expected.low)
    assert found["prism-split"].p < 0.05 < found["loss-split"].p and found["prism-split"].improvement == 1
    assert found["loss-split"].smallest > abs(found["loss-split"].mean)


def test_a_phase_before_the_last_is_compared_with_the_same_phase_of_the_baseline():
    cells = (("prism", "split"), ("random", "split"), (None, "rl"), (None, "sft_then_rl"))
    found = example(Shape(cells, gains={0: 0.6, 1: 0.1}))
    tables = tables_of(found)
    assert [(row.configuration, row.stage, row.split) for row in tables.earlier] == [
        (name, "sft", split) for split in SPLITS for name in ("prism-split", "sft_then_rl")
    ]  # RL alone has no SFT

    def successes(name: str, split: str) -> list[list[float]]:
        return [[float(flag) for flag in run.outcomes["sft"][split].success] for run in found.of(name).values()]

    for split in SPLITS:
        before, *after = (successes(name, split) for name in ("random-split", "prism-split", "sft_then_rl"))
        own = [row for row in tables.earlier if row.split == split]
        assert [row.mean for row in own] == [paired_over_seeds(before, one).mean for one in after]
        assert [row.p for row in own] == holm([p_value(before, one) for one in after])
    assert {row.stage for row in tables.differences} == {"final"}
    shown = {rate.stage for rate in tables.rates if rate.configuration == "prism-split"}
    assert shown == {"base", "sft", "final"}
    assert "### Success on valid_unseen after sft, before later phases, %" in markdown(found, tables)


def test_a_seed_that_a_budget_left_without_a_phase_is_in_no_difference_after_it():
    found = example(Shape())
    del found.of("prism-split")[1].outcomes["sft"]
    after_sft = [row for row in tables_of(found).earlier if row.configuration == "prism-split"]
    assert after_sft and all(set(row.values) == {0, 2} for row in after_sft)
    finals = [row for row in tables_of(found).differences if row.configuration == "prism-split"]
    assert all(set(row.values) == {0, 1, 2} for row in finals)


def test_types_have_rows_of_their_own(comparison):
    types = {row.task_type for row in tables_of(comparison).differences}
    assert types == {"all", "type 0", "type 1"}


def test_with_one_seed_nothing_is_called_better(tmp_path):
    folders = [folder_of(tmp_path, router=router, won=won) for router, won in (("random", 0), ("prism", 40))]
    row = only(row for row in tables_of(gather(folders, WANTED)).differences if row.task_type == "all")
    assert (row.verdict, row.p, row.smallest) == ("one seed", None, None) and row.mean == 0.75


def test_savings_are_ratios_over_the_seeds_in_which_both_reached_the_target(tmp_path):
    def curves(*reached: float):
        return [point("rl", at + 1, (at + 1) * 10**12, success) for at, success in enumerate(reached)]

    folders = [
        folder_of(tmp_path, router="prism", seed=0, curves=curves(0.7)),
        folder_of(tmp_path, router="prism", seed=1, curves=curves(0.2, 0.6)),
        folder_of(tmp_path, router="prism", seed=2, curves=curves(0.7)),
        folder_of(tmp_path, router="random", seed=0, curves=curves(0.1, 0.2, 0.3, 0.6)),
        folder_of(tmp_path, router="random", seed=1, curves=curves(0.1, 0.6)),
        folder_of(tmp_path, router="random", seed=2, curves=curves(0.1, 0.2)),
    ]
    saving = next(row for row in tables_of(gather(folders, WANTED)).savings if row.configuration == "prism-split")
    assert saving.flops == {0: 10**12, 1: 2 * 10**12, 2: 10**12}
    assert (saving.times_baseline.n, saving.times_reference) == (2, None)
    assert saving.times_baseline.mean == pytest.approx(2)  # of 4 and 1, in logarithms


def test_costs_are_by_phase_and_those_of_the_method_leave_out_what_all_share(tmp_path):
    ledger = [
        LedgerRow("base", flops=5),
        LedgerRow("route", flops=2),
        LedgerRow("rl", flops=7),
        LedgerRow("eval", flops=9),
    ]
    found = tables_of(gather([folder_of(tmp_path, ledger=ledger)], WANTED)).costs
    flops = {cost.phase: cost.quantities["flops"] for cost in found}
    assert flops == {"base": 5, "route": 2, "rl": 7, "eval": 9, "method": 9}


def test_routers_are_compared_by_their_decisions(comparison):
    tables = tables_of(comparison)
    kinds = {(kind.configuration, kind.task_type): kind.to_rl for kind in tables.kinds}
    assert (kinds["prism-split", "type 0"], kinds["prism-split", "type 1"]) == (0.5, 0)
    assert {(pair.first, pair.second) for pair in tables.agreements} == {
        ("prism-split", "random-split"),
        ("prism-split", "loss-split"),
        ("random-split", "loss-split"),
    }
    assert all(0 <= pair.same <= 1 and pair.seeds == 4 for pair in tables.agreements)


def test_the_front_has_what_no_other_beats(tmp_path):
    def costing(router: str, flops: int, won: int):
        return folder_of(tmp_path, router=router, won=won, ledger=[LedgerRow("route", flops=flops)])

    folders = [costing("dear", 9, 40), costing("cheap", 1, 10), costing("beaten", 9, 20), costing("middle", 5, 30)]
    front = tables_of(gather(folders, WANTED)).front
    assert front == {"valid_seen": ["dear-split", "cheap-split", "middle-split"]}


def test_protocols_that_differ_are_named(tmp_path):
    folders = [folder_of(tmp_path, seed=0), folder_of(tmp_path, seed=1, protocol={"decoding": "sampled", "steps": 50})]
    assert tables_of(gather(folders, WANTED)).protocols == ["decoding"]


def test_tables_that_do_not_follow_from_the_runs_are_found(comparison):
    written = json.loads(json.dumps(asdict(tables_of(comparison))))
    check_tables(comparison, written)
    for table in written:
        changed = json.loads(json.dumps(written))
        changed[table] = changed[table][:-1] if isinstance(changed[table], list) and changed[table] else {"other": []}
        with pytest.raises(ResultError, match=table):
            check_tables(comparison, changed)
