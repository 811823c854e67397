"""Callback of every TRL trainer: logs, progress, learning curve, budget, and the end of a training that diverged."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from prism_bench import processes
from prism_bench.algorithms.contract import TrainingContext
from prism_bench.errors import InputError
from prism_bench.models.policy import Policy, check_weights

_FINITE = ("loss", "grad_norm", "eval_loss")


class PhaseCallback(TrainerCallback):
    """Callback that connects a trainer with the :class:`TrainingContext` of its phase.

    * Numeric values go to ``context.log`` under ``<phase>/<name>``, updates done and planned to ``context.progress``.
    * After ``context.points`` evenly spaced updates, the last one included, ``context.evaluate`` is called. It draws
      from random streams of its own, so a policy trains alike with and without a learning curve.
    * Training stops at the first update after which the phase is over its budget.
    """

    def __init__(self, policy: Policy, context: TrainingContext) -> None:
        self.policy = policy
        self.context = context
        self.waiting: dict[str, float] = {}
        self.points: frozenset[int] = frozenset()
        self.evaluated = 0

    def extra(self, values: Mapping[str, float]) -> None:
        """Log ``values`` together with what the trainer logs next."""
        self.waiting.update(values)

    def export_state(self) -> dict[str, Any]:
        """Return the state as plain JSON."""
        return {"evaluated": self.evaluated, "waiting": self.waiting}

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.evaluated, self.waiting = state["evaluated"], dict(state["waiting"])

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.points = evenly_spaced(state.max_steps, self.context.points)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.context.progress(state.global_step, state.max_steps)
        self.context.meter.put_together()  # so that budget, learning curve and checkpoint know the whole bill
        if self.context.over_budget():
            control.should_training_stop = True
        if state.global_step in self.points:
            control.should_log = True  # so that on_log sees whether the update was sound before it is evaluated

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Let all processes go on, or stop, by the same held-out loss."""
        kwargs["metrics"].update(processes.agree(kwargs["metrics"]))

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Log ``logs``, then evaluate if a point of the learning curve is due.

        Raises:
            InputError: the loss or the norm of the gradient is not finite.
        """
        values = {name: float(value) for name, value in (logs or {}).items() if isinstance(value, int | float)}
        self._check(values, state.global_step)
        values |= self.waiting
        self.waiting = {}
        self.context.log({f"{self.context.phase}/{name}": value for name, value in values.items()}, state.global_step)
        if state.global_step in self.points:
            self._evaluate(state.global_step)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Check the weights, and evaluate the last point of the learning curve.

        Raises:
            InputError: a weight is not finite.
        """
        check_weights(self.policy.model, f"{self.context.phase}, after update {state.global_step}")
        if self.points:  # a phase that ended early has its last point here
            self._evaluate(state.global_step)

    def _check(self, values: Mapping[str, float], update: int) -> None:
        for name in _FINITE:
            if not math.isfinite(values.get(name, 0.0)):
                raise InputError(
                    f"{self.context.phase}: {name} is {values[name]} at update {update}, so the policy is lost; lower "
                    "learning_rate or max_grad_norm of the algorithm, and do not train in float16"
                )

    def _evaluate(self, update: int) -> None:
        if update == self.evaluated:
            return
        self.evaluated = update
        with torch.random.fork_rng():
            self.context.evaluate(self.policy, update)


def evenly_spaced(updates: int, points: int) -> frozenset[int]:
    """Return ``points`` of the numbers 1 to ``updates``, as evenly spaced as possible, the last one included."""
    count = min(points, updates)
    return frozenset(round(updates * number / count) for number in range(1, count + 1))
