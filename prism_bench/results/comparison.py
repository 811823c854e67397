"""Tables of several runs beside each other, from nothing but their ``result.json``.

Each run has a row with its cost and its success before and after training; each configuration that was run with several
seeds has a row of means. Runs of different strategies have different stages; only the first and the last are compared.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from prism_bench.results.result import final_stage, flops_to_reach
from prism_bench.results.schema import BASE
from prism_bench.results.statistics import mean_over_seeds, paired_over_seeds
from prism_bench.results.tables import Result, interval, over_tasks, spent, splits_of
from prism_bench.results.units import count, duration, share

_OF_A_RUN = ("seed", "folder", "cache", "logger")  # settings that do not change the procedure


def print_comparison(results: Mapping[str, Result], console: Console, reach: float = 0.6) -> None:
    """Print a table per split with one row per result, under the names given: success, and score where it differs.

    Configurations that were run with several seeds have a row each in a second table, with the difference to the first
    of them, seed by seed. ``reach`` is the success to which the FLOPs are counted.
    """
    partial = any(result["score"] != result["success"] for result in results.values())
    repeated = {name: runs for name, runs in _by_configuration(results).items() if len(runs) > 1}
    for split in dict.fromkeys(split for result in results.values() for split in splits_of(result)):
        for quantity in ("success", "score") if partial else ("success",):
            console.print(_runs(results, quantity, split, reach))
            if repeated:
                console.print(_seeds(repeated, quantity, split))
    protocols = [result["protocol"] for result in results.values()]
    differing = [key for key in protocols[0] if any(other.get(key) != protocols[0][key] for other in protocols)]
    if differing:
        console.print(f"Not comparable as they are: the protocols differ in {', '.join(differing)}.", style="bold red")


def _runs(results: Mapping[str, Result], quantity: str, split: str, reach: float) -> Table:
    measured = f"{quantity.capitalize()} on {split}, % with 95 % interval"
    title = f"{measured}; total cost, cached stages included; routing's part of it"
    table = Table(title=title, title_justify="left")
    for header in ("run", "strategy", "router", "seed"):
        table.add_column(header, overflow="fold")
    reached = f"FLOPs to {100 * reach:g} %"
    for header in ("base", "final", "FLOPs", reached, "routing", "time", "routing"):
        table.add_column(header, justify="right")
    for name, result in results.items():
        total, routing = spent(result), spent(result, "route")
        found = [over_tasks(result, quantity, stage, split) for stage in (BASE, final_stage(result))]
        flops = flops_to_reach(result, reach)
        never = "never" if result["curves"] else ""
        table.add_row(
            escape(name),
            escape(result["strategy"]),
            escape(result["router"] or "-"),
            str(result["seeds"].get("seed", "")),
            *(interval(estimate) if estimate else "" for estimate in found),
            count(total.flops),
            never if flops is None else count(flops),
            share(routing.flops, total.flops),
            duration(total.seconds),
            share(routing.seconds, total.seconds),
        )
    return table


def _by_configuration(results: Mapping[str, Result]) -> dict[str, dict[int, Result]]:
    """Return the results of each configuration by seed, under the name of its first result."""
    names: dict[str, str] = {}
    groups: dict[str, dict[int, Result]] = {}
    for name, result in results.items():
        config = {key: value for key, value in result["config"].items() if key not in _OF_A_RUN}
        first = names.setdefault(json.dumps([result["strategy"], result["router"], config], sort_keys=True), name)
        groups.setdefault(first, {})[result["seeds"].get("seed", 0)] = result
    return groups


def _seeds(groups: Mapping[str, Mapping[int, Result]], quantity: str, split: str) -> Table:
    def values(run: Result, stage: str) -> dict[str, float]:
        rows = (row for row in run["outcomes"] if (row["stage"], row["split"]) == (stage, split))
        return {row["task_id"]: float(row[quantity]) for row in rows}

    def final(run: Result) -> dict[str, float]:
        return values(run, final_stage(run))

    first = next(iter(groups.values()))
    title = f"{quantity.capitalize()} on {split}, %: means over seeds with 95 % interval over seeds and tasks"
    table = Table(title=title, title_justify="left")
    for header in ("first run", "strategy", "router", "seeds"):
        table.add_column(header, overflow="fold")
    for header in ("base", "final", "final - first row's"):
        table.add_column(header, justify="right")
    for name, runs in groups.items():
        shared = [] if runs is first else sorted(runs.keys() & first.keys())
        run = next(iter(runs.values()))
        table.add_row(
            escape(name),
            escape(run["strategy"]),
            escape(run["router"] or "-"),
            ", ".join(map(str, sorted(runs))),
            _mean([values(run, BASE) for run in runs.values()]),
            _mean([final(run) for run in runs.values()]),
            _difference([final(first[seed]) for seed in shared], [final(runs[seed]) for seed in shared]),
        )
    return table


def _mean(runs: Sequence[Mapping[str, float]]) -> str:
    """Write the mean over runs, each given as its values by task; an empty text for fewer than two runs."""
    rows = _on_shared_tasks(runs)
    return interval(asdict(mean_over_seeds(rows))) if len(rows) > 1 else ""


def _difference(before: Sequence[Mapping[str, float]], after: Sequence[Mapping[str, float]]) -> str:
    rows = _on_shared_tasks([*before, *after])
    return interval(asdict(paired_over_seeds(rows[: len(before)], rows[len(before) :])), "+") if len(rows) > 2 else ""


def _on_shared_tasks(runs: Sequence[Mapping[str, float]]) -> list[list[float]]:
    """Return the values of the tasks that all runs have, (runs, tasks); nothing if there are no such tasks."""
    shared = sorted(set.intersection(*map(set, runs))) if runs else []
    return [[run[task] for task in shared] for run in runs] if shared else []
