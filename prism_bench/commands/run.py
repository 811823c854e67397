"""The main job: collect, route, train, evaluate, report. ``--help`` lists the settings."""

import itertools
import os
import re
from pathlib import Path

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # rollout_func is experimental, and needed
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from prism_bench.commands.hydra_command import CONF, hydra_command


def choices(group: str) -> str:
    """Return a line for each file of a configuration group, its name and its first sentence; ``--help`` prints them."""
    lines = []
    for file in sorted((CONF / group).glob("*.yaml")):
        comment = re.match(r"(?:#.*\n)*", file.read_text(encoding="utf-8"))
        said = [line.lstrip("# ") for line in comment[0].splitlines()] if comment else []
        text = " ".join(line for line in said if not line.startswith("@package"))
        sentence = re.split(r"(?<=[^.][.]) ", text)[0].removesuffix(".")
        lines.append(f"    {file.stem:<22} {sentence}")
    return "\n".join(lines)


def new_folder(path: str) -> str:
    """Make the folder ``path``, or ``path-2``, ``path-3``, ... if it exists, and return its name.

    Two runs that start in the same second get a folder each, since only one of them can make it.
    """
    for number in itertools.count(1):
        name = path if number == 1 else f"{path}-{number}"
        try:
            Path(name).mkdir(parents=True)
            break
        except FileExistsError:
            continue
    return name


OmegaConf.register_new_resolver("choices", choices, replace=True)
OmegaConf.register_new_resolver("new_folder", new_folder, replace=True, use_cache=True)  # once for each run or sweep


@hydra_command("config", resumes=True)
def main(config: DictConfig, console: Console) -> None:
    """Run one experiment, or with -m several."""
    from prism_bench.experiment import Experiment
    from prism_bench.results.tables import print_result

    experiment = Experiment(config, console)
    result = experiment.run()
    print_result(result, console, experiment.folder)
