"""The screen of a comparison: what runs and how far it is, what has ended, and the time left."""

import io

import pytest
from example_runs import run
from omegaconf import OmegaConf
from rich.console import Console

from prism_bench.accounting.meter import LedgerRow
from prism_bench.comparison import watch as module
from prism_bench.comparison.forecast import Costs
from prism_bench.comparison.grid import Cell
from prism_bench.comparison.launchers import OUTPUT
from prism_bench.comparison.watch import watch

CONFIG = {"env": {}, "model": {}, "router": {}, "rollout": {}, "budget": {}}
CELLS = {name: Cell(name[0], 0, (name,), OmegaConf.create(), CONFIG, (), {}) for name in ("a-s0", "b-s0")}


class Scripted:
    """A launcher whose runs are in these states, one look after the other."""

    description, side_by_side = "scripted", 1

    def __init__(self, *looks: tuple[str, str]) -> None:
        self.looks = list(looks)

    def states(self) -> dict[str, str]:
        look = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        return dict(zip(("a-s0", "b-s0"), look, strict=True))


@pytest.fixture
def shown(tmp_path, monkeypatch):
    """Return a function that watches two runs, and what it printed."""
    monkeypatch.setattr(module, "LOOK_SECONDS", 0)
    (tmp_path / "a-s0").mkdir()
    (tmp_path / "a-s0" / OUTPUT).write_text("rl 3/8 updates, 2.1/s, 2 s left\n", encoding="utf-8")

    def show(*, terminal: bool) -> str:
        stream = io.StringIO()
        console = Console(file=stream, force_terminal=terminal, width=100, color_system=None)
        launcher = Scripted(("waiting", "waiting"), ("running", "waiting"), ("ended", "running"), ("ended", "ended"))
        folders = {name: tmp_path / name for name in CELLS}
        watch(CELLS, folders, launcher, console, lambda name: f"{name} has ended so", Costs(), lambda _: ())
        return stream.getvalue()

    return show


def test_every_run_is_announced_once_when_it_ends(shown):
    text = shown(terminal=False)
    assert text.count("a-s0 has ended so") == text.count("b-s0 has ended so") == 1
    assert text.splitlines()[-1] == "2 of 2 runs have ended, 0 running"


def test_a_terminal_shows_what_runs_with_its_phase(shown):
    text = shown(terminal=True)
    assert "0 of 2 runs have ended, 1 running" in text and "1 of 2 runs have ended, 1 running" in text
    assert "rl 3/8 updates, 2.1/s, 2 s left" in text


def test_the_time_left_leaves_out_what_is_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LOOK_SECONDS", 0)
    monkeypatch.setattr(module, "LINE_SECONDS", 0)
    rows = [LedgerRow("collect", seconds=600), LedgerRow("eval", seconds=60)]
    costs = Costs([run(stages=("base",), config=CONFIG, ledger=rows)])
    launcher = Scripted(*[("running", "waiting")] * 3, ("ended", "ended"))
    stream, asked = io.StringIO(), []

    def cached(cell: Cell) -> set[str]:
        asked.append(cell.name)
        return {"collect"}

    watch(CELLS, dict.fromkeys(CELLS, tmp_path), launcher, Console(file=stream), str, costs, cached)
    lines = [line for line in stream.getvalue().splitlines() if "1 running" in line]
    assert [line.split("about ")[1] for line in lines] == ["12 min 00 s left", "2 min 00 s left", "2 min 00 s left"]
    assert asked == ["a-s0", "b-s0"]
