"""Time of the phases of one run, made by one process of one thread and by several together.

    python benchmarks/processes.py [--processes 2] [SETTING ...]

``run.py`` is started by itself and under ``torchrun``, one after the other and each with a cache of its own. The
settings are those of the default run with fewer games and updates; further ones are added. The seconds are those of the
two ledgers. The table says too whether both solve the same games, as they should.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from prism_bench.results.result import phase_costs, read_result

RUN = Path(__file__).resolve().parents[1] / "run.py"
SETTINGS = ("trajectories=256", "eval.tasks=128", "eval.curve_points=0", "rl.max_steps=8", "logger=none")


def result_of(count: int, settings: list[str], folder: Path) -> dict[str, Any]:
    """Return the result of a run that ``count`` processes make."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)] if count > 1 else []
    place = folder / str(count)
    command = [sys.executable, *torchrun, str(RUN), *SETTINGS, *settings]
    command += [f"hydra.run.dir={place}", f"cache={folder / f'cache-{count}'}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return read_result(place / "result.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("settings", nargs="*")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        alone = result_of(1, arguments.settings, Path(folder))
        together = result_of(arguments.processes, arguments.settings, Path(folder))
    table = Table("phase", "1 process, s", f"{arguments.processes} processes, s", "ratio")
    costs = {row.phase: row.seconds for row in phase_costs(together)}
    for row in phase_costs(alone):
        shared = costs[row.phase]
        table.add_row(row.phase, f"{row.seconds:.1f}", f"{shared:.1f}", f"{row.seconds / shared:.2f}")
    Console().print(table)
    same = [one == other for one, other in zip(alone["outcomes"], together["outcomes"], strict=True)]
    print(f"{sum(same)} of {len(same)} evaluated episodes ended alike")


if __name__ == "__main__":
    main()
