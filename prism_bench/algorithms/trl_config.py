"""What both trainers are told in the same way."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from transformers import TrainingArguments

from prism_bench.errors import InputError
from prism_bench.models.policy import Policy

Config = TypeVar("Config", bound=TrainingArguments)


def trainer_config(
    kind: type[Config],
    policy: Policy,
    *,
    seed: int,
    folder: Path,
    values: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Config:
    """Return a configuration of class ``kind``; ``options`` have the last word.

    The model is trained in the precision in which it was loaded. Nothing is saved and nothing reported by the trainer
    itself.

    Raises:
        InputError: there is no such option, or TRL refuses its value.
    """
    known = {field.name for field in fields(kind)}
    if unknown := sorted(set(options) - known):
        raise InputError(f"options.{unknown[0]} is no field of trl.{kind.__name__}")
    on_cpu = policy.model.device.type == "cpu"
    defaults: dict[str, Any] = {
        "output_dir": str(folder),
        "use_cpu": on_cpu,
        "bf16": False,
        "fp16": False,
        "gradient_checkpointing": False,
        "dataloader_pin_memory": not on_cpu,
        "seed": seed,
        "data_seed": seed,
        "disable_tqdm": True,
        "report_to": "none",
        "save_strategy": "no",
    }
    try:
        return kind(**defaults | dict(values) | dict(options))
    except (TypeError, ValueError) as error:
        raise InputError(f"trl.{kind.__name__} refuses its settings: {error}") from None
