"""GiGPO: GRPO with a second advantage, among the steps that a group took from the same state (arXiv 2505.10978).

    A = A_episode + w * A_step

A_episode is GRPO's. The return of step t of an episode with T steps is its reward, discounted from the last step:
R_t = gamma^(T - 1 - t) * reward. The steps of all rollouts of one task whose observation is the same text (the anchor
state) form a step group, and

    A_step = R_t - mean of its group, divided by (standard deviation + 1e-6) for ``mean_std_norm``, not ``mean_norm``

A step that is alone in its group has A_step = 0. Every token of a step's completion gets A. The paper's values are
w = 1 and gamma = 0.95.

Deviations: ``scale_rewards`` decides whether A_episode is divided by the standard deviation + 1e-4 (TRL's constant);
the paper's implementation has one switch for both advantages, and 1e-6. The reward is the episode's score, from 0 to 1,
where the paper gives 10 for success and takes 0.1 for an invalid action; ``mean_std_norm`` does not depend on the
scale.
"""

from collections import defaultdict
from typing import Any, Literal

import torch

from prism_bench.algorithms.grpo import GRPO
from prism_bench.algorithms.rollout_batch import RolloutBatch
from prism_bench.rollouts.episodes import Episode
from prism_bench.settings.types import NotNegative, Share


class GiGPO(GRPO):
    """GRPO with advantages of steps.

    Args:
        step_weight: w.
        gamma: discount of returns per step.
        step_norm: ``mean_std_norm`` or ``mean_norm``.
        config: options of :class:`prism_bench.algorithms.grpo.GRPO`.
    """

    def __init__(
        self,
        *,
        step_weight: NotNegative = 1.0,
        gamma: Share = 0.95,
        step_norm: Literal["mean_std_norm", "mean_norm"] = "mean_std_norm",
        **config: Any,
    ) -> None:
        super().__init__(**config)
        self.step_weight = step_weight
        self.gamma = gamma
        self.step_norm = step_norm

    def advantages(self, batch: RolloutBatch) -> torch.Tensor:
        """Return A at every token of the agent, (episodes, completion tokens), and 0 elsewhere."""
        width = max(len(episode.completion_ids) for episode in batch.episodes)
        advantages = batch.advantages.new_zeros(len(batch.episodes), width)
        for row, (episode, steps) in enumerate(zip(batch.episodes, self.step_advantages(batch), strict=True)):
            for (start, stop), step in zip(completions(episode), steps.tolist(), strict=True):
                advantages[row, start:stop] = batch.advantages[row] + self.step_weight * step
        return advantages

    def step_advantages(self, batch: RolloutBatch) -> list[torch.Tensor]:
        """Return A_step of each step of each episode, (steps,)."""
        returns, groups = [], defaultdict(list)
        for row, episode in enumerate(batch.episodes):
            steps = episode.trajectory.steps
            left = torch.arange(len(steps) - 1, -1, -1, dtype=torch.float64)  # steps after each
            returns.append(self.gamma**left * float(batch.rewards[row]))
            for number, step in enumerate(steps):
                groups[row // batch.group_size, step.observation].append((row, number))
        advantages = [torch.zeros_like(values) for values in returns]
        for members in groups.values():
            if len(members) > 1:
                values = torch.stack([returns[row][number] for row, number in members])
                centred = values - values.mean()
                if self.step_norm == "mean_std_norm":
                    centred = centred / (values.std() + 1e-6)
                for (row, number), advantage in zip(members, centred, strict=True):
                    advantages[row][number] = advantage
        return advantages


def completions(episode: Episode) -> list[tuple[int, int]]:
    """Return where the completion of each step starts and ends in the episode's completion tokens."""
    edges = [0, *episode.agent_mask, 0]
    starts = [place for place in range(1, len(edges)) if edges[place] > edges[place - 1]]
    ends = [place for place in range(1, len(edges)) if edges[place] < edges[place - 1]]
    return [(start - 1, end - 1) for start, end in zip(starts, ends, strict=True)]
