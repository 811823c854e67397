"""How varied the demonstrations are that routers send to SFT, in a saved comparison.

    python benchmarks/variety.py results/halves.json

The effective number of goals is exp of the entropy of their shares: as many equally frequent goals would be as varied.
A goal is what stands before the last slash of a task's id, which in ALFWorld is the type, the object, the receptacle
and the room; trials of one goal differ in where things lie. Means over seeds, with the least and the greatest.
"""

import argparse
import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from scipy.stats import entropy

from prism_bench.comparison.record import Comparison, Run, read_comparison


def goals_for_sft(comparison: Comparison, run: Run) -> list[str]:
    """Return the goal of every demonstration that the router of a run sends to SFT."""
    assert run.routing is not None
    ids = comparison.lists[run.routing.demonstrations].ids
    return [str(task).rpartition("/")[0] for task, to_rl in zip(ids, run.routing.to_rl, strict=True) if to_rl != "1"]


def effective_number(goals: Iterable[str]) -> float:
    """Return how many equally frequent goals are as varied."""
    return math.exp(entropy([*Counter(goals).values()]))


def main() -> None:
    """Print a row for every configuration with a router."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("comparison", type=Path)
    comparison, _ = read_comparison(parser.parse_args().comparison)
    table = Table("configuration", "seeds", "goals for SFT", "least, greatest", box=box.MARKDOWN)
    for configuration in comparison.configurations:
        runs = [run for run in comparison.of(configuration.name).values() if run.routing is not None]
        if runs:
            found = [effective_number(goals_for_sft(comparison, run)) for run in runs]
            ends = f"{min(found):.0f}, {max(found):.0f}"
            table.add_row(escape(configuration.name), str(len(runs)), f"{fmean(found):.0f}", ends)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
