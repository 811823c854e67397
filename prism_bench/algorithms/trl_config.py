"""Configurations of TRL's trainers, from the flat fields of ``conf/algorithm``.

A field that a file does not name has TRL's default. Fields that belong to the run (seed, folders, device, precision,
the place of logs) or would have no effect here are set by this project and refused in a file.
"""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from transformers import TrainingArguments

from prism_bench.errors import InputError
from prism_bench.models.policy import Policy

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


def check_fields(kind: type[Config], values: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Check the fields of a file before anything is trained.

    Args:
        kind: the class of TRL's configuration.
        values: the fields by name.
        ours: further fields that this project sets.

    Raises:
        InputError: there is no such field, the run sets it, or TRL refuses its value.
    """
    known = {field.name: field.default for field in fields(kind)}
    for name, value in values.items():
        if name not in known:
            raise InputError(f"{name} is no field of trl.{kind.__name__}, and no option of this algorithm")
        if name in _OF_THE_RUN or name in ours:
            raise InputError(f"{name} of trl.{kind.__name__} is set by this project; leave it out")
        if isinstance(known[name], int | float) and isinstance(value, str):
            raise InputError(f"{name}={value!r} is no number, which trl.{kind.__name__} needs there")
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
        raise InputError(f"trl.{kind.__name__} refuses its fields: {error}") from None
