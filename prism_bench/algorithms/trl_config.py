"""Configurations of TRL's trainers, from the flat fields of ``conf/algorithm``.

A field that a file does not name has TRL's default. Fields that belong to the run (seed, folders, device, precision,
the place of logs) or would have no effect here are set by this project and refused in a file.

The types of the fields are TRL's, and narrower where TRL takes a value that its trainer cannot use: no number is
negative unless its default is, a text with a list of choices is one of them, and some numbers have bounds of their own.
"""

import types
from collections.abc import Mapping
from dataclasses import fields
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Lt
from transformers import TrainingArguments

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

    Raises:
        InputError: TRL refuses it.
    """
    _make(kind, {**_precision(), **ours, **values, "output_dir": "unused", "use_cpu": True})


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
    return _make(kind, {**_precision(), **run, **ours, **values})


def _precision() -> dict[str, Any]:
    return {"bf16": False, "fp16": False}


def _make(kind: type[Config], values: Mapping[str, Any]) -> Config:
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise InputError(f"trl.{kind.__name__} refuses its fields: {' '.join(str(error).split())}") from None
