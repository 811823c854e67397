"""Experiments of the cells of a grid, made in this process."""

from pathlib import Path

from rich.console import Console

from prism_bench.comparison.grid import SEED, Cell
from prism_bench.experiment import Experiment
from prism_bench.marks import naming
from prism_bench.results.loggers import FileLogger


def experiment_of(cell: Cell, folder: Path, console: Console) -> Experiment:
    """Return the experiment of a cell, which logs to nothing but a file.

    Args:
        folder: in place of that of a run.

    Raises:
        InputError: a setting of the cell is refused.
    """
    config = cell.composed.copy()
    config[SEED], config.folder = cell.seed, str(folder)
    config.logger = naming(FileLogger) | {"_partial_": True}
    return Experiment(config, console)
