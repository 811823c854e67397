"""SFT where the policy never succeeds, RL elsewhere: HPT, SuperRL and ReLIFT.

All three count the solved rollouts of each task, those with a reward of at least ``solved``, and learn from a
demonstration of the task if there are too few. The rollouts are part of the phase's bill.

* HPT (Lv et al., arXiv 2509.04419): if at most ``gate`` rollouts are solved, the SFT loss of the demonstration replaces
  them in the update; otherwise RL.
* SuperRL (Liu et al., arXiv 2506.01096): the same with gate 0; a rollout with any reward above 0 is solved.
* ReLIFT (Ma et al., arXiv 2506.07527): always RL. Demonstrations of tasks without a solved rollout go to a ``buffer``;
  when it is full, one SFT update on the buffer follows.

The SFT loss is the mean over the agent's tokens of the demonstration, which counts as much as the group of rollouts
that it replaces, or of the whole buffer.

Deviations: the configuration sets the numbers of rollouts and updates, and RL is this project's GRPO. ReLIFT's SFT
update uses the optimizer and the learning rate of the RL update before it and does not count towards ``max_steps``. A
task without a demonstration is left to RL. If it has several demonstrations, one is drawn.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, ClassVar

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from prism_bench import processes
from prism_bench.algorithms.grpo import GRPO
from prism_bench.algorithms.grpo_trainer import Inputs
from prism_bench.algorithms.hybrid_trainer import BesideTrainer
from prism_bench.algorithms.rollout_batch import RolloutBatch
from prism_bench.data.batching import groups_within_budget
from prism_bench.data.rendering import Rendered
from prism_bench.errors import InputError
from prism_bench.settings.types import Count, CountFromZero, Positive


class NoSuccessTrainer(BesideTrainer):
    """The trainer of :class:`NoSuccess`."""

    algorithm: "NoSuccess"
    buffer: list[Rendered]

    def columns(self, batch: RolloutBatch) -> dict[str, torch.Tensor]:
        """Replace the rollouts of unsolved tasks by a demonstration, or put the demonstration into the buffer."""
        assert self.demonstrations is not None
        columns = super().columns(batch)
        unsolved = self.algorithm.unsolved(batch)
        self._metrics["train"]["unsolved"].append(unsolved.float().mean().item())
        found: dict[int, Rendered] = {}
        for group in unsolved.nonzero()[:, 0].tolist():
            first = group * batch.group_size
            demonstration = self.demonstrations.of_task(batch.tasks[first])
            if demonstration is not None:
                found[first] = demonstration.rendered
        if self.algorithm.buffer is not None:
            self.buffer += found.values()
            return columns
        advantages = columns["advantages"].clone()
        for first in found:
            advantages[first : first + batch.group_size] = 0.0
        return columns | {"advantages": advantages} | self.attach(batch, found)

    def callbacks(self) -> list[TrainerCallback]:
        self.buffer = []
        return [] if self.algorithm.buffer is None else [_UpdateOnBuffer(self)]

    def export_state(self) -> dict[str, Any]:
        return {"buffer": [asdict(rendered) for rendered in self.buffer]}

    def restore_state(self, state: Mapping[str, Any]) -> None:
        self.buffer = [Rendered(**rendered) for rendered in state["buffer"]]

    def _compute_loss(self, model: torch.nn.Module, inputs: Inputs) -> torch.Tensor:
        loss = super()._compute_loss(model, inputs)
        if self.algorithm.buffer is not None:
            return loss
        assert self.num_generations is not None
        weight = self.num_generations / len(inputs["advantages"]) / self.current_gradient_accumulation_steps
        for logprobs in self.demonstration_logprobs(model, self.attached(inputs)):
            loss = loss - weight * logprobs.mean()
        return loss

    def update_on_buffer(self) -> None:
        """Make one SFT update on the buffer, and empty it."""
        model, optimizer = self.model_wrapped, self.optimizer
        assert isinstance(model, torch.nn.Module) and optimizer is not None
        tokens = sum(rendered.agent_tokens for rendered in self.buffer)
        lengths = [len(rendered.input_ids) for rendered in self.buffer]
        for part in processes.share(list(groups_within_budget(lengths, self.algorithm.tokens_per_forward))):
            logprobs = self.demonstration_logprobs(model, [self.buffer[number] for number in part])
            self.accelerator.backward(-torch.cat(logprobs).sum() / tokens)
        self.add_up_gradients()
        if self.args.max_grad_norm > 0:
            self._clip_grad_norm(model)
        optimizer.step()
        model.zero_grad()
        self.buffer = []


class _UpdateOnBuffer(TrainerCallback):
    """Callback that makes the SFT update after the RL update that filled the buffer."""

    def __init__(self, trainer: NoSuccessTrainer) -> None:
        self.trainer = trainer

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        size = self.trainer.algorithm.buffer
        if size is not None and len(self.trainer.buffer) >= size:
            self.trainer.update_on_buffer()


class NoSuccess(GRPO):
    """GRPO that learns from demonstrations of tasks that the policy does not solve.

    Args:
        solved: the least reward of a solved rollout.
        gate: the most solved rollouts with which a task is still learned from its demonstration.
        buffer: number of demonstrations collected for an SFT update; None: each replaces the task's rollouts at once.
        tokens_per_forward: the most tokens that the update on the buffer puts through the model at once.
        config: options of :class:`prism_bench.algorithms.grpo.GRPO`.

    Raises:
        InputError: the gate lets every task through.
    """

    needs_demonstrations: ClassVar[bool] = True
    trainer = NoSuccessTrainer

    def __init__(
        self,
        *,
        solved: Positive = 1.0,
        gate: CountFromZero = 0,
        buffer: Count | None = None,
        tokens_per_forward: Count = 1024,
        **config: Any,
    ) -> None:
        super().__init__(**config)
        rollouts = config.get("num_generations", 8)
        if gate >= rollouts:
            raise InputError(f"gate={gate} is not possible; a task has {rollouts} rollouts (num_generations)")
        self.solved = solved
        self.gate = gate
        self.buffer = buffer
        self.tokens_per_forward = tokens_per_forward

    def unsolved(self, batch: RolloutBatch) -> torch.Tensor:
        """Return for each group of ``batch``, (groups,), whether at most ``gate`` of its rollouts are solved."""
        solved = (batch.rewards >= self.solved).view(-1, batch.group_size).sum(dim=1)
        return solved <= self.gate
