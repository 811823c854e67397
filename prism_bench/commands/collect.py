"""Episodes of an expert or of a policy, written to a file.

    prism-bench collect policy=EXPERT tasks=1000 out=episodes.parquet
    prism-bench collect policy=CHECKPOINT split=valid_seen episodes=4 temperature=0.7 out=episodes.parquet

``--help`` lists the settings.
"""

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console

from prism_bench.commands.hydra_command import hydra_command


@hydra_command("collect")
def main(config: DictConfig, console: Console) -> None:
    """Write episodes of an expert or of a policy to a file."""
    from prism_bench.commands.collect_job import collect

    collect(config, console, HydraConfig.get().overrides.task)
