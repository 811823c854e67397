"""Tables of one run, or of several beside each other, from nothing but their ``result.json``.

One run: success with intervals, differences between stages, cost per phase. Several: a row per run with success, total
cost and what routing took of it, and a row per configuration that was run with several seeds.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from prism_bench.accounting.ledger import LedgerRow
from prism_bench.results.result import STAGES
from prism_bench.results.statistics import mean_over_seeds

Result = Mapping[str, Any]

_OF_A_RUN = ("seed", "folder", "cache", "logger")  # settings that do not make it another procedure


def print_result(result: Result, console: Console, folder: Path | None = None) -> None:
    """Print the tables of one result; ``folder`` is where it lies, so that the paths of files can be shown whole."""
    allocation = result["allocation"]
    halves = f"{allocation['sft']:,} trajectories to SFT, {allocation['rl']:,} to RL"
    console.print(f"\n[bold]Router {escape(result['router'])}[/]: {halves}")
    console.print(
        "; ".join(f"{name}: {value}" for name, value in result["protocol"].items()), style="dim", markup=False
    )
    for split in _splits(result):
        console.print(_rates("Success", result["success"], split))
        if result["score"] != result["success"]:
            console.print(_rates("Score", result["score"], split))
    if result["paired"]:
        console.print(_differences("success", result["paired"], _splits(result)))
        if result["score"] != result["success"]:
            console.print(_differences("score", result["paired_score"], _splits(result)))
    total, routing = _spent(result), _spent(result, "route")
    console.print(_costs(_rows(result), total))
    if routing.seconds:
        flops, time = share(routing.flops, total.flops), share(routing.seconds, total.seconds)
        console.print(f"Routing took {flops} of the FLOPs and {time} of the time.")
    if total.worker_deaths:
        phases = ", ".join(dict.fromkeys(row.phase for row in _rows(result) if row.worker_deaths))
        console.print(
            f"Processes of environments that died: {total.worker_deaths:,} (in {phases}); episodes that they were "
            "playing count as failures.",
            style="bold red",
        )
    for name, path in result["files"].items():
        console.print(f"{name}: {folder / path if folder else path}", markup=False, soft_wrap=True)


def print_comparison(results: Mapping[str, Result], console: Console) -> None:
    """Print a table per split with one row per result, under the names given: success, and score where it differs.

    Where configurations were run with several seeds, each has a row in a second table, with the difference to the first
    of them, seed by seed.
    """
    partial = any(result["score"] != result["success"] for result in results.values())
    repeated = {name: runs for name, runs in _by_configuration(results).items() if len(runs) > 1}
    for split in dict.fromkeys(split for result in results.values() for split in _splits(result)):
        for quantity in ("success", "score") if partial else ("success",):
            console.print(_runs(results, quantity, split))
            if repeated:
                console.print(_seeds(repeated, quantity, split))
    protocols = [result["protocol"] for result in results.values()]
    differing = [key for key in protocols[0] if any(other.get(key) != protocols[0][key] for other in protocols)]
    if differing:
        console.print(f"Not comparable as they are: the protocols differ in {', '.join(differing)}.", style="bold red")


def count(number: float) -> str:
    """Write a number with three digits and a decimal prefix: 950, 12.3 k, 4.56 M, 1.20 P."""
    prefixes = ["", " k", " M", " G", " T", " P", " E", " Z"]
    while number >= 999.5 and len(prefixes) > 1:
        number /= 1000
        prefixes.pop(0)
    digits = 0 if prefixes[0] == "" or number >= 99.95 else 1 if number >= 9.995 else 2
    return f"{number:.{digits}f}{prefixes[0]}"


def duration(seconds: float) -> str:
    """Write a time in the two largest units that matter: 0.31 s, 12.3 s, 4 min 05 s, 2 h 03 min."""
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(round(seconds / 60), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{hours} h {minutes_left:02} min"


def memory(size: int) -> str:
    """Write a size in bytes as MiB or GiB."""
    return f"{size / 2**20:.0f} MiB" if size < 2**30 else f"{size / 2**30:.2f} GiB"


def share(part: float, whole: float) -> str:
    """Write what ``part`` is of ``whole`` in per cent."""
    return f"{100 * part / whole if whole else 0:.1f} %"


def _splits(result: Result) -> list[str]:
    return list(dict.fromkeys(split for splits in result["success"].values() for split in splits))


def _over_tasks(result: Result, quantity: str, stage: str, split: str) -> Mapping[str, float] | None:
    """Return the estimate over all tasks; None if the run lacks the stage or the split."""
    estimates: Mapping[str, Mapping[str, float]] = result[quantity].get(stage, {}).get(split, {})
    return estimates.get("all")


def _interval(estimate: Mapping[str, float], sign: str = "") -> str:
    mean, low, high = (100 * estimate[name] for name in ("mean", "low", "high"))
    return escape(f"{mean:{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]")


def _rates(title: str, table_of: Mapping[str, Any], split: str) -> Table:
    stages = {stage: splits[split] for stage, splits in table_of.items() if split in splits}
    table = Table(title=f"{title} on {split}, % with 95 % interval", title_justify="left")
    table.add_column("task type")
    table.add_column("tasks", justify="right")
    for stage in stages:
        table.add_column(stage, justify="right")
    groups = list(dict.fromkeys(group for found in stages.values() for group in found))
    for group in groups:
        estimates = [found.get(group) for found in stages.values()]
        tasks = max(estimate["n"] for estimate in estimates if estimate)
        cells = [_interval(estimate) if estimate else "" for estimate in estimates]
        table.add_row(escape(group), f"{tasks:,}", *cells, style="bold" if group == "all" else None)
    return table


def _runs(results: Mapping[str, Result], quantity: str, split: str) -> Table:
    measured = f"{quantity.capitalize()} on {split}, % with 95 % interval"
    title = f"{measured}; total cost, cached stages included; routing's part of it"
    table = Table(title=title, title_justify="left")
    for header in ("run", "router", "seed"):
        table.add_column(header, overflow="fold")
    for header in (*STAGES, "FLOPs", "routing", "time", "routing"):
        table.add_column(header, justify="right")
    for name, result in results.items():
        total, routing = _spent(result), _spent(result, "route")
        found = [_over_tasks(result, quantity, stage, split) for stage in STAGES]
        table.add_row(
            escape(name),
            escape(result["router"]),
            str(result["seeds"].get("seed", "")),
            *(_interval(estimate) if estimate else "" for estimate in found),
            count(total.flops),
            share(routing.flops, total.flops),
            duration(total.seconds),
            share(routing.seconds, total.seconds),
        )
    return table


def _by_configuration(results: Mapping[str, Result]) -> dict[str, dict[int, Result]]:
    """Return results by seed, by the first name of each configuration that is the same but for its seed."""
    names: dict[str, str] = {}
    groups: dict[str, dict[int, Result]] = {}
    for name, result in results.items():
        config = {key: value for key, value in result["config"].items() if key not in _OF_A_RUN}
        first = names.setdefault(json.dumps([result["router"], config], sort_keys=True), name)
        groups.setdefault(first, {})[result["seeds"].get("seed", 0)] = result
    return groups


def _seeds(groups: Mapping[str, Mapping[int, Result]], quantity: str, split: str) -> Table:
    def means(runs: Mapping[int, Result], stage: str) -> dict[int, float]:
        estimates = {seed: _over_tasks(run, quantity, stage, split) for seed, run in runs.items()}
        return {seed: estimate["mean"] for seed, estimate in estimates.items() if estimate}

    def cell(values: Sequence[float], sign: str = "") -> str:
        if len(values) < 2:
            return ""
        estimate = mean_over_seeds(values)
        return f"{100 * estimate.mean:{sign}.1f} ± {100 * (estimate.high - estimate.mean):.1f}"

    reference = next(iter(groups.values()))
    to_beat = means(reference, "final")
    title = f"{quantity.capitalize()} on {split}, %: means over seeds with 95 % interval (Student's t)"
    table = Table(title=title, title_justify="left")
    for header in ("first run", "router", "seeds"):
        table.add_column(header, overflow="fold")
    for header in (*STAGES, "final - first row's"):
        table.add_column(header, justify="right")
    for name, runs in groups.items():
        final = means(runs, "final")
        differences = [final[seed] - to_beat[seed] for seed in final if seed in to_beat and runs is not reference]
        table.add_row(
            escape(name),
            escape(next(iter(runs.values()))["router"]),
            ", ".join(map(str, sorted(runs))),
            *(cell(list(means(runs, stage).values())) for stage in STAGES),
            cell(differences, "+"),
        )
    return table


def _differences(quantity: str, paired: Mapping[str, Any], splits: Sequence[str]) -> Table:
    table = Table(title=f"Differences of {quantity} on the same tasks, points with 95 % interval", title_justify="left")
    table.add_column("stages")
    for split in splits:
        table.add_column(split, justify="right")
    for stages, differences in paired.items():
        cells = [_interval(differences[split], "+") if split in differences else "" for split in splits]
        table.add_row(stages.replace("-", " - "), *cells)
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


def _rows(result: Result) -> list[LedgerRow]:
    return [LedgerRow.from_dict(row) for row in result["ledger"]]


def _spent(result: Result, phase: str | None = None) -> LedgerRow:
    """Add up the cost of one phase, or of all of them; the memory is the highest peak."""
    total = LedgerRow("total")
    for row in _rows(result):
        if phase in (None, row.phase):
            total += replace(row, phase="total", cached=False)
    return total
