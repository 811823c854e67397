"""Progress without a terminal: content and frequency of the lines, and the note on an exception."""

import io
import re
import time

import pytest
from rich.console import Console

from prism_bench.errors import running_note
from prism_bench.results.progress import PhaseProgress


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def console(terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=100)


def text(shown: Console) -> str:
    return shown.file.getvalue()  # type: ignore[attr-defined]


def line_after(updates: list[tuple[float, int]], total: int | None = 160) -> str:
    """Return the line after updates at these times, in seconds since the beginning."""
    clock = Clock()
    progress = PhaseProgress(console(), "sft", total, "updates", clock=clock)
    for seconds, done in updates:
        clock.now = 1000.0 + seconds
        progress.update(done)
    return progress.line


@pytest.mark.parametrize(
    ("updates", "line"),
    [
        ([], "sft 0/160 updates, 0 s so far"),
        ([(20, 1)], "sft 1/160 updates, 20 s so far"),
        ([(1, 1), (11, 22)], "sft 22/160 updates, 2.1/s, 1 min 06 s left"),
        ([(10, 1), (20, 120)], "sft 120/160 updates, 12/s, 3 s left"),
        ([(60, 1), (180, 3)], "sft 3/160 updates, 1.0/min, 2 h 37 min left"),
        ([(0, 1), (7200, 2)], "sft 2/160 updates, 0.5/h, 316 h 00 min left"),
        ([(5, 100), (10, 110), (15, 120)], "sft 120/160 updates, 2.0/s, 20 s left"),  # the first hundred were there
        ([(1, 1), (80, 160)], "sft 160/160 updates, 2.0/s, 1 min 20 s in all"),
    ],
)
def test_a_line_says_what_is_done_how_fast_and_how_long_it_will_take(updates, line):
    assert line_after(updates) == line


def test_a_total_that_is_not_known_yet_is_left_out():
    assert line_after([(1, 1), (2, 3)], total=None) == "sft 3 updates, 2.0/s"


def test_a_total_can_come_with_an_update():
    clock = Clock()
    progress = PhaseProgress(console(), "sft", None, clock=clock)
    for done in range(1, 4):
        clock.now += 10
        progress.update(done, 4)
    assert progress.line == "sft 3/4, 6.0/min, 10 s left"


def test_lines_are_written_though_no_update_comes():
    shown = console()
    with PhaseProgress(shown, "rl", 4, "updates", line_seconds=0.02) as progress:
        progress.update(1)
        deadline = time.monotonic() + 10
        while text(shown).count("\n") < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        progress.update(4)
    lines = text(shown).splitlines()
    assert len(lines) >= 4
    assert all(re.fullmatch(r"rl 1/4 updates, \d+ s so far", line) for line in lines[:3])
    assert re.fullmatch(r"rl 4/4 updates, .*/s, \d+ s in all", lines[-1])


def test_a_short_phase_is_one_line():
    shown = console()
    with PhaseProgress(shown, "[collect]", 8, "episodes") as progress:
        for done in range(1, 9):
            progress.update(done)
    assert text(shown).count("\n") == 1 and text(shown).startswith("[collect] 8/8 episodes, ")


def test_a_terminal_shows_a_bar_with_rate_and_time_left():
    shown, clock = console(terminal=True), Clock()
    with PhaseProgress(shown, "sft", 160, "updates", clock=clock) as progress:
        progress.update(1)
        clock.now += 10
        progress.update(22)
    painted = text(shown)
    assert "22/160" in painted and "2.1/s, 1 min 06 s left" in painted and "━" in painted


@pytest.mark.parametrize("terminal", [False, True])
def test_an_exception_takes_the_place_with_it(terminal):
    shown = console(terminal)
    with pytest.raises(ValueError, match="deep inside") as caught, PhaseProgress(shown, "sft", 160, "updates") as outer:
        outer.update(120)
        with PhaseProgress(shown, "eval base", 8, "episodes"):
            raise ValueError("deep inside")
    assert running_note(caught.value) == "while running: phase eval base, 0/8 episodes"
    assert terminal or text(shown) == ""
