"""Settings of a command as a whole: those that belong to no single part of ``conf/``.

The parts (model, router, algorithm, ...) are checked by the types of the classes that they name
(:mod:`prism_bench.settings.making`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any, TypeVar

from annotated_types import Ge

from prism_bench.errors import InputError
from prism_bench.rollouts.faults import FaultRules
from prism_bench.settings.configuration import Configuration
from prism_bench.settings.making import build
from prism_bench.settings.targets import check_targets
from prism_bench.settings.types import Count, CountFromZero, Group, Items, Positive, Seed, Text

Settings = TypeVar("Settings")


@dataclass(frozen=True, kw_only=True)
class EnvironmentSettings(FaultRules):
    """The settings of ``env`` that a run reads; an environment has others, to which ``make`` refers.

    Attributes:
        expert: name of the environment's expert; None if it has none.
        taught: settings of ``make`` that are others for the base stage, so that a model made from scratch may be taught
            less than it will meet.
        commands: for prompts that name them.
    """

    make: Group
    expert: Text | None
    train_split: Text
    validation_split: Text
    test_splits: Sequence[Text]
    workers: bool = False
    taught: Group | None = None
    commands: Text | None = None


@dataclass(frozen=True)
class RolloutSettings:
    """Rollouts of the policy on train tasks."""

    temperature: Positive
    max_turns: Count | None
    max_inadmissible: CountFromZero | None


@dataclass(frozen=True)
class RLSettings:
    """Settings of algorithms that explore to which an environment may give other values, whichever is chosen."""

    learning_rate: Positive
    max_steps: Count


@dataclass(frozen=True)
class BudgetSettings:
    """Limits of a run."""

    flops: Positive | None
    hours_per_phase: Positive | None


@dataclass(frozen=True)
class StrategySettings:
    """Phases, see :mod:`prism_bench.strategy`, and the name of the choice."""

    name: Text
    phases: Items


@dataclass(frozen=True)
class RunSettings:
    """Settings of a run, in the order of ``conf/config.yaml``."""

    seed: Seed
    trajectories: Annotated[int, Ge(2)] | None
    rollout: RolloutSettings
    rl: RLSettings
    budget: BudgetSettings
    cache: Text
    folder: Text
    strategy: StrategySettings
    model: Group
    generation: Group
    prompt: Group
    router: Group
    sft: Group
    algorithm: Group
    eval: Group
    logger: Group
    env: EnvironmentSettings
    demonstrations: Text | None = None
    replay: CountFromZero | None = 100
    force: Text | Sequence[Text] = ()
    modules: Sequence[Text] = ()
    check: bool = False


def read(kind: type[Settings], configuration: Configuration) -> Settings:
    """Return the settings of a command, with those of its parts as they are written.

    Args:
        kind: a dataclass of the settings.
        configuration: composed and resolved.

    Raises:
        InputError: a setting is missing, unknown, without effect or not possible, or one names a class that it may not.
    """
    values, place = dict(configuration.values), configuration.place
    modules = build(_Modules, {"modules": values.get("modules", [])}).modules
    check_targets(values, modules, place)
    for group, known in (("env", EnvironmentSettings), ("strategy", StrategySettings)):
        if isinstance(values.get(group), dict):
            values[group] = _without_sources(configuration, group, {field.name for field in fields(known)})
    return build(kind, values, place)


@dataclass(frozen=True)
class _Modules:
    modules: Sequence[Text]


def _without_sources(configuration: Configuration, group: str, known: set[str]) -> dict[str, Any]:
    """Return the settings of a group without those that others refer to, and that are checked there."""
    values = configuration.values[group]
    for name in values.keys() - known:
        if not configuration.refers_to(f"{group}.{name}"):
            raise InputError(f"{group}.{name} has no effect: nothing reads it, and no other setting refers to it")
    return {name: value for name, value in values.items() if name in known}
