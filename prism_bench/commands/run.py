"""The main job: collect, route, train, evaluate, report. ``--help`` lists the settings."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import signal
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # rollout_func is experimental, and needed
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from omegaconf import Container, DictConfig, OmegaConf
from rich.console import Console

from prism_bench import processes
from prism_bench.commands.hydra_command import CONF, hydra_command, print_error, quieten
from prism_bench.commands.settings_help import described_settings
from prism_bench.errors import InputError

if TYPE_CHECKING:
    from prism_bench.results.loggers import Logger


PAGE = "report.html"


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


def settings(*, _root_: Container) -> str:
    """Return every setting with its value and its comment; ``--help`` prints them."""
    return described_settings(CONF, _root_)


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
OmegaConf.register_new_resolver("settings", settings, replace=True)
OmegaConf.register_new_resolver("new_folder", new_folder, replace=True, use_cache=True)  # once for each run or sweep


def main() -> None:
    """Run one experiment, or with -m several; in processes that torchrun started beside the first, take part."""
    with processes.joined() as beside:
        if not beside:
            _run()
            return
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # it has nothing to save, and may be waiting for the others
        quieten()
        try:
            processes.take_part()
        except InputError as error:
            print_error(str(error))
            raise SystemExit(1) from None


@hydra_command("config", resumes=True)
def _run(config: DictConfig, console: Console) -> None:
    from prism_bench.comparison.gather import gather
    from prism_bench.comparison.page import write_page
    from prism_bench.comparison.study import usual_comparison
    from prism_bench.comparison.tables import tables_of
    from prism_bench.experiment import Experiment
    from prism_bench.rehearsal import rehearse
    from prism_bench.results.tables import print_result

    experiment = Experiment(config, console)
    if experiment.settings.check:
        with closing(experiment):
            rehearse(experiment, console)
        return
    result = experiment.run()
    print_result(result, console, experiment.folder)
    comparison = gather([experiment.folder], usual_comparison(CONF), root=experiment.folder)
    write_page(experiment.folder / PAGE, comparison, tables_of(comparison), experiment.folder)
    for line in ending(experiment.folder, experiment.logger):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def ending(folder: Path, logger: Logger) -> list[str]:
    """Return the last lines of a run: its result, where its metrics are, and what to type next."""
    here = Path.cwd()
    run = shlex.quote(str(folder.relative_to(here) if folder.is_relative_to(here) else folder))
    return [
        "",
        f"result: {folder / 'result.json'}",
        f"page: {folder / PAGE}",
        f"metrics: {logger.location}" + (f"; to upload them: {logger.upload}" if logger.upload else ""),
        f"next: prism-bench report {run}          prints these tables again",
        f"      prism-bench report {run} OTHER    sets them beside those of another run",
    ]
