"""Rollouts of one step of GRPO, as TRL's trainer asks for them and as algorithms see them.

TRL's experimental ``rollout_func`` is given the prompt column, in which every row is already repeated once per
generation. That column holds task ids here, so that every episode is rendered by the one renderer as it grows and a
group shares its task. ``env_mask`` keeps the environment's tokens out of the loss.

A group whose episodes all earned the same has no advantage and teaches nothing. It can be replaced by a group of
another task, as in DAPO's dynamic sampling (arXiv 2503.14476). DAPO samples until a batch is full; here the number of
rounds is bounded, and each is as large as what is missing.
"""

import time
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
        group_size: episodes per group.
        on_batch: takes the means of a step, to be logged.
        in_group: demonstrations, one of which replaces the last episode of each group whose task has any; or None.
        resample: rounds in which groups that all earned the same are replaced.
        pool: the tasks of the phase, from which their replacements are drawn.
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
        resample: int = 0,
        pool: Sequence[str] = (),
    ) -> None:
        self.context = context
        self.reward = reward
        self.temperature = temperature
        self.limits = limits
        self.group_size = group_size
        self.on_batch = on_batch
        self.in_group = in_group
        self.resample = resample
        self.pool = pool
        self.calls = 0
        self.tasks: list[str] = []
        self.episodes: list[Episode] = []
        self.rewards: list[float] = []
        self.demonstrated: list[bool] = []

    def __call__(self, task_ids: Sequence[str], trainer: GRPOTrainer) -> dict[str, list[Any]]:
        began = time.perf_counter()
        self.tasks = list(task_ids)
        batch = self._play(range(len(self.tasks)), trainer)
        played = [*batch.values()]
        for _ in range(self.resample):
            alike = self._groups_alike([self.reward.of(episode) for episode, _ in batch.values()])
            if not alike:
                break
            generator = np.random.default_rng([self.context.seed, self.calls])
            chosen = generator.choice(len(self.pool), len(alike), replace=len(alike) > len(self.pool))
            for group, number in zip(alike, chosen.tolist(), strict=True):
                self.tasks[group.start : group.stop] = [self.pool[number]] * len(group)
            others = self._play([place for group in alike for place in group], trainer)
            batch |= others
            played += others.values()
        self.episodes = [episode for episode, _ in batch.values()]
        self.demonstrated = [demonstrated for _, demonstrated in batch.values()]
        self.rewards = [self.reward.of(episode) for episode in self.episodes]
        self._report([episode for episode, demonstrated in played if not demonstrated], time.perf_counter() - began)
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

    def _play(self, places: Sequence[int], trainer: GRPOTrainer) -> dict[int, tuple[Episode, bool]]:
        """Return for each place an episode of its task, and True where it is a demonstration."""
        demonstrations = self._demonstrations(places)
        rolled_out = iter(self._roll_out([self.tasks[n] for n in places if n not in demonstrations], trainer))
        return {n: (demonstrations.get(n) or next(rolled_out), n in demonstrations) for n in places}

    def _groups_alike(self, rewards: Sequence[float]) -> list[range]:
        """Return the places of each group whose episodes all earned the same."""
        groups = [range(start, start + self.group_size) for start in range(0, len(rewards), self.group_size)]
        return [group for group in groups if len({rewards[place] for place in group}) == 1]

    def _demonstrations(self, places: Sequence[int]) -> dict[int, Episode]:
        """Return the demonstrations that replace the last episodes of groups, by place."""
        if self.in_group is None:
            return {}
        last = [place for place in places if place % self.group_size == self.group_size - 1]
        drawn = {place: self.in_group.of_task(self.tasks[place]) for place in last}
        return {place: demonstration.episode() for place, demonstration in drawn.items() if demonstration is not None}

    def _roll_out(self, task_ids: Sequence[str], trainer: GRPOTrainer) -> list[Episode]:
        context = self.context
        seed = int(np.random.SeedSequence([context.seed, self.calls]).generate_state(1)[0])
        self.calls += 1
        sampling = Sampling(self.temperature, context.max_completion_tokens, seed)
        backend = context.engine.in_trainer(trainer, context.renderer.end_token_id)
        return context.runner.run(
            backend, task_ids, sampling, f"policy:{context.phase}", context.meter, limits=self.limits
        )

    def _report(self, episodes: Sequence[Episode], seconds: float) -> None:
        lengths = [len(episode.prompt_ids) + len(episode.completion_ids) for episode in episodes]
        self.on_batch(
            {
                "success": float(np.mean([episode.trajectory.success for episode in episodes])),
                "steps_per_episode": float(np.mean([len(episode.trajectory.steps) for episode in episodes])),
                "tokens_per_episode": float(np.mean(lengths)),
                "inadmissible_per_episode": float(np.mean([episode.inadmissible for episode in episodes])),
                "rollouts": float(len(episodes)),
                "rollout_seconds": seconds,  # of TRL's step_time
            }
        )
