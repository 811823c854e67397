"""Rollouts of one step of GRPO, as TRL's trainer asks for them and as algorithms see them.

TRL's experimental ``rollout_func`` is given the prompt column, in which every row is already repeated once per
generation. That column holds task ids here, so that every episode is rendered by the one renderer as it grows and a
group shares its task. ``env_mask`` keeps the environment's tokens out of the loss.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from trl.trainer.grpo_trainer import GRPOTrainer

from prism_bench.algorithms.contract import TrainingContext
from prism_bench.algorithms.demonstrations import Demonstrations
from prism_bench.algorithms.reward import Reward
from prism_bench.rollouts.backend import Sampling
from prism_bench.rollouts.episodes import Episode, Limits


@dataclass(frozen=True)
class RolloutBatch:
    """The episodes of one step; the episodes of a group are neighbours and share their task.

    Attributes:
        tasks: of each episode.
        episodes: with tokens and trajectories.
        rewards: (episodes,), as :class:`prism_bench.algorithms.reward.Reward` says.
        group_size: episodes per group.
        advantages: (episodes,), TRL's own, as ``scale_rewards`` says.
        demonstrated: (episodes,), True where a demonstration replaces a rollout.
    """

    tasks: Sequence[str]
    episodes: Sequence[Episode]
    rewards: torch.Tensor
    group_size: int
    advantages: torch.Tensor
    demonstrated: torch.Tensor


class AdvantageEstimator(Protocol):
    """The part of an algorithm that its trainer calls."""

    def advantages(self, batch: RolloutBatch) -> torch.Tensor:
        """Return the advantage of each episode, (episodes,), or of each token, (episodes, completion tokens)."""


class Rollouts:
    """TRL's ``rollout_func``: rolls out the tasks that the trainer asks for, with the policy as it is now.

    Args:
        context: of the phase; its meter is charged with the rollouts.
        reward: of an episode.
        temperature: of sampling.
        limits: of an episode.
        on_batch: takes the means of a step, to be logged.
        in_group: demonstrations, one of which replaces the last episode of each group whose task has any; or None.
        group_size: episodes per group.
    """

    def __init__(
        self,
        context: TrainingContext,
        reward: Reward,
        temperature: float,
        limits: Limits,
        group_size: int,
        on_batch: Callable[[Mapping[str, float]], None],
        in_group: Demonstrations | None = None,
    ) -> None:
        self.context = context
        self.reward = reward
        self.temperature = temperature
        self.limits = limits
        self.group_size = group_size
        self.on_batch = on_batch
        self.in_group = in_group
        self.calls = 0
        self.episodes: list[Episode] = []
        self.rewards: list[float] = []
        self.demonstrated: list[bool] = []

    def __call__(self, task_ids: Sequence[str], trainer: GRPOTrainer) -> dict[str, list[Any]]:
        demonstrations = self._demonstrations(task_ids)
        rolled_out = self._roll_out([task for n, task in enumerate(task_ids) if n not in demonstrations], trainer)
        remaining = iter(rolled_out)
        self.episodes = [demonstrations.get(n) or next(remaining) for n in range(len(task_ids))]
        self.demonstrated = [n in demonstrations for n in range(len(task_ids))]
        self.rewards = [self.reward.of(episode) for episode in self.episodes]
        return {
            "prompt_ids": [episode.prompt_ids for episode in self.episodes],
            "completion_ids": [episode.completion_ids for episode in self.episodes],
            "logprobs": [episode.logprobs for episode in self.episodes],
            "env_mask": [episode.agent_mask for episode in self.episodes],
            "episode_reward": self.rewards,
        }

    def export_state(self) -> dict[str, Any]:
        """Return the state as plain JSON: each call has random streams of its own."""
        return {"calls": self.calls}

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.calls = state["calls"]

    def _demonstrations(self, task_ids: Sequence[str]) -> dict[int, Episode]:
        """Return the demonstrations that replace the last episodes of groups, by position."""
        if self.in_group is None:
            return {}
        places = range(self.group_size - 1, len(task_ids), self.group_size)
        drawn = {place: self.in_group.of_task(task_ids[place]) for place in places}
        return {place: demonstration.episode() for place, demonstration in drawn.items() if demonstration is not None}

    def _roll_out(self, task_ids: Sequence[str], trainer: GRPOTrainer) -> list[Episode]:
        context = self.context
        seed = int(np.random.SeedSequence([context.seed, self.calls]).generate_state(1)[0])
        self.calls += 1
        sampling = Sampling(self.temperature, context.max_completion_tokens, seed)
        backend = context.engine.in_trainer(trainer, context.renderer.end_token_id)
        episodes = context.runner.run(
            backend, task_ids, sampling, f"policy:{context.phase}", context.meter, limits=self.limits
        )
        lengths = [len(episode.prompt_ids) + len(episode.completion_ids) for episode in episodes]
        self.on_batch(
            {
                "success": float(np.mean([episode.trajectory.success for episode in episodes])),
                "steps_per_episode": float(np.mean([len(episode.trajectory.steps) for episode in episodes])),
                "tokens_per_episode": float(np.mean(lengths)),
                "inadmissible_per_episode": float(np.mean([episode.inadmissible for episode in episodes])),
            }
        )
        return episodes
