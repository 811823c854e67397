"""Tools of the stages, none of which changes the files that a stage makes."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console

from prism_bench import processes
from prism_bench.accounting.ledger import Ledger
from prism_bench.results.progress import PhaseProgress
from prism_bench.rollouts.answers import Environment
from prism_bench.rollouts.faults import FaultRules
from prism_bench.settings.configuration import Place
from prism_bench.settings.making import make
from prism_bench.stage_cache.declaration import Inputs

FAULT_SETTINGS = ("env.step_seconds", "env.on_error")
"""The settings of failing environments that can change a result; :attr:`Tools.rules` holds them."""


def _log_nothing(values: Mapping[str, float], update: int | None) -> None:
    """Drop the values."""


@dataclass(frozen=True)
class Tools:
    """Tools of a stage, none of which changes the files that it makes.

    Attributes:
        ledger: takes the costs.
        console: shows progress.
        folder: of the run, for temporary files of trainers.
        log: takes values of training, by key, and the update that they belong to.
        workers: give every environment a process of its own.
        rules: decide what a failure of an environment costs; those that can change a result are inputs of stages too.
    """

    ledger: Ledger
    console: Console
    folder: Path
    log: Callable[[Mapping[str, float], int | None], None] = field(default=_log_nothing)
    workers: bool = False
    rules: FaultRules = field(default_factory=FaultRules)

    def progress(self, phase: str, total: int | None, unit: str) -> PhaseProgress:
        """Return the progress of a phase, to be used in a ``with`` statement."""
        return PhaseProgress(self.console, phase, total, unit)

    @contextmanager
    def trainer_folder(self) -> Iterator[Path]:
        """Yield a folder for a trainer's own files; it is removed afterwards if nothing was written there."""
        folder = self.folder / "trainer"
        try:
            yield folder
        finally:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def in_all_processes(
    function: Callable[[Inputs, Path, Tools], None], inputs: Inputs, folder: Path, tools: Tools
) -> None:
    """Call a function of a module, which makes the files of a stage, in all processes of the run.

    In the others its folder is one that is removed when it ends, and its costs are put together as those of a phase are
    (:mod:`prism_bench.accounting.ledger`).
    """
    rules = FaultRules(**{field.name: getattr(tools.rules, field.name) for field in fields(FaultRules)})
    with processes.together(_take_part, function, inputs, tools.workers, rules):
        function(inputs, folder, tools)


def _take_part(
    function: Callable[[Inputs, Path, Tools], None], inputs: Inputs, workers: bool, rules: FaultRules
) -> None:
    with TemporaryDirectory() as folder:
        place = Path(folder)
        function(inputs, place, Tools(Ledger(), Console(quiet=True), place, workers=workers, rules=rules))


def environment_maker(
    environment: Mapping[str, Any], split: str, where: str | Place = "env.make"
) -> Callable[[], Environment]:
    """Return a function that makes an environment of a split as ``env.make`` says; other processes can call it."""
    maker: Callable[[], Environment] = make({**environment, "_partial_": True}, where, split=split)
    return maker
