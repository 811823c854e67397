"""Scores of routers: every cell of a grid, run up to its allocation."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console

from prism_bench.comparison.cached import NotMadeError, finding
from prism_bench.comparison.grid import Cell
from prism_bench.comparison.in_process import experiment_of
from prism_bench.errors import InputError
from prism_bench.experiment import Experiment
from prism_bench.marks import before_measuring, naming
from prism_bench.probe.concentration import magnitude
from prism_bench.probe.norms import NORMS, load_probe
from prism_bench.routing.gradients import GradientNorms


@dataclass(frozen=True)
class Scored:
    """The scores of one router under one base model.

    Attributes:
        router: its name among the choices.
        setting: what else varies in the diagnosis, such as ``model.layers=8``; empty if nothing does.
        seed: of the base model.
        tasks, regimes: of the demonstrations, in the order of ``scores``.
        scores: one per demonstration, a high one goes to RL.
        covariates: what a score may merely repeat, by name, one number per demonstration each.
        flops, seconds: of the measurement and the routing of all demonstrations.
    """

    router: str
    setting: str
    seed: int
    tasks: tuple[str | None, ...]
    regimes: tuple[str, ...]
    scores: np.ndarray = field(repr=False)
    covariates: Mapping[str, np.ndarray] = field(repr=False)
    flops: float
    seconds: float


def scored(cell: Cell, router: str, setting: str, folder: Path, console: Console) -> Scored:
    """Return the scores of a cell, whose base model and measurement are made if they are not in the cache.

    Args:
        folder: gets the allocation and the other files of the router.

    Raises:
        InputError: a setting is refused, the model cannot be probed, or a demonstration has no regime.
    """
    with closing(experiment_of(cell, folder, console)) as experiment:
        folder.mkdir(parents=True, exist_ok=True)
        allocation, demonstrations = experiment.allocation, experiment.demonstrations
        regimes = tuple(demonstration.regime or "" for demonstration in demonstrations)
        if not all(regimes):
            raise InputError(
                f"{cell.name}: a demonstration has no regime, so that nothing is known about its conflict with the "
                "model; choose an environment that states regimes"
            )
        return Scored(
            router,
            setting,
            cell.seed,
            tuple(demonstration.task_id for demonstration in demonstrations),
            regimes,
            np.array(allocation.scores),
            covariates_of(experiment),
            allocation.cost["flops"],
            allocation.cost["seconds"],
        )


def is_scored(cell: Cell) -> bool:
    """Return whether everything that :func:`scored` needs for a cell is in the cache.

    Raises:
        InputError: a setting is refused.
    """
    with finding(cell) as experiment:
        try:
            return bool(experiment.allocation.scores) and bool(covariates_of(experiment))
        except NotMadeError:
            return False


def covariates_of(experiment: Experiment) -> dict[str, np.ndarray]:
    """Return the agent's tokens, the mean loss and the size of the gradient of every demonstration.

    They are those of the measurement of gradient norms, whichever router is diagnosed; that router's settings hold for
    it where they have the same name.
    """
    norms = before_measuring({**experiment.config["router"], **naming(GradientNorms)})
    probe = load_probe(experiment.measured(norms).path / NORMS)
    return {
        "length": probe.agent_tokens.astype(float),
        "loss": probe.losses,
        "gradient": magnitude(probe.norms),
    }


def check_alike(first: Scored, other: Scored) -> None:
    """Check that two scores are of the same demonstrations.

    Raises:
        InputError: they are of others.
    """
    if other.tasks != first.tasks:
        raise InputError(
            f"{other.router} {other.setting} seed {other.seed} has other demonstrations than {first.router} "
            f"{first.setting} seed {first.seed}, so that their scores do not compare; vary no setting that "
            "changes the tasks"
        )
