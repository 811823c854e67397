"""Costs of cells that have not run, from runs that have; the time that is left."""

from pathlib import Path

import pytest
from example_runs import run

import prism_bench.commands.run  # noqa: F401  registers what the configuration refers to
from prism_bench.accounting.meter import LedgerRow
from prism_bench.comparison.forecast import Costs, phases_of, plan
from prism_bench.comparison.grid import Cell, cells
from prism_bench.comparison.watch import last_line, seconds_left

CONF = Path(__file__).resolve().parents[3] / "conf"


@pytest.fixture(scope="module")
def grid() -> dict[str, Cell]:
    found = cells(["router=[prism,random]", "strategy=[split,sft,sft_then_rl]", "seed=[0,1]"], CONF)
    return {cell.name: cell for cell in found}


def costing(cell: Cell, **seconds: float) -> dict:
    ledger = [LedgerRow(phase, flops=int(10 * each), seconds=each) for phase, each in seconds.items()]
    stages = tuple(phase.name for phase in cell.phases)
    return run(stages=("base", *stages), config=dict(cell.config), ledger=ledger)


def test_cells_share_the_phases_that_depend_on_the_same(grid):
    keys = {name: phases_of(cell) for name, cell in grid.items()}
    assert list(keys["prism-split-s0"]) == ["collect", "base", "route", "sft", "rl", "eval"]
    assert list(keys["sft-s0"]) == ["collect", "base", "sft", "eval"]
    one, other, again = keys["prism-split-s0"], keys["random-split-s0"], keys["prism-split-s1"]
    assert [phase for phase in one if one[phase] == other[phase]] == ["collect", "base"]
    assert [phase for phase in one if one[phase] == again[phase]] == ["collect"]
    assert keys["sft-s0"]["sft"] == keys["sft_then_rl-s0"]["sft"] != one["sft"]


def test_cells_share_a_measurement_as_far_as_it_neither_draws_nor_rolls_out():
    settings = ["model=smollm2-135m", "strategy=split_sft", "router=[prism,random,difficulty]", "seed=[0,1]"]
    found = cells([*settings, "rollout.temperature=[0.7,1.0]", "router.reverse=[false,true]"], CONF)
    shared: dict[str, set[str]] = {}
    for cell in found:
        shared.setdefault(cell.settings["router"], set()).add(phases_of(cell)["route"])
    assert {router: len(keys) for router, keys in shared.items()} == {"prism": 1, "random": 2, "difficulty": 4}
    assert len({phases_of(cell)["sft"] for cell in found}) == len(found)


@pytest.mark.parametrize("setting", ["router._target_=baselines.routers.random.Nobody", "router.episodes=-1"])
def test_a_router_that_cannot_be_made_is_left_to_its_run(setting):
    one, other = cells(["router=difficulty", setting, "seed=[0,1]"], CONF)
    assert phases_of(one)["route"] != phases_of(other)["route"]


def test_a_cost_is_that_of_the_run_that_is_most_like_the_cell(grid):
    costs = Costs([costing(grid["prism-split-s0"], sft=3, rl=50), costing(grid["sft-s0"], sft=7)])
    assert costs.expected(grid["prism-split-s1"], "sft").seconds == 3
    assert costs.expected(grid["sft-s1"], "sft").seconds == 7
    assert costs.expected(grid["sft-s1"], "route") is None
    other = Costs([costing(grid["sft-s0"], sft=7) | {"config": {"env": {"make": {"id": "another"}}, "model": {}}}])
    assert other.expected(grid["sft-s1"], "sft") is None


def test_an_evaluation_costs_what_a_run_did_not_find(grid):
    cell = grid["sft-s0"]
    found = run(
        stages=("base", "sft"),
        config=cell.config | {"seed": 1},
        ledger=[
            LedgerRow("base", seconds=9, cached=True),
            LedgerRow("eval", seconds=40, cached=True),
            LedgerRow("eval", seconds=15),
        ],
    )
    first, second, third = costing(cell, base=9, eval=55), found, costing(cell, base=9)
    for known, seconds in (([first], 55), ([first, second], 15), ([first, second, third], 15)):
        costs = Costs(known)
        assert costs.expected(grid["sft-s1"], "eval").seconds == seconds
        assert costs.expected(grid["sft-s1"], "base").seconds == 9


def test_a_plan_counts_every_shared_phase_once(grid):
    chosen = [grid[name] for name in ("prism-split-s0", "random-split-s0", "sft-s0", "sft_then_rl-s0")]
    there = {cell.name: frozenset() for cell in chosen} | {"sft-s0": frozenset({"collect", "base", "sft"})}
    costs = Costs([costing(grid["prism-split-s1"], route=2, sft=3, rl=50, eval=1)])
    rows = {row.phase: (row.there, row.to_make, row.unknown, row.cost.seconds) for row in plan(chosen, there, costs)}
    assert rows == {
        "collect": (4, 0, 0, 0),
        "base": (4, 0, 0, 0),
        "route": (0, 2, 0, 4),
        "sft": (2, 2, 0, 6),
        "rl": (0, 3, 0, 150),
        "eval": (0, 4, 0, 4),
    }
    assert all(row.unknown == row.to_make for row in plan(chosen, there, Costs()))


def test_the_time_left_counts_what_runs_and_what_waits(grid):
    names = ["prism-split-s0", "random-split-s0", "sft-s0"]
    chosen = {name: grid[name] for name in names}
    costs = Costs([costing(grid["prism-split-s1"], collect=1, base=10, route=2, sft=3, rl=50, eval=1)])
    states = dict(zip(names, ["ended", "running", "waiting"], strict=True))
    # collect and base are made; 2 + 3 + 50 + 1 of the second less 20, and 3 + 1 of the third
    assert seconds_left(chosen, states, {"random-split-s0": 20.0}, costs, 1) == pytest.approx(36 + 4)
    assert seconds_left(chosen, states, {"random-split-s0": 20.0}, costs, 2) == pytest.approx(36)
    assert seconds_left(chosen, states, {"random-split-s0": 900.0}, costs, 1) == pytest.approx(4)
    assert seconds_left(chosen, states, {}, Costs(), 1) is None


def test_the_last_line_of_an_output(tmp_path):
    output = tmp_path / "output.log"
    assert last_line(output) == ""
    output.write_text("x" * 10_000 + "\nsft 3/8 updates, 2.1/s\n\n", encoding="utf-8")
    assert last_line(output) == "sft 3/8 updates, 2.1/s"
