"""Writes the gradient norms of trajectories under a checkpoint, and a picture of them; routes and trains nothing.

    python -m prism_bench.probe model=CHECKPOINT trajectories=episodes.parquet out=norms.parquet

``--help`` lists what can be chosen.
"""

from omegaconf import DictConfig
from rich.console import Console

from prism_bench.command import hydra_command


@hydra_command("probe", shorthands={"model": "model.path"})
def main(config: DictConfig, console: Console) -> None:
    """Probe as configured; a mistake in the configuration or the data ends it with one sentence."""
    from prism_bench.probe.probing import probe

    probe(config, console)


if __name__ == "__main__":
    main()
