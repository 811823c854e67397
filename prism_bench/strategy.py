"""A strategy: the phases of training, and which part of the data each of them gets.

Strategies are configuration (``conf/strategy``). A phase names an algorithm, by its settings, and the part of the data
that it trains on: ``sft`` and ``rl`` are what the router chose, ``all`` is everything. A strategy that asks for neither
``sft`` nor ``rl`` has no router.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from hydra.utils import instantiate

from prism_bench.algorithms.contract import Algorithm
from prism_bench.errors import InputError

Part = Literal["sft", "rl", "all"]
_KEYS = {"name", "algorithm", "settings", "demonstrations", "tasks"}


@dataclass(frozen=True)
class Phase:
    """One phase of training.

    Attributes:
        name: the phase's name in the result and in the ledger.
        algorithm: the configuration from which the algorithm is made.
        demonstrations: the part of the trajectories that are demonstrations, None for none.
        tasks: the part of the trajectories whose tasks are rolled out, None for none.
    """

    name: str
    algorithm: Mapping[str, Any]
    demonstrations: Part | None
    tasks: Part | None

    @property
    def needs_router(self) -> bool:
        return not {self.demonstrations, self.tasks} <= {"all", None}


def read_strategy(phases: Sequence[Mapping[str, Any]]) -> tuple[Phase, ...]:
    """Return the phases of a strategy, from its configuration.

    Beside the fields of :class:`Phase`, a phase may have ``settings`` that replace settings of its algorithm.

    Raises:
        InputError: a field is missing, unknown or has an impossible value, two phases share a name, or an algorithm
            does not get what it needs.
    """
    read = tuple(_read_phase(number, phase) for number, phase in enumerate(phases, start=1))
    names = [phase.name for phase in read]
    for name in names:
        if names.count(name) > 1 or name in ("base", "collect", "route", "eval"):
            raise InputError(f"two parts of a run cannot both be called {name!r}; rename the phase of the strategy")
    return read


def make_algorithm(phase: Phase) -> Algorithm:
    """Return the algorithm of a phase.

    Raises:
        InputError: its settings are refused, or the phase does not give it what it needs.
    """
    algorithm: Algorithm = instantiate(phase.algorithm, _convert_="object")
    for kind in ("demonstrations", "tasks"):
        needed, given = getattr(algorithm, f"needs_{kind}"), getattr(phase, kind)
        if needed != (given is not None):
            name = type(algorithm).__name__
            problem = f"{name} needs {kind}, which it does not get" if needed else f"{name} has no use for {kind}"
            raise InputError(f"phase {phase.name!r} of the strategy: {problem}; choose another strategy or algorithm")
    return algorithm


def _read_phase(number: int, phase: Mapping[str, Any]) -> Phase:
    where = f"phase {number} of the strategy"
    if not isinstance(phase, Mapping) or not {"name", "algorithm"} <= phase.keys() <= _KEYS:
        raise InputError(f"{where}: expected name, algorithm, and demonstrations or tasks or both, found {phase}")
    name, algorithm = phase["name"], phase["algorithm"]
    if not isinstance(name, str) or not isinstance(algorithm, Mapping):
        raise InputError(f"{where}: name has to be a text and algorithm a configuration, such as ${{sft}}")
    for kind in ("demonstrations", "tasks"):
        if phase.get(kind) not in (*get_args(Part), None):
            raise InputError(
                f"{where}: {kind}={phase[kind]} is no part of the data; choose {', '.join(get_args(Part))}"
            )
    settings = {**algorithm, **phase.get("settings", {})}
    return Phase(name, settings, phase.get("demonstrations"), phase.get("tasks"))
