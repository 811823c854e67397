"""How often a 95 % interval over seeds and tasks holds the truth: ours, and a percentile bootstrap.

    python benchmarks/coverage.py [--draws 2000]

Success of a run on a task is a coin whose bias adds what the task is worth and what the seed has learned; the truth is
the mean over all tasks and seeds. The bootstrap draws seeds and, by type, tasks, a thousand times, and takes the 2.5
and 97.5 % quantiles (the convention of rliable, Agarwal et al. 2021, arXiv 2108.13264, with tasks drawn too).
"""

import argparse

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from prism_bench.results.statistics import mean_over_seeds

TASKS, TYPES, MEAN = 128, 4, 0.6
CELLS = ((0, True), (0, False), (1, True), (1, False))  # which interval; its coverage, or its width
OF_TASKS, OF_SEEDS = 0.2, (0.02, 0.07)  # standard deviations


def draw(generator: np.random.Generator, seeds: int, of_seeds: float) -> np.ndarray:
    """Return successes, (seeds, tasks)."""
    tasks = generator.normal(0, OF_TASKS, TASKS)
    return (generator.random((seeds, TASKS)) < MEAN + tasks + generator.normal(0, of_seeds, (seeds, 1))).astype(float)


def bootstrap(generator: np.random.Generator, values: np.ndarray, draws: int = 1000) -> tuple[float, float]:
    """Return the 95 % percentile interval of the mean over resampled seeds and, within each type, tasks."""
    seeds, tasks = values.shape
    of_type = tasks // TYPES
    chosen = generator.integers(0, seeds, (draws, seeds))
    drawn = generator.integers(0, of_type, (draws, tasks)) + np.repeat(np.arange(TYPES) * of_type, of_type)
    weights = np.zeros((draws, seeds))
    np.add.at(weights, (np.arange(draws)[:, None], chosen), 1 / seeds)
    counts = np.zeros((draws, tasks))
    np.add.at(counts, (np.arange(draws)[:, None], drawn), 1 / tasks)
    means = ((weights @ values) * counts).sum(1)
    return tuple(np.quantile(means, [0.025, 0.975]))


def main() -> None:
    """Print coverage and mean width by the number of seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=2000)
    draws = parser.parse_args().draws
    table = Table("spread of seeds", "seeds", "ours", "its width", "bootstrap", "its width", box=box.MARKDOWN)
    generator = np.random.default_rng(0)
    for of_seeds in OF_SEEDS:
        for seeds in (2, 3, 5, 10):
            held, widths = np.zeros(2), np.zeros(2)
            for _ in range(draws):
                values = draw(generator, seeds, of_seeds)
                estimate = mean_over_seeds(values)
                for at, (low, high) in enumerate([(estimate.low, estimate.high), bootstrap(generator, values)]):
                    held[at] += low <= MEAN <= high
                    widths[at] += 100 * (high - low)
            shown = [f"{held[at] / draws:.1%}" if share else f"{widths[at] / draws:.1f}" for at, share in CELLS]
            table.add_row(f"{100 * of_seeds:.0f} points", str(seeds), *shown)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
