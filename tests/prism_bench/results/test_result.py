import json

import numpy as np
import pytest

from prism_bench.accounting.ledger import LedgerRow
from prism_bench.results.result import (
    Outcome,
    ResultError,
    build_result,
    phase_costs,
    read_result,
    result_metrics,
    write_result,
)
from prism_bench.results.statistics import mean_estimate, paired_difference

SUCCESSES = {"base": [0, 0, 0, 1, 0, 0], "sft": [1, 0, 0, 1, 0, 0], "final": [1, 1, 1, 1, 0, 1]}
LEDGER = [
    LedgerRow("base", trained_tokens=10, flops=4 * 10**20, seconds=3.0, cached=True),
    LedgerRow("route", flops=3, seconds=0.5, peak_memory_bytes=70),
    LedgerRow("eval", env_steps=30, peak_memory_bytes=50, cached=True),
    LedgerRow("eval", env_steps=60, peak_memory_bytes=80),
    LedgerRow("eval", env_steps=60, peak_memory_bytes=20),
]


def outcomes(stages=("base", "sft", "final"), splits=("valid_seen", "valid_unseen")):
    return [
        Outcome(stage, split, f"task-{number}", "heat" if number < 4 else "cool", bool(success), success / 2, 9)
        for stage in stages
        for split in splits
        for number, success in enumerate(SUCCESSES[stage])
    ]


def built(episodes=None, **changes):
    arguments = {
        "router": "prism",
        "config": {"seed": 0, "env": {"source": "generated"}},
        "protocol": {"decoding": "greedy", "steps": 50},
        "seeds": {"seed": 0, "env.seed": 0},
        "allocation": {"sft": 3, "rl": 4},
        "outcomes": outcomes() if episodes is None else episodes,
        "ledger": LEDGER,
        "files": {"log": "run.log"},
    }
    return build_result(**arguments | changes)


def test_tables_follow_from_the_outcomes():
    result = built()
    final = result["success"]["final"]["valid_seen"]
    assert list(final) == ["all", "cool", "heat"]
    assert final["all"]["mean"] == pytest.approx(5 / 6)
    assert (final["heat"]["mean"], final["heat"]["n"]) == (1.0, 4)
    assert final["all"]["low"] == mean_estimate(SUCCESSES["final"]).low
    assert result["score"]["final"]["valid_unseen"]["all"]["mean"] == pytest.approx(5 / 12)
    assert list(result["success"]) == ["base", "sft", "final"]
    assert list(result["paired"]) == ["sft-base", "final-base", "final-sft"]
    difference = paired_difference(SUCCESSES["sft"], SUCCESSES["final"])
    assert result["paired"]["final-sft"]["valid_seen"]["mean"] == difference.mean
    assert result["paired"]["final-sft"]["valid_seen"]["low"] == difference.low
    assert result["paired_score"].keys() == result["paired"].keys()
    assert result["allocation"] == {"sft": 3, "rl": 4}
    assert result["versions"]["torch"]


def test_pairs_are_matched_by_task_and_not_by_order():
    episodes = outcomes(["base", "final"])
    assert built(list(reversed(episodes)))["paired"] == built(episodes)["paired"]


def test_a_stage_that_the_run_lacks_is_absent():
    result = built(outcomes(["base", "final"], ["valid_seen"]))
    assert list(result["success"]) == list(result["score"]) == ["base", "final"]
    assert list(result["paired"]) == ["final-base"]


def test_the_ledger_has_one_row_per_phase_and_origin():
    result = built()
    assert [(row["phase"], row["cached"], row["env_steps"]) for row in result["ledger"]] == [
        ("base", True, 0),
        ("route", False, 0),
        ("eval", True, 30),
        ("eval", False, 120),
    ]
    assert set(result["ledger"][0]) == {
        "phase",
        "prefill_tokens",
        "generated_tokens",
        "trained_tokens",
        "flops",
        "env_steps",
        "worker_deaths",
        "seconds",
        "device_seconds",
        "peak_memory_bytes",
        "cached",
    }
    assert [(row.phase, row.cached, row.env_steps, row.peak_memory_bytes) for row in phase_costs(result)] == [
        ("base", True, 0, 0),
        ("route", False, 0, 70),
        ("eval", False, 150, 80),
    ]


def test_metrics_for_a_dashboard():
    metrics = result_metrics(built())
    assert metrics["success/final/valid_seen"] == pytest.approx(5 / 6)
    assert metrics["score/base/valid_unseen"] == pytest.approx(1 / 12)
    assert metrics["ledger/eval/env_steps"] == 150
    assert metrics["ledger/base/flops"] == 4 * 10**20
    assert all("/" in key and isinstance(value, int | float) for key, value in metrics.items())


def test_a_result_survives_its_file(tmp_path):
    result = built()
    write_result(tmp_path / "run" / "result.json", result)
    assert read_result(tmp_path / "run" / "result.json") == result
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["result.json"]
    assert json.loads((tmp_path / "run" / "result.json").read_text())["success"] == result["success"]


def test_a_result_without_evaluation_survives_too(tmp_path):
    result = built([])
    write_result(tmp_path / "result.json", result)
    assert read_result(tmp_path / "result.json") == result


@pytest.mark.parametrize(
    ("episodes", "reason"),
    [
        (outcomes(["base"], ["train"]) * 2, "'task-0' was played twice in base on train"),
        (outcomes(["base"]) + outcomes(["sft"])[1:], "base and sft played different tasks of valid_seen"),
    ],
)
def test_outcomes_that_cannot_be_compared_are_refused(episodes, reason):
    with pytest.raises(ResultError, match=reason):
        built(episodes)


def test_an_unknown_stage_is_refused():
    with pytest.raises(ResultError, match="'rl' of task 'a' is none of base, sft, final"):
        Outcome("rl", "valid_seen", "a", "heat", True, 1.0, 3)


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


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda text: text[:-40], "not readable as a result"),
        (lambda text: '{"success": 1}', "not a result of prism-bench"),
        (lambda text: "[]", "not a result of prism-bench"),
        (damage(lambda result: result.update(version=99)), "version 99, this program reads version 2"),
        (damage(lambda result: result.pop("ledger")), "'ledger' is missing"),
        (damage(lambda result: result["ledger"][1].update(flops=-1)), "row 1 of the ledger: .*flops cannot be -1"),
        (damage(lambda result: result["allocation"].pop("rl")), "'allocation' must hold the counts"),
        (damage(lambda result: result["outcomes"][2].pop("score")), "outcome 2: expected exactly the fields"),
        (damage(lambda result: result["outcomes"][0].update(success="yes")), "outcome 0: a field is of another type"),
        (damage(lambda result: result["outcomes"][0].update(success=True)), "'success' does not follow"),
        (damage(lambda result: result["paired"].pop("final-sft")), "'paired' does not follow"),
        (damage(lambda result: result["paired_score"].pop("final-sft")), "'paired_score' does not follow"),
        (
            damage(lambda result: result["score"]["final"]["valid_seen"]["all"].update(mean=0.99)),
            "'score' does not follow",
        ),
    ],
)
def test_damaged_and_foreign_files_are_refused(tmp_path, edit, reason):
    path = tmp_path / "result.json"
    write_result(path, built())
    path.write_text(edit(path.read_text()))
    with pytest.raises(ResultError, match=reason) as refusal:
        read_result(path)
    assert str(path) in str(refusal.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ResultError, match=r"nothing.json: not readable"):
        read_result(tmp_path / "nothing.json")
