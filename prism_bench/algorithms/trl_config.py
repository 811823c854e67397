"""Configurations of TRL's trainers, from the flat fields of ``conf/algorithm``.

A field that a file does not name has TRL's default. Fields that belong to the run (seed, folders, device, precision,
the place of logs) or would have no effect here are set by this project and refused in a file.

The types of the fields are TRL's, and narrower where TRL takes a value that its trainer cannot use: no number is
negative unless its default is, a text with a list of choices is one of them, and some numbers have bounds of their own.
"""

import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import torch
from annotated_types import Ge, Lt
from transformers import PreTrainedModel, SchedulerType, Trainer, TrainingArguments, get_scheduler
from transformers.training_args import OptimizerNames

from prism_bench.errors import InputError
from prism_bench.models.policy import Policy
from prism_bench.settings.signatures import ArgumentsOf
from prism_bench.settings.types import Count, Positive

Config = TypeVar("Config", bound=TrainingArguments)

_OF_THE_RUN = (
    "output_dir",
    "seed",
    "data_seed",
    "use_cpu",
    "dataloader_pin_memory",
    "disable_tqdm",
    "report_to",
    "save_strategy",
    "restore_callback_states_from_checkpoint",
    "logging_nan_inf_filter",
    "trust_remote_code",
)
_BOUNDS: Mapping[str, Any] = {
    "learning_rate": Positive,
    "per_device_train_batch_size": Count,
    "gradient_accumulation_steps": Count,
    "num_train_epochs": Positive,
    "logging_steps": Positive,
    "adam_beta1": Annotated[float, Ge(0), Lt(1)],
    "adam_beta2": Annotated[float, Ge(0), Lt(1)],
    "adam_epsilon": Positive,
}
_STEPS = 1000  # of a schedule that is made to be checked, where the number of updates depends on the data
_UNIONS = (Union, types.UnionType)


def fields_of(kind: type[Config], ours: Mapping[str, Any], bounds: Mapping[str, Any]) -> ArgumentsOf:
    """Return the annotation of ``**config`` that are fields of TRL's configuration.

    Args:
        kind: the class of the configuration.
        ours: fields that this project sets.
        bounds: the types of some fields, by name, in place of TRL's.
    """
    hints = get_type_hints(kind)
    narrowed = {
        field.name: Literal[tuple(choices)]
        if (choices := field.metadata.get("choices"))
        else _narrowed(hints[field.name], field.default)
        for field in fields(kind)
    }
    return ArgumentsOf(kind, {**narrowed, **_BOUNDS, **bounds}, frozenset({*_OF_THE_RUN, *ours}))


def _narrowed(hint: Any, default: Any) -> Any:
    """Return a type without the values that TRL's own type allows and its trainer does not."""
    if get_origin(hint) in _UNIONS:
        members = get_args(hint)
        if any(isinstance(member, type) and issubclass(member, Enum) for member in members):
            members = tuple(member for member in members if member is not str)  # a text is one of the choices
        return Union[tuple(_narrowed(member, default) for member in members)]  # noqa: UP007
    if hint in (int, float) and not (isinstance(default, int | float) and default < 0):
        return Annotated[hint, Ge(0)]
    return hint


def check_fields(kind: type[Config], values: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Make a configuration before anything is trained, so that TRL finds fields that contradict each other.

    Optimizer and schedule are made too, for a model of two numbers.

    Raises:
        InputError: TRL refuses it, or a package is missing that it needs.
    """
    config = _make(kind, {**_precision(), **ours, **values, "output_dir": "unused", "use_cpu": True})
    with _refusals("optim", str(OptimizerNames(config.optim).value)):
        optimizer = _optimizer(config, torch.nn.Linear(1, 1))
    steps = config.max_steps if config.max_steps > 0 else _STEPS
    with _refusals("lr_scheduler_type", str(SchedulerType(config.lr_scheduler_type).value)):
        get_scheduler(
            config.lr_scheduler_type,
            optimizer,
            num_warmup_steps=config.get_warmup_steps(steps),
            num_training_steps=steps,
            scheduler_specific_kwargs=cast(dict[str, Any] | None, config.lr_scheduler_kwargs),
        )


def _optimizer(config: TrainingArguments, model: torch.nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer of a configuration, or another one in place of those that are made for certain layers."""
    plain = torch.optim.SGD(model.parameters(), config.learning_rate)
    if config.optim_target_modules is not None:
        return plain
    made, arguments = Trainer.get_optimizer_cls_and_kwargs(config, cast(PreTrainedModel, model))
    if not (isinstance(made, type) and issubclass(made, torch.optim.Optimizer)) or "model" in arguments:
        return plain
    return made(**{"params": model.parameters(), **arguments})


@contextmanager
def _refusals(name: str, value: str) -> Iterator[None]:
    try:
        yield
    except (ImportError, TypeError, ValueError) as error:
        raise InputError(f"{name}={value} is not possible: {' '.join(str(error).split())}") from error


def trainer_config(
    kind: type[Config], policy: Policy, *, seed: int, folder: Path, values: Mapping[str, Any], ours: Mapping[str, Any]
) -> Config:
    """Return the configuration of a trainer of ``policy``.

    The model is trained in the precision in which it was loaded, unless ``values`` say otherwise. The trainer itself
    reports nothing, and saves when a callback asks it to.

    Raises:
        InputError: TRL refuses a value.
    """
    on_cpu = policy.model.device.type == "cpu"
    run = {
        "output_dir": str(folder),
        "seed": seed,
        "data_seed": seed,
        "use_cpu": on_cpu,
        "dataloader_pin_memory": not on_cpu,
        "disable_tqdm": True,
        "report_to": "none",
        "save_strategy": "no",
        "restore_callback_states_from_checkpoint": True,  # such as the patience of early stopping
        "trust_remote_code": False,  # for the reference model, which TRL loads by its path
        "logging_nan_inf_filter": False,  # a loss that is not finite has to be seen
    }
    config = _make(kind, {**_precision(), **run, **ours, **values})
    config._n_gpu = min(1, config.n_gpu)  # the Trainer would put a copy of the model on every GPU of the machine
    return config


def _precision() -> dict[str, Any]:
    return {"bf16": False, "fp16": False}


def _make(kind: type[Config], values: Mapping[str, Any]) -> Config:
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise InputError(f"trl.{kind.__name__} refuses its fields: {' '.join(str(error).split())}") from None
