"""What each lever of RL is worth: one setting changed at a time, five seeds, from the same SFT policies.

    OMP_NUM_THREADS=1 python benchmarks/rl_levers.py alfworld [--processes 2] [--out runs/levers]
    python benchmarks/rl_levers.py alfworld --table

Levers and settings were written down here before the first run. The runs of a seed share all stages before RL. A cell
that has a result is not run again, so the command can be stopped and started. Differences are between success after RL
and after SFT, greedy, in points; intervals are Student's t over seeds, at 95 %. Levers are chosen on the validation
split, so the test split says what a choice is worth.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from scipy import stats

from prism_bench.results.loggers import METRICS_FILE
from prism_bench.results.result import RESULT, read_result

ROOT = Path(__file__).resolve().parents[1]
NONE = "none"
ALIKE = "rl/frac_reward_zero_std"  # in metrics


@dataclass(frozen=True)
class Study:
    """Levers by name, what they all have in common, and the splits."""

    common: Sequence[str]
    levers: Mapping[str, Sequence[str]]
    validation: str
    test: str


STUDIES = {
    "alfworld": Study(
        common=("env=alfworld", "rl.max_steps=40", "eval.curve_points=0", "logger=none"),
        levers={
            NONE: (),
            "GiGPO": ("algorithm=gigpo",),
            "resample": ("algorithm.resample=1",),
            "temperature 1": ("rollout.temperature=1.0",),
            "temperature 0.5": ("rollout.temperature=0.5",),
            "KL": ("algorithm.beta=0.02",),
            "16 rollouts of 16 tasks": ("algorithm.num_generations=16",),
            "linear schedule": ("algorithm.lr_scheduler_type=linear",),
            "twice the learning rate": ("rl.learning_rate=6e-4",),
            "Dr. GRPO": ("algorithm.loss_type=dr_grpo", "algorithm.scale_rewards=none"),
        },
        validation="valid_seen",
        test="valid_unseen",
    ),
    "webshop": Study(
        # on goals that SFT did not have: it solves 96 % of those that it had
        common=("env=webshop", "router=random", "strategy=split", "eval.curve_points=0", "logger=none"),
        levers={
            NONE: (),
            "8 tasks an update, 640 updates": ("algorithm.gradient_accumulation_steps=1", "rl.max_steps=640"),
            "320 updates": ("rl.max_steps=320",),
            "GiGPO": ("algorithm=gigpo",),
            "three times the learning rate": ("rl.learning_rate=3e-4",),
            "reward of success alone": ("algorithm.reward=success",),
            "temperature 0.7": ("rollout.temperature=0.7",),
            "resample": ("algorithm.resample=1",),
        },
        validation="valid",
        test="test",
    ),
}


def run(study: Study, lever: str, seed: int, out: Path, further: Sequence[str]) -> None:
    """Make one cell, unless it is there."""
    folder = cell(out, lever, seed)
    if (folder / RESULT).exists():
        return
    settings = [*study.common, *study.levers[lever], f"seed={seed}", f"cache={out / 'stages'}", *further]
    command = [sys.executable, str(ROOT / "run.py"), *settings, f"hydra.run.dir={folder}"]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".log").open("w") as log:
        code = subprocess.run(command, stdout=log, stderr=log, env={"OMP_NUM_THREADS": "1", **os.environ}).returncode
    print(f"{lever}, seed {seed}: {'done' if not code else f'failed, see {log.name}'}", flush=True)


def cell(out: Path, lever: str, seed: int) -> Path:
    return out / f"{lever.replace(' ', '_').replace('.', '')}-{seed}"


def table(name: str, out: Path, seeds: int) -> Table:
    """Return the table of all cells that are there."""
    study = STUDIES[name]
    columns = ("lever", "seeds", "RL - SFT", f"RL - SFT, difference to {NONE}", "final", f"final, {study.test}")
    shown = Table(title=f"{name}: {' '.join(study.common)}", title_justify="left", box=box.MARKDOWN)
    for column in (*columns, f"difference to {NONE}, {study.test}", "FLOPs of RL", "groups alike"):
        shown.add_column(column, justify="left" if column == "lever" else "right")
    found = {lever: results(out, lever, seeds) for lever in study.levers}
    for lever, runs in found.items():
        if not runs:
            continue
        shown.add_row(
            f"{lever} `{' '.join(study.levers[lever])}`".removesuffix(" ``"),
            str(len(runs)),
            with_interval([gain(result, study.validation) for result in runs.values()]),
            difference(runs, found[NONE], study.validation),
            f"{statistics.mean(final(result, study.validation) for result in runs.values()):.1f}",
            f"{statistics.mean(final(result, study.test) for result in runs.values()):.1f}",
            difference(runs, found[NONE], study.test),
            f"{statistics.mean(flops(result) for result in runs.values()) / 1e12:.2f} T",
            f"{statistics.mean(groups_alike(cell(out, lever, seed)) for seed in runs):.0%}",
        )
    return shown


def results(out: Path, lever: str, seeds: int) -> dict[int, Mapping[str, Any]]:
    """Return the results of a lever by seed."""
    files = {seed: cell(out, lever, seed) / RESULT for seed in range(seeds)}
    return {seed: read_result(file) for seed, file in files.items() if file.exists()}


def final(result: Mapping[str, Any], split: str) -> float:
    return 100 * result["success"]["rl"][split]["all"]["mean"]


def gain(result: Mapping[str, Any], split: str) -> float:
    return 100 * result["paired"]["rl - sft"][split]["mean"]


def difference(runs: Mapping[int, Any], others: Mapping[int, Any], split: str) -> str:
    """Return by how much RL gained more than in ``others``, seed by seed; nothing if these are the same runs."""
    seeds = [] if runs is others else [seed for seed in runs if seed in others]
    return with_interval([gain(runs[seed], split) - gain(others[seed], split) for seed in seeds])


def flops(result: Mapping[str, Any]) -> float:
    return next(row["flops"] for row in result["ledger"] if row["phase"] == "rl")


def groups_alike(folder: Path) -> float:
    """Return the mean share of groups whose episodes all earned the same."""
    rows = map(json.loads, (folder / METRICS_FILE).read_text(encoding="utf-8").splitlines())
    return statistics.mean(row[ALIKE] for row in rows if ALIKE in row)


def with_interval(values: Sequence[float]) -> str:
    """Return the mean with an interval of Student's t over seeds."""
    if len(values) < 2:
        return " ".join(f"{value:+.1f}" for value in values)
    half = float(stats.t.ppf(0.975, len(values) - 1)) * float(stats.sem(np.array(values)))
    mean = statistics.mean(values)
    return f"{mean:+.1f} [{mean - half:+.1f}, {mean + half:+.1f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--levers", nargs="+", help="only these")
    parser.add_argument("--out", type=Path, default=Path("runs/levers"))
    parser.add_argument("--table", action="store_true", help="only print the table of what is there")
    parser.add_argument("--set", nargs="+", default=[], help="further settings of every run", metavar="KEY=VALUE")
    arguments = parser.parse_args()
    study, out = STUDIES[arguments.study], arguments.out.resolve() / arguments.study
    if not arguments.table:
        cells = [(lever, seed) for lever in arguments.levers or study.levers for seed in range(arguments.seeds)]
        with ThreadPoolExecutor(arguments.processes) as pool:
            list(pool.map(lambda one: run(study, *one, out, arguments.set), cells))
    Console(width=400).print(table(arguments.study, out, arguments.seeds))


if __name__ == "__main__":
    main()
