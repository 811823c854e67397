"""Writes episodes of an expert or of a policy to a file, and says how often it succeeded.

    python -m prism_bench.collect policy=EXPERT tasks=1000 out=episodes.parquet
    python -m prism_bench.collect policy=CHECKPOINT split=valid_seen episodes=4 temperature=0.7 out=episodes.parquet

``--help`` lists what can be chosen.
"""

from omegaconf import DictConfig
from rich.console import Console

from prism_bench.command import hydra_command


@hydra_command("collect")
def main(config: DictConfig, console: Console) -> None:
    """Collect as configured; a mistake in the configuration or the data ends it with one sentence."""
    from prism_bench.collection import collect

    collect(config, console)


if __name__ == "__main__":
    main()
