"""Does conflict prefer RL? SFT against RL on the demonstrations and tasks of one regime, regime by regime.

    prism-bench compare experiment=conflict model=tiny model.initializer_range=0.09 rl.max_steps=40 \\
        'strategy=[sft,rl]' 'seed=range(5)' trajectories=512 eval.tasks=448 \\
        'env.regimes=[[clean],[wording],[places],[rules],[rooms],[types],[noise]]' \\
        'env.eval_regimes=[[clean,wording,places,rules,rooms,types,noise]]' --out runs/treatment
    python benchmarks/treatment.py runs/treatment/comparison.json

SFT and RL of a seed and a regime start from one base model, which was taught clean games and knows the words of the
regime, and are evaluated on unseen games of every regime. The model has two layers, since nothing is probed, and
weights that let it learn from few games. Two tables: success on the regime that was trained on, with what training
cost, and on clean games, which says what was forgotten. At equal compute SFT has as many epochs as RL's FLOPs pay for,
which ``sft.num_train_epochs`` says regime by regime (``results/README.md``). Differences are RL less SFT in points,
paired by seed and task; intervals are over seeds and tasks, at 95 %.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from prism_bench.comparison.costs import costs_of
from prism_bench.comparison.record import Comparison, Run, read_comparison
from prism_bench.comparison.rows import METHOD
from prism_bench.environments.contract import CLEAN
from prism_bench.results.schema import BASE
from prism_bench.results.significance import holm, p_value, smallest_difference
from prism_bench.results.statistics import paired_over_seeds
from prism_bench.results.units import count

Successes = Mapping[int, list[float]]  # by seed, of the tasks of one regime


def successes(comparison: Comparison, runs: Mapping[int, Run], stage: str | None, split: str, regime: str) -> Successes:
    """Return the successes of a stage on the games of a regime; of the last stage if ``stage`` is None."""
    found = {}
    for seed, run in runs.items():
        outcomes = run.outcomes[stage or list(run.outcomes)[-1]][split]
        types = comparison.lists[outcomes.tasks].types
        found[seed] = [
            float(s) for s, kind in zip(outcomes.success, types, strict=True) if _regime(str(kind)) == regime
        ]
    return found


def _regime(task_type: str) -> str:
    """Return the regime that a task type begins with; clean ones have a type alone."""
    return task_type.rpartition(" ")[0] or CLEAN


def cells(comparison: Comparison) -> dict[str, dict[str, str]]:
    """Return the configuration of every regime and strategy."""
    found: dict[str, dict[str, str]] = {}
    for configuration in comparison.configurations:
        regimes: Any = configuration.settings.get("env.regimes")
        if regimes is None:
            sys.exit("treatment.py: all runs have the same env.regimes; give a comparison of several regimes")
        names = regimes if isinstance(regimes, list) else str(regimes).strip("[]").split(",")
        found.setdefault(str(names[0]).strip(), {})[configuration.strategy] = configuration.name
    return found


def flops(comparison: Comparison, configuration: str) -> float:
    """Return the FLOPs of training, in the mean over the seeds of a configuration."""
    chosen = next(each for each in comparison.configurations if each.name == configuration)
    return next(cost.quantities["flops"] for cost in costs_of(comparison, chosen) if cost.phase == METHOD)


def table_of(comparison: Comparison, split: str, on_clean: bool) -> Table:
    """Return SFT and RL of every regime side by side, on that regime or on clean games."""
    measured = "clean games" if on_clean else "the regime"
    table = Table("trained on", "base", "SFT", "RL", "RL - SFT", "p", "could be seen", box=box.MARKDOWN)
    for header in () if on_clean else ("FLOPs of SFT", "of RL", "RL by seed"):
        table.add_column(header)
    table.title = f"success on {measured}, {split}, %"
    rows, p_values = [], []
    for regime, names in cells(comparison).items():
        if not {"sft", "rl"} <= names.keys():
            continue
        runs = {strategy: comparison.of(name) for strategy, name in names.items()}
        seeds = [seed for seed in runs["sft"] if seed in runs["rl"]]
        where = CLEAN if on_clean else regime
        base = successes(comparison, runs["sft"], BASE, split, where)
        sft, rl = (successes(comparison, runs[name], None, split, where) for name in ("sft", "rl"))
        pair = [sft[seed] for seed in seeds], [rl[seed] for seed in seeds]
        more = []
        if not on_clean:
            more = [count(flops(comparison, names[strategy])) for strategy in ("sft", "rl")]
            more.append(", ".join(f"{100 * fmean(each):.0f}" for each in pair[1]))
        means = [f"{100 * fmean(np.concatenate(list(each.values()))):.1f}" for each in (base, sft, rl)]
        if len(seeds) > 1:
            estimate = paired_over_seeds(*pair)
            p_values.append(p_value(*pair))
            shown = f"{100 * estimate.mean:+.1f} [{100 * estimate.low:+.1f}, {100 * estimate.high:+.1f}]"
            rows.append((regime, *means, shown, f"{100 * smallest_difference(*pair):.1f}", *more))
        else:
            p_values.append(1.0)
            rows.append((regime, *means, f"{100 * (fmean(pair[1][0]) - fmean(pair[0][0])):+.1f}", "one seed", *more))
    for row, p in zip(rows, holm(p_values), strict=True):
        table.add_row(*row[:5], f"{p:.3f}", *row[5:])
    return table


def main() -> None:
    """Print both tables for every split."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("comparison", type=Path)
    comparison, _ = read_comparison(parser.parse_args().comparison)
    console = Console(width=160)
    for split in list(comparison.runs[0].outcomes[BASE]):
        for on_clean in (False, True):
            console.print(table_of(comparison, split, on_clean), "")


if __name__ == "__main__":
    main()
