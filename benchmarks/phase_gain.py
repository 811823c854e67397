"""What a phase adds to the one before it, over the seeds of a saved comparison.

    python benchmarks/phase_gain.py results/webshop.json

The last phase of every configuration that has several, less the phase before it, in points, paired by seed and task;
intervals are over seeds and tasks, at 95 %, and not corrected for their number. The last column is the smallest
difference that so many seeds would show with a power of 80 %.
"""

import argparse
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from prism_bench.comparison.record import Comparison, Run, read_comparison
from prism_bench.results.significance import smallest_difference
from prism_bench.results.statistics import paired_over_seeds


def successes(run: Run, stage: str, split: str) -> list[float]:
    """Return the success of every task after a stage."""
    return [float(flag) for flag in run.outcomes[stage][split].success]


def table_of(comparison: Comparison, split: str) -> Table:
    """Return the gain of the last phase of every configuration on a split."""
    table = Table("configuration", "phase", "seeds", "gain", "could be seen", box=box.MARKDOWN, title=split)
    for configuration in comparison.configurations:
        runs = list(comparison.of(configuration.name).values())
        _, *phases = runs[0].outcomes  # the base model comes first
        if len(runs) < 2 or len(phases) < 2:
            continue
        before, after = ([successes(run, stage, split) for run in runs] for stage in phases[-2:])
        gain = paired_over_seeds(before, after)
        interval = f"{100 * gain.mean:+.1f} [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"
        smallest = f"{100 * smallest_difference(before, after):.1f}"
        phase = f"{phases[-1]} after {phases[-2]}"
        table.add_row(escape(configuration.name), phase, str(len(runs)), interval, smallest)
    return table


def main() -> None:
    """Print a table for every split."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("comparison", type=Path)
    comparison, _ = read_comparison(parser.parse_args().comparison)
    for split in next(iter(comparison.runs[0].outcomes.values())):
        Console(width=120).print(table_of(comparison, split), "")


if __name__ == "__main__":
    main()
