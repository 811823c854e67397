"""Tables of one run, from nothing but its ``result.json``.

Success with intervals, differences between stages, learning curves, cost per phase, and warnings.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from prism_bench.accounting.meter import LedgerRow
from prism_bench.results.outcomes import MINUS
from prism_bench.results.result import final_stage
from prism_bench.results.schema import BASE
from prism_bench.results.units import count, duration, memory, share

Result = Mapping[str, Any]

MOST_TRUNCATED = 0.01
"""Share of rollouts or demonstrations that may end early before a warning is printed."""

_TRUNCATED = {
    "context_full": "of the rollouts in {phase} ended because the context was full; raise model.max_length",
    "demonstrations_truncated": "of the demonstrations in {phase} lost steps at the end of the context; "
    "raise model.max_length",
}

FAULT_WORDS = {
    "hangs": "calls without an answer in time",
    "errors": "exceptions",
    "invalid_answers": "invalid answers",
    "worker_deaths": "processes or servers that were gone",
}


def print_result(result: Result, console: Console, folder: Path | None = None) -> None:
    """Print the tables of one result; with its ``folder``, the paths of its files are printed whole."""
    console.print(_title(result), highlight=False)
    for each in result["phases"]:
        console.print(_phase(each), highlight=False, markup=False)
    console.print(
        "; ".join(f"{name}: {value}" for name, value in result["protocol"].items()), style="dim", markup=False
    )
    for name, selection in result["selections"].items():
        console.print(_selection(name, selection), style="dim", markup=False, highlight=False)
    partial = result["score"] != result["success"]
    for split in splits_of(result):
        console.print(_rates("Success", result["success"], split))
        if partial:
            console.print(_rates("Score", result["score"], split))
    for quantity, paired in (("success", "paired"), ("score", "paired_score")):
        if result[paired] and (quantity == "success" or partial):
            console.print(_differences(quantity, result, paired))
    for (phase, split), points in groupby(result["curves"], key=lambda point: (point["phase"], point["split"])):
        title = f"Learning curve of {phase} on {split}, %; FLOPs are cumulative"
        console.print(title, style="italic", markup=False, highlight=False)
        console.print(_curve(list(points), partial, most=max(2, (console.width - 12) // 9)))
    total, routing = spent(result), spent(result, "route")
    console.print(_costs(_rows(result), total))
    if routing.seconds:
        flops, time = share(routing.flops, total.flops), share(routing.seconds, total.seconds)
        console.print(f"Routing took {flops} of the FLOPs and {time} of the time.")
    _print_warnings(result, console)
    for name, path in result["files"].items():
        if not name.startswith("episodes "):  # one for every stage and split, which the page shows
            console.print(f"{name}: {folder / path if folder else path}", markup=False, soft_wrap=True)


def splits_of(result: Result) -> list[str]:
    """Return the splits on which any stage was evaluated."""
    return list(dict.fromkeys(split for splits in result["success"].values() for split in splits))


def interval(estimate: Mapping[str, float], sign: str = "") -> str:
    """Write an estimate in per cent with its interval, as markup: ``62.5 [47.0, 75.8]``."""
    mean, low, high = (100 * estimate[name] for name in ("mean", "low", "high"))
    return escape(f"{mean:{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]")


def _rows(result: Result) -> list[LedgerRow]:
    return [LedgerRow(**row) for row in result["ledger"]]


def spent(result: Result, phase: str | None = None) -> LedgerRow:
    """Add up the cost of one phase, or of all of them; the memory is the highest peak."""
    total = LedgerRow("total")
    for row in _rows(result):
        if phase in (None, row.phase):
            total += replace(row, phase="total", cached=False)
    return total


def _title(result: Result) -> str:
    allocation = result["allocation"]
    if allocation is None:
        return f"\n[bold]Strategy {escape(result['strategy'])}[/], no router"
    division = f"{allocation['sft']:,} trajectories to SFT, {allocation['rl']:,} to RL"
    return f"\n[bold]Strategy {escape(result['strategy'])}, router {escape(result['router'])}[/]: {division}"


def _phase(phase: Mapping[str, Any]) -> str:
    data = [f"{phase[kind]:,} {kind}" for kind in ("demonstrations", "tasks") if phase[kind]]
    ended = {"completed": "", "budget": ", ended at the budget", "plateau": ", ended at a plateau"}[phase["ended"]]
    updates = f"{phase['updates']:,} updates"
    return f"{phase['name']}: {phase['algorithm']} on {' and '.join(data) or 'nothing'}, {updates}{ended}"


def _selection(name: str, selection: Mapping[str, Any]) -> str:
    types = "" if selection["types"] is None else f" ({', '.join(f'{n:,} {t}' for t, n in selection['types'].items())})"
    solved = selection["solved"]
    left_out = selection["tasks"] - (selection["tasks"] if solved is None else solved)
    lost = f"; {left_out:,} that the expert failed are left out" if left_out else ""
    return f"{name}: {selection['tasks']:,} of {selection['of']:,} tasks of {selection['split']}{types}{lost}"


def _print_warnings(result: Result, console: Console) -> None:
    for phase, shares in result["truncation"].items():
        for name, warning in _TRUNCATED.items():
            part = shares[name]
            if part is not None and part > MOST_TRUNCATED:
                text = f"{100 * part:.1f} % {warning.format(phase=phase)}."
                console.print(text, style="bold red", markup=False, highlight=False)
    for row in _rows(result):
        found = [f"{getattr(row, kind):,} {words}" for kind, words in FAULT_WORDS.items() if getattr(row, kind)]
        if found:
            text = f"Environments failed in {row.phase} ({', '.join(found)}): {lost_words(row)}."
            console.print(text, style="bold red", markup=False, highlight=False)


def lost_words(row: LedgerRow) -> str:
    """Return how many episodes were lost, and what that means."""
    lost = row.lost_episodes
    return f"{lost:,} {'episode' if lost == 1 else 'episodes'} lost, which count as failures" if lost else "none lost"


def _rates(title: str, table_of: Mapping[str, Any], split: str) -> Table:
    stages = {stage: splits[split] for stage, splits in table_of.items() if split in splits}
    table = Table(title=f"{title} on {split}, % with 95 % interval", title_justify="left")
    table.add_column("task type")
    table.add_column("tasks", justify="right")
    for stage in stages:
        table.add_column(escape(stage), justify="right")
    groups = list(dict.fromkeys(group for found in stages.values() for group in found))
    for group in groups:
        estimates = [found.get(group) for found in stages.values()]
        tasks = max(estimate["n"] for estimate in estimates if estimate)
        cells = [interval(estimate) if estimate else "" for estimate in estimates]
        table.add_row(escape(group), f"{tasks:,}", *cells, style="bold" if group == "all" else None)
    return table


def _differences(quantity: str, result: Result, paired: str) -> Table:
    """Return the table of differences: of each stage to ``base``, and of the last stage to each."""
    splits = splits_of(result)
    table = Table(title=f"Differences of {quantity} on the same tasks, points with 95 % interval", title_justify="left")
    table.add_column("stages")
    for split in splits:
        table.add_column(escape(split), justify="right")
    for stages, found in result[paired].items():
        later, _, earlier = stages.partition(MINUS)
        if earlier == BASE or later == final_stage(result):
            cells = [interval(found[split], "+") if split in found else "" for split in splits]
            table.add_row(escape(stages), *cells)
    return table


def _curve(points: Sequence[Mapping[str, Any]], partial: bool, most: int) -> Table:
    """Return one phase's learning curve with a column per point; of more than ``most``, evenly chosen ones."""
    if len(points) > most:
        points = [points[round(number * (len(points) - 1) / (most - 1))] for number in range(most)]
    table = Table()
    table.add_column("update")
    for point in points:
        table.add_column(f"{point['update']:,}", justify="right")
    table.add_row("FLOPs", *(count(point["flops"]) for point in points))
    for quantity in ("success", "score") if partial else ("success",):
        table.add_row(quantity, *(f"{100 * point[quantity]:.1f}" for point in points))
    return table


def _costs(rows: Sequence[LedgerRow], total: LedgerRow) -> Table:
    columns: dict[str, Callable[[LedgerRow], str]] = {
        "tokens read": lambda row: count(row.prefill_tokens),
        "generated": lambda row: count(row.generated_tokens),
        "trained on": lambda row: count(row.trained_tokens),
        "FLOPs": lambda row: count(row.flops),
        "env steps": lambda row: count(row.env_steps),
        "time": lambda row: duration(row.seconds),
        "device time": lambda row: duration(row.device_seconds),
        "memory": lambda row: memory(row.peak_memory_bytes),
    }
    if total.seconds == total.device_seconds:
        del columns["device time"]
    table = Table(title="Cost per phase", title_justify="left")
    table.add_column("phase")
    for header in columns:
        table.add_column(header, justify="right")
    for row in rows:
        table.add_row(f"{row.phase} (cached)" if row.cached else row.phase, *(cell(row) for cell in columns.values()))
    table.add_section()
    table.add_row("total", *(cell(total) for cell in columns.values()), style="bold")
    return table
