"""A program whose job fails in the way that ``FAILURE`` names, with the configuration of the main job."""

import os
import signal
import time
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from prism_bench.commands.hydra_command import hydra_command
from prism_bench.errors import InputError
from prism_bench.results.progress import PhaseProgress


def deep_inside(failure: str) -> None:
    if failure == "bug":
        raise ValueError("matrices do not fit")
    if failure == "system":
        raise OSError(5, "Input/output error")
    if failure == "input":
        raise InputError("data=shop is no folder; name one that is")
    if failure == "interrupt":
        raise KeyboardInterrupt
    if failure == "terminate":
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)


@hydra_command("config", resumes=True)
def main(config: DictConfig, console: Console) -> None:
    failure = os.environ["FAILURE"]
    if failure == "outside":
        deep_inside("bug")
    try:
        with PhaseProgress(console, "sft", 160, "updates") as progress:
            progress.update(120)
            deep_inside("bug" if failure == "wrapped" else failure)
    except ValueError as error:
        if failure == "wrapped":
            raise RuntimeError("the stage was not made") from error
        raise
    if failure == "first job" and config.seed == 0:
        raise RuntimeError("seed 0 fails\nin two lines")
    Path(config.folder, "result.json").touch()
    console.print(f"seed {config.seed} is done")


if __name__ == "__main__":
    main()
