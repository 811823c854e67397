"""How many runs of the default model a machine carries best: whole runs, shrunk to a minute, side by side.

    python benchmarks/side_by_side.py [--processes 1x1 1x2 2x1 4x1]

PROCESSESxTHREADS are run one after the other, each with caches of its own, so that every run does everything: collect,
base stage, SFT, two updates of GRPO, evaluation. Runs per hour decide how many a comparison starts (``--processes``).
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from rich import box
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
SHRUNK = (
    "strategy=sft_then_rl",
    "trajectories=256",
    "model.base.episodes=256",
    "rl.max_steps=2",
    "eval.tasks=32",
    "eval.curve_points=0",
    "logger=none",
)


def seconds(processes: int, threads: int) -> float:
    """Return the time that so many runs take side by side."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    with tempfile.TemporaryDirectory() as folder:
        places = [f"{folder}/{number}" for number in range(processes)]
        commands = [
            [sys.executable, "run.py", *SHRUNK, f"cache={place}/cache", f"hydra.run.dir={place}/run"]
            for place in places
        ]
        start = time.perf_counter()
        running = [subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE) for command in commands]
        for process in running:
            process.communicate()
        if any(process.returncode for process in running):
            raise SystemExit("a run failed")
        return time.perf_counter() - start


def main() -> None:
    """Print runs per hour for each number of processes and threads."""
    cores = psutil.cpu_count(logical=False) or 1
    usual = [f"1x{cores}", f"{cores}x1", f"{2 * cores}x1"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", nargs="+", default=usual, metavar="PROCESSESxTHREADS")
    table = Table("side by side", "threads each", "seconds", "runs per hour", box=box.MARKDOWN)
    for each in parser.parse_args().processes:
        processes, threads = map(int, each.split("x"))
        took = seconds(processes, threads)
        table.add_row(str(processes), str(threads), f"{took:.0f}", f"{3600 * processes / took:.0f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
