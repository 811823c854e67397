"""The parts of a run: everything that its configuration names, made and checked before anything is spent."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from omegaconf import DictConfig

from prism_bench.algorithms.contract import Algorithm
from prism_bench.data.prompts import Prompt
from prism_bench.errors import InputError
from prism_bench.models.policy import ModelSettings, check_device
from prism_bench.models.scratch import ScratchModel
from prism_bench.results.evaluation import EvaluationSettings
from prism_bench.results.loggers import Logger
from prism_bench.rollouts.answers import Environment
from prism_bench.rollouts.backend import Engine
from prism_bench.rollouts.faults import FaultRules
from prism_bench.routing.router import Router
from prism_bench.run_settings import RunSettings, read
from prism_bench.settings.configuration import resolve
from prism_bench.settings.making import make
from prism_bench.stages.base import Pretraining
from prism_bench.stages.tools import environment_maker
from prism_bench.strategy import Phase, make_algorithm, read_strategy


@dataclass(frozen=True)
class RunParts:
    """The parts of a run.

    Attributes:
        config: the configuration, resolved, with every setting that a stage may read.
        router: None if no phase asks for the data of a router.
        algorithms: one for each phase.
        make_environment: returns, for a split, a function that makes an environment.
        taught: the settings of ``env.make`` for the episodes of the base stage, and ``make_taught`` what makes that
            environment.
        make_logger: takes the folder, the configuration and the labels of the run.
    """

    config: dict[str, Any]
    settings: RunSettings
    model: ModelSettings
    prompt: Prompt
    engine: Engine
    eval: EvaluationSettings
    router: Router | None
    phases: tuple[Phase, ...]
    algorithms: tuple[Algorithm, ...]
    make_environment: Callable[[str], Callable[[], Environment]]
    taught: Mapping[str, Any]
    make_taught: Callable[[], Environment]
    make_logger: Callable[..., Logger]


def make_parts(config: DictConfig) -> RunParts:
    """Return the parts of a run; those that it does not need are made too, so that their settings are checked.

    Raises:
        InputError: a setting is refused.
    """
    configuration = resolve(config)
    root, settings = configuration.place, read(RunSettings, configuration)
    if settings.trajectories is None and settings.demonstrations is None:
        raise InputError("trajectories=null goes with demonstrations=FILE; say how many the expert is asked for")
    model: ModelSettings = make(settings.model, root.below("model"), ModelSettings)
    if isinstance(model, ScratchModel) and not isinstance(model.base, Pretraining):
        raise InputError("model.base is not possible; it should be a group of settings that makes a Pretraining")
    check_device(model.device, model.dtype)
    router: Router = make(settings.router, root.below("router"), Router)
    for name in ("sft", "algorithm"):
        make(getattr(settings, name), root.below(name), Algorithm)
    phases = read_strategy(settings.strategy.phases, root.below("strategy").below("phases"))
    make_environment = partial(environment_maker, settings.env.make, where=root.below("env").below("make"))
    make_environment(settings.env.train_split)  # a function, which checks the arguments
    taught = {**settings.env.make, **(settings.env.taught or {})}
    prompt: Prompt = make(settings.prompt, root.below("prompt"), Prompt)
    algorithms = tuple(make_algorithm(phase) for phase in phases)
    if prompt.last_turns is not None and any(algorithm.needs_one_context for algorithm in algorithms):
        raise InputError(
            "prompt.last_turns has to be null for GRPO and its variants, which train on one growing context per "
            "episode; choose null, or a strategy without them, such as strategy=sft or strategy=rejection"
        )
    # Stages have the rules in their keys, whether the configuration names them or not.
    rules = {field.name: getattr(settings.env, field.name) for field in fields(FaultRules)}
    return RunParts(
        config={**configuration.values, "env": {**configuration.values["env"], **rules}},
        settings=settings,
        model=model,
        prompt=prompt,
        engine=make(settings.generation, root.below("generation"), Engine),
        eval=make(settings.eval, root.below("eval"), EvaluationSettings),
        router=router if any(phase.needs_router for phase in phases) else None,
        phases=phases,
        algorithms=algorithms,
        make_environment=make_environment,
        taught=taught,
        make_taught=environment_maker(taught, settings.env.train_split, where=root.below("env").below("taught")),
        make_logger=make(settings.logger, root.below("logger"), Logger),
    )
