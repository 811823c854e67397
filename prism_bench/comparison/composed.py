"""Experiments of the cells of a grid, made in this process."""

from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import open_dict
from rich.console import Console

from prism_bench.comparison.grid import Cell
from prism_bench.experiment import Experiment


def experiment_of(cell: Cell, conf: Path, folder: Path, console: Console) -> Experiment:
    """Return the experiment of a cell, which logs nothing.

    Args:
        folder: in place of that of a run.

    Raises:
        InputError: a setting of the cell is refused.
    """
    overrides = [*cell.overrides, f"folder='{folder}'", "logger=none"]
    with initialize_config_dir(str(conf), version_base="1.3"):
        config = compose("config", overrides, return_hydra_config=True)
    HydraConfig.instance().set_config(config)  # the configuration refers to Hydra's choices
    with open_dict(config):
        del config["hydra"]
    return Experiment(config, console)
