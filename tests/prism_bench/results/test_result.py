"""A result is built from the parts of a run, survives its file, and is refused where parts contradict each other."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from example_runs import phase, point, run
from hypothesis import given, settings
from hypothesis import strategies as st

from prism_bench.accounting.meter import LedgerRow
from prism_bench.results.outcomes import Outcome, ResultError, tables_of
from prism_bench.results.result import (
    final_stage,
    phase_costs,
    read_result,
    result_metrics,
    write_result,
)

LEDGER = [
    LedgerRow("base", trained_tokens=10, flops=4 * 10**20, seconds=3.0, cached=True),
    LedgerRow("route", flops=3, seconds=0.5, peak_memory_bytes=70),
    LedgerRow("eval", env_steps=30, episodes=10, context_full=4, peak_memory_bytes=50, cached=True),
    LedgerRow("warm-up", demonstrations=200, demonstrations_truncated=3),
    LedgerRow("eval", env_steps=60, episodes=20, peak_memory_bytes=80),
    LedgerRow("eval", env_steps=60, episodes=20, out_of_turns=1, peak_memory_bytes=20),
]
CURVES = [
    point("warm-up", 0, 3, 0.25),
    point("warm-up", 24, 10, 0.625, score=0.7),
    point("rl", 5, 30, 0.5),
    point("rl", 10, 10**19, 0.75),
]


def built(**changes):
    parts = {"curves": CURVES, "ledger": LEDGER, "splits": ("valid_seen", "valid_unseen")}
    return run(**{"stages": ("base", "warm-up", "rl")} | parts | changes)


def test_a_result_holds_the_parts_of_the_run_and_the_tables_of_its_outcomes():
    result = built()
    assert (result["format"], result["version"]) == ("prism-bench result", 5)
    assert (result["strategy"], result["router"], result["allocation"]) == ("split", "prism", {"sft": 1500, "rl": 1501})
    assert result["phases"] == [phase("warm-up"), phase("rl")]
    assert result["curves"] == CURVES
    assert result["versions"]["torch"]
    tables = tables_of([Outcome(**row) for row in result["outcomes"]])
    assert {name: result[name] for name in asdict(tables)} == asdict(tables)
    assert list(result["paired"]) == ["warm-up - base", "rl - base", "rl - warm-up"]


def test_a_strategy_without_a_router_says_so():
    result = built(router=None, strategy="sft")
    assert (result["router"], result["allocation"]) == (None, None)


def test_the_ledger_has_one_row_per_phase_and_origin():
    result = built()
    assert [(row["phase"], row["cached"], row["env_steps"]) for row in result["ledger"]] == [
        ("base", True, 0),
        ("route", False, 0),
        ("eval", True, 30),
        ("eval", False, 120),
        ("warm-up", False, 0),
    ]
    assert set(result["ledger"][0]) == set(asdict(LedgerRow("base")))
    assert [(row.phase, row.cached, row.env_steps, row.peak_memory_bytes) for row in phase_costs(result)] == [
        ("base", True, 0, 0),
        ("route", False, 0, 70),
        ("eval", False, 150, 80),
        ("warm-up", False, 0, 0),
    ]


def test_truncation_is_a_share_of_each_phases_rollouts_and_demonstrations():
    assert built()["truncation"] == {
        "eval": {
            "context_full": 0.08,
            "out_of_turns": 0.02,
            "strayed": 0.0,
            "lost": 0.0,
            "demonstrations_truncated": None,
        },
        "warm-up": {
            "context_full": None,
            "out_of_turns": None,
            "strayed": None,
            "lost": None,
            "demonstrations_truncated": 0.015,
        },
    }


def test_the_final_stage_is_the_last_that_was_evaluated():
    assert final_stage(built()) == "rl"
    assert final_stage(built(outcomes=[], curves=[])) == "base"
    assert final_stage(run(stages=("base",), phases=[phase("sft")])) == "base"


def test_metrics_for_a_dashboard():
    metrics = result_metrics(built())
    assert metrics["success/rl/valid_seen"] == metrics["success/final/valid_seen"] == pytest.approx(25 / 40)
    assert metrics["score/base/valid_unseen"] == pytest.approx(10 / 40)
    assert metrics["ledger/eval/env_steps"] == 150
    assert metrics["ledger/base/flops"] == 4 * 10**20
    assert all("/" in key and isinstance(value, int | float) for key, value in metrics.items())
    assert not any(key.startswith("success") for key in result_metrics(built(outcomes=[])))


def test_a_phase_called_final_has_its_own_numbers_in_the_metrics():
    result = run(stages=("base", "final", "rl"))
    metrics = result_metrics(result)
    assert metrics["success/final/valid_seen"] == result["success"]["final"]["valid_seen"]["all"]["mean"]


names = st.text(min_size=1, max_size=8).filter(lambda name: name not in ("base", "all") and " - " not in name)


@settings(max_examples=30)
@given(
    stages=st.lists(names, max_size=4, unique=True),
    router=st.none() | st.text(),
    types=st.lists(names, min_size=1, max_size=5),
    score=st.floats(0, 1),
    success=st.booleans(),
    ended=st.sampled_from(["completed", "budget", "plateau"]),
    numbers=st.lists(st.integers(0, 10**30), min_size=2, max_size=2),
)
def test_any_result_survives_its_file(tmp_path_factory, stages, router, types, score, success, ended, numbers):
    path = tmp_path_factory.mktemp("run") / "result.json"
    outcomes = [
        Outcome(stage, "valid", str(number), kind, success, score, number)
        for stage in ["base", *stages]
        for number, kind in enumerate(types)
    ]
    result = run(
        router=router,
        outcomes=outcomes,
        phases=[phase(name, ended=ended, flops=numbers[0]) for name in stages],
        curves=[point(name, 1, numbers[1], score) for name in stages],
        ledger=[LedgerRow(name, flops=numbers[0], episodes=3, out_of_turns=1) for name in stages],
    )
    write_result(path, result)
    assert read_result(path) == result
    assert list(read_result(path)["success"]) == ["base", *stages]


def test_a_file_is_whole_and_alone(tmp_path):
    result = built()
    write_result(tmp_path / "run" / "result.json", result)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["result.json"]
    assert json.loads((tmp_path / "run" / "result.json").read_text()) == result


def test_a_result_without_evaluation_survives_too(tmp_path):
    result = built(outcomes=[], curves=[], phases=[])
    write_result(tmp_path / "result.json", result)
    assert read_result(tmp_path / "result.json") == result


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"phases": [phase("warm-up"), phase("warm-up")]}, "no phase can be called 'warm-up'"),
        ({"phases": [phase("base")]}, "no phase can be called 'base'"),
        ({"phases": [phase("rl - sft")]}, "no phase can be called 'rl - sft'"),
        ({"phases": [phase("warm-up")]}, "outcomes: 'rl' is none of the stages base, warm-up"),
        ({"curves": [point("dpo", 1, 1, 0.5)]}, "curves: 'dpo' is none of the stages base, warm-up, rl"),
        ({"phases": [phase("warm-up", ended="bored"), phase("rl")]}, "phases 0, ended: .* found 'bored'"),
        ({"phases": [phase("warm-up", updates=1.5), phase("rl")]}, "phases 0, updates: .*integer, found 1.5"),
        ({"curves": [point("rl", 1, 1, float("nan"))]}, "curves 0, success: .*finite number, found nan"),
        ({"router": None, "allocation": {"sft": 1, "rl": 2}}, "a run with a router has an allocation"),
        ({"router": "prism", "allocation": None}, "a run with a router has an allocation"),
    ],
)
def test_parts_that_contradict_each_other_are_refused(change, reason):
    with pytest.raises(ResultError, match=reason):
        built(**change)


@pytest.mark.parametrize("foreign", [float("nan"), np.float32(1)])
def test_what_json_lacks_is_refused_before_writing(tmp_path, foreign):
    with pytest.raises(ResultError, match="cannot be written as JSON"):
        write_result(tmp_path / "result.json", built(config={"lr": foreign}))
    assert not list(tmp_path.iterdir())


def damage(change):
    def edit(text):
        result = json.loads(text)
        change(result)
        return json.dumps(result)

    return edit


def reverse_stages(result):
    result["success"] = dict(reversed(result["success"].items()))


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda text: text[:-40], "not a result of prism-bench: invalid JSON: EOF"),
        (lambda text: "\\xff", "not a result of prism-bench: invalid JSON"),
        (lambda text: '{"success": 1}', "not a result of prism-bench: format: field required"),
        (lambda text: "[]", "not a result of prism-bench: input should be an object"),
        (
            damage(lambda result: result.update(format="other")),
            "format: input should be 'prism-bench result', found 'ot",
        ),
        (damage(lambda result: result.update(version=4)), "version: input should be 5, found 4"),
        (damage(lambda result: result.pop("ledger")), "ledger: field required"),
        (damage(lambda result: result.update(extra=1)), "extra: extra inputs are not permitted, found 1"),
        (damage(lambda result: result["ledger"][1].update(flops=-1)), "ledger 1: phase 'route': flops cannot be -1"),
        (damage(lambda result: result["ledger"][1].pop("episodes")), "ledger 1: episodes missing"),
        (damage(lambda result: result["allocation"].pop("rl")), "allocation, rl: field required"),
        (damage(lambda result: result.update(router=None)), "a run with a router has an allocation"),
        (damage(lambda result: result["phases"][1].update(name="base")), "no phase can be called 'base'"),
        (damage(lambda result: result["curves"][3].update(flops="1")), "curves 3, flops: .*integer, found '1'"),
        (damage(lambda result: result["outcomes"][2].pop("score")), "outcomes 2, score: field required"),
        (damage(lambda result: result["outcomes"][0].update(success="yes")), "outcomes 0, success: .*boolean, found"),
        (damage(lambda result: result["outcomes"][0].update(score=1.5)), "scores must lie between 0 and 1"),
        (damage(lambda result: result["outcomes"].pop()), "base and rl have different tasks of valid_unseen"),
        (damage(lambda result: result["outcomes"][0].update(success=False)), "'success' does not follow from the out"),
        (damage(lambda result: result["paired"].pop("rl - warm-up")), "'paired' does not follow from the outcomes"),
        (damage(lambda result: result["paired_score"].pop("rl - base")), "'paired_score' does not follow"),
        (damage(reverse_stages), "'success' does not follow from the outcomes"),
        (
            damage(lambda result: result["score"]["rl"]["valid_seen"]["all"].update(mean=0.99)),
            "'score' does not follow from the outcomes",
        ),
        (
            damage(lambda result: result["truncation"]["eval"].update(context_full=0.0)),
            "'truncation' does not follow from the ledger",
        ),
    ],
)
def test_damaged_and_foreign_files_are_refused(tmp_path, edit, reason):
    path = tmp_path / "result.json"
    write_result(path, built())
    path.write_text(edit(path.read_text()))
    with pytest.raises(ResultError, match=reason) as refusal:
        read_result(path)
    assert str(path) in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ResultError, match=r"nothing.json: not readable"):
        read_result(tmp_path / "nothing.json")
