"""Carries what a TRL trainer logs to this project's logger, and its progress to the screen."""

from collections.abc import Callable, Mapping
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class ReportingCallback(TrainerCallback):
    """Passes on numeric values under ``<phase>/<name>`` and the share of updates done.

    Args:
        phase: the prefix of every key.
        log: takes the values and the update they belong to.
        progress: takes the updates done and the updates planned.
    """

    def __init__(
        self,
        phase: str,
        log: Callable[[Mapping[str, float], int], None],
        progress: Callable[[int, int], None] = lambda done, planned: None,
    ) -> None:
        self.phase = phase
        self.log = log
        self.progress = progress
        self.waiting: dict[str, float] = {}

    def extra(self, values: Mapping[str, float]) -> None:
        """Log ``values`` together with what the trainer logs next."""
        self.waiting.update(values)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.progress(state.global_step, state.max_steps)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        values = {name: float(value) for name, value in (logs or {}).items() if isinstance(value, int | float)}
        values |= self.waiting
        self.waiting = {}
        self.log({f"{self.phase}/{name}": value for name, value in values.items()}, state.global_step)
