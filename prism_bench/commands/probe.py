"""Gradient norms of trajectories under a checkpoint, written to a file and plotted; nothing is routed or trained.

    prism-bench probe model=CHECKPOINT trajectories=episodes.parquet out=norms.parquet

``--help`` lists the settings.
"""

from omegaconf import DictConfig
from rich.console import Console

from prism_bench.commands.hydra_command import hydra_command


@hydra_command("probe", shorthands={"model": "model.path"})
def main(config: DictConfig, console: Console) -> None:
    """Write the gradient norms of trajectories to a file, and plot them."""
    from prism_bench.commands.probe_job import probe

    probe(config, console)
