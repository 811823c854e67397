"""What phases add, over the seeds of a saved comparison: to the phase before them, and by the choice of their data.

    python benchmarks/phase_gain.py results/alfworld.json [--baseline random-split]

The first table of a split is the last phase of every configuration that has several, less the phase before it. The
second is the first phase less the first phase of the baseline, where both have the same phases: which part of the
demonstrations teaches more by SFT, before RL makes up for it. In points, paired by seed and task; intervals are over
seeds and tasks, at 95 %; p-values are Holm's over a table. The last column is the smallest difference that so many
seeds would show with a power of 80 %.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from prism_bench.comparison.record import Comparison, Run, read_comparison
from prism_bench.results.significance import Runs, holm, p_value, smallest_difference
from prism_bench.results.statistics import paired_over_seeds

FEWEST = 2  # seeds, for an interval


def successes(runs: Mapping[int, Run], stage: str, split: str) -> list[list[float]]:
    """Return the success of every task after a stage, seed by seed."""
    return [[float(flag) for flag in run.outcomes[stage][split].success] for run in runs.values()]


def phases(runs: Mapping[int, Run]) -> list[str]:
    """Return the phases of a configuration, in their order; the base model, which comes first, is none."""
    return list(next(iter(runs.values())).outcomes)[1:]


def table_of(title: str, pairs: Mapping[str, tuple[Runs, Runs]]) -> Table:
    """Return differences of what stands second in each pair to what stands first."""
    columns = ("configuration", "seeds", "before", "after", "difference", "p", "could be seen")
    table = Table(*columns, box=box.MARKDOWN, title=title)
    corrected = holm([p_value(*pair) for pair in pairs.values()])
    for (name, pair), p in zip(pairs.items(), corrected, strict=True):
        gain = paired_over_seeds(*pair)
        means = [f"{100 * fmean(map(fmean, runs)):.1f}" for runs in pair]
        interval = f"{100 * gain.mean:+.1f} [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"
        smallest = f"{100 * smallest_difference(*pair):.1f}"
        table.add_row(escape(name), str(len(pair[0])), *means, interval, f"{p:.3f}", smallest)
    return table


def by_last_phase(comparison: Comparison, split: str) -> dict[str, tuple[Runs, Runs]]:
    """Return each configuration before and after its last phase."""
    found = {}
    for configuration in comparison.configurations:
        runs = comparison.of(configuration.name)
        if len(runs) >= FEWEST and len(phases(runs)) > 1:
            before, after = (successes(runs, stage, split) for stage in phases(runs)[-2:])
            found[configuration.name] = before, after
    return found


def by_data(comparison: Comparison, split: str, baseline: str) -> dict[str, tuple[Runs, Runs]]:
    """Return the first phase of the baseline and that of each configuration with the same phases, of common seeds."""
    other = comparison.of(baseline)
    found = {}
    for configuration in comparison.configurations:
        runs = comparison.of(configuration.name)
        common = sorted(runs.keys() & other.keys())
        if configuration.name != baseline and len(common) >= FEWEST and phases(runs) == phases(other):
            stage = phases(runs)[0]
            before, after = (successes({s: of[s] for s in common}, stage, split) for of in (other, runs))
            found[configuration.name] = before, after
    return found


def main() -> None:
    """Print both tables for every split."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("comparison", type=Path)
    parser.add_argument("--baseline", default="random-split", help="a configuration; by default %(default)s")
    options = parser.parse_args()
    comparison, _ = read_comparison(options.comparison)
    console = Console(width=140)
    for split in next(iter(comparison.runs[0].outcomes.values())):
        console.print(table_of(f"{split}: the last phase, less the one before", by_last_phase(comparison, split)), "")
        title = f"{split}: the first phase, less that of {options.baseline}"
        console.print(table_of(title, by_data(comparison, split, options.baseline)), "")


if __name__ == "__main__":
    main()
