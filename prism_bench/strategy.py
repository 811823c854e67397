"""A strategy: the phases of training, and which part of the data each of them gets.

Strategies are configuration (``conf/strategy``). A phase names an algorithm, by its settings, and the part of the data
that it trains on: ``sft`` and ``rl`` are what the router chose, ``all`` is everything. A strategy that asks for neither
``sft`` nor ``rl`` has no router.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from prism_bench.algorithms.contract import Algorithm
from prism_bench.errors import InputError
from prism_bench.settings.configuration import Place
from prism_bench.settings.making import build, make
from prism_bench.settings.types import Group, Text

Part = Literal["sft", "rl", "all"]

PHASES = Place("strategy.phases")

STAGE_NAMES = ("import", "collect", "base", "measure", "route", "train", "eval")
"""Names of stages, which no phase may have: ``force`` and the ledger would mean both."""


@dataclass(frozen=True)
class Phase:
    """One phase of training.

    Attributes:
        name: the phase's name in the result and in the ledger.
        algorithm: the configuration from which the algorithm is made.
        demonstrations: the part of the trajectories that are demonstrations, None for none.
        tasks: the part of the trajectories whose tasks are rolled out, None for none.
        where: the place of the algorithm's settings, for messages.
    """

    name: str
    algorithm: Mapping[str, Any]
    demonstrations: Part | None
    tasks: Part | None
    where: Place = field(default=Place("algorithm"), compare=False)

    @property
    def needs_router(self) -> bool:
        return not {self.demonstrations, self.tasks} <= {"all", None}


@dataclass(frozen=True)
class _Written:
    """A phase as a strategy's file has it; ``settings`` replace settings of its algorithm."""

    name: Text
    algorithm: Group
    settings: Group = field(default_factory=dict)
    demonstrations: Part | None = None
    tasks: Part | None = None


def read_strategy(phases: Sequence[Any], where: Place = PHASES) -> tuple[Phase, ...]:
    """Return the phases of a strategy, from its configuration.

    Beside the fields of :class:`Phase`, a phase may have ``settings`` that replace settings of its algorithm.

    Raises:
        InputError: a field is missing, unknown or has an impossible value, two phases share a name, or an algorithm
            does not get what it needs.
    """
    read = tuple(_read_phase(phase, where.item(number)) for number, phase in enumerate(phases))
    names = [phase.name for phase in read]
    for name in names:
        if names.count(name) > 1 or name in STAGE_NAMES:
            raise InputError(f"two parts of a run cannot both be called {name!r}; rename the phase of the strategy")
    return read


def make_algorithm(phase: Phase) -> Algorithm:
    """Return the algorithm of a phase.

    Raises:
        InputError: its settings are refused, or the phase does not give it what it needs.
    """
    algorithm: Algorithm = make(phase.algorithm, phase.where, Algorithm)
    for kind in ("demonstrations", "tasks"):
        needed, given = getattr(algorithm, f"needs_{kind}"), getattr(phase, kind)
        if needed != (given is not None):
            name = type(algorithm).__name__
            problem = f"{name} needs {kind}, which it does not get" if needed else f"{name} has no use for {kind}"
            raise InputError(f"phase {phase.name!r} of the strategy: {problem}; choose another strategy or algorithm")
    return algorithm


def _read_phase(phase: Any, where: Place) -> Phase:
    written = build(_Written, phase, where)
    algorithm, changed = where.below("algorithm"), where.below("settings")
    sources = {str(algorithm.below(name)): str(changed.below(name)) for name in written.settings}
    settings = {**written.algorithm, **written.settings}
    place = Place(algorithm.path, {**where.sources, **sources})
    return Phase(written.name, settings, written.demonstrations, written.tasks, place)
