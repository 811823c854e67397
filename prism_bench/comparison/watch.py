"""The screen of a comparison that is under way: cells done, running with their phase, failed, and the time left."""

import re
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from prism_bench.comparison.forecast import Costs, phases_of
from prism_bench.comparison.grid import Cell
from prism_bench.comparison.launchers import OUTPUT, Launcher, State
from prism_bench.results.units import duration

LOOK_SECONDS = 1.0
LINE_SECONDS = 30.0
TAIL = 4096  # bytes of a run's output in which its last line is looked for


def watch(
    cells: Mapping[str, Cell],
    folders: Mapping[str, Path],
    launcher: Launcher,
    console: Console,
    ended: Callable[[str], str],
    costs: Costs,
    cached: Callable[[Cell], Collection[str]],
) -> None:
    """Show the runs until all have ended.

    Args:
        cells: the runs, by name.
        folders: of the runs, by name.
        ended: called with the name of a run when it has ended; returns the line that is printed about it.
        costs: of phases; ``ended`` may add to them.
        cached: the phases of a run that need not be made. It takes its time: one run is looked up between two looks.
    """
    there: set[str] = set()
    not_looked_up = list(cells)
    since: dict[str, float] = {}
    before: dict[str, State] = {}
    next_line = time.monotonic() + LINE_SECONDS
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            states = launcher.states()
            now = time.monotonic()
            for name, state in states.items():
                if state == "running":
                    since.setdefault(name, now)
                if state == "ended" and before.get(name) != "ended":
                    console.print(ended(name), markup=False, highlight=False, soft_wrap=True)
            before = states
            running = {name: now - since[name] for name, state in states.items() if state == "running"}
            over = all(state == "ended" for state in states.values())
            if console.is_terminal or over or now >= next_line:
                left = seconds_left(cells, states, running, costs, launcher.side_by_side, there)
                headline = _headline(states, left)
                live.update(_screen(headline, running, folders), refresh=console.is_terminal)
                if not console.is_terminal:
                    console.print(headline, markup=False, highlight=False, soft_wrap=True)
                next_line = now + LINE_SECONDS
            if over:
                return
            if not_looked_up and states[name := not_looked_up.pop(0)] != "ended":
                there |= {phases_of(cells[name])[phase] for phase in cached(cells[name])}
            time.sleep(LOOK_SECONDS)


def seconds_left(
    cells: Mapping[str, Cell],
    states: Mapping[str, State],
    running: Mapping[str, float],
    costs: Costs,
    side_by_side: int | None,
    there: Collection[str] = (),
) -> float | None:
    """Return the time that the rest takes; None as long as the cost of a phase is not known.

    Args:
        running: seconds since the start of the runs that have not ended.
        side_by_side: how many run at the same time; None for all that run now.
        there: keys of phases (:func:`phases_of`) that need not be made.
    """
    made = {*there} | {
        key for name, state in states.items() if state == "ended" for key in phases_of(cells[name]).values()
    }
    left = {}
    rest = [name for name, state in states.items() if state != "ended"]
    for name in sorted(rest, key=lambda name: name not in running):
        seconds = 0.0
        for phase, key in phases_of(cells[name]).items():
            if key in made:
                continue
            made.add(key)
            cost = costs.expected(cells[name], phase)
            if cost is None:
                return None
            seconds += cost.seconds
        left[name] = max(0.0, seconds - running.get(name, 0.0))
    slots = side_by_side or max(1, len(running))
    return max(sum(left.values()) / slots, max((left[name] for name in running), default=0.0))


def last_line(output: Path) -> str:
    """Return the last line of a run's output; an empty text before there is one."""
    if not output.is_file():
        return ""
    with output.open("rb") as file:
        file.seek(max(0, output.stat().st_size - TAIL))
        lines = file.read().decode(errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def reason(folder: Path) -> str:
    """Return why the process whose folder this is failed: the last line of its output."""
    return re.sub(r"^error: ", "", last_line(folder / OUTPUT)) or "it was ended before it said anything"


def _headline(states: Mapping[str, State], left: float | None) -> str:
    counts = {state: sum(each == state for each in states.values()) for state in ("ended", "running")}
    rest = "" if left is None or counts["ended"] == len(states) else f", about {duration(left)} left"
    return f"{counts['ended']} of {len(states)} runs have ended, {counts['running']} running{rest}"


def _screen(headline: str, running: Mapping[str, float], folders: Mapping[str, Path]) -> Group:
    table = Table.grid(padding=(0, 2))
    for name, seconds in running.items():
        table.add_row(Text(name), Text(duration(seconds), style="dim"), Text(last_line(folders[name] / OUTPUT)))
    return Group(Text(headline, style="bold"), table)
