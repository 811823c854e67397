"""SRFT: SFT and RL in one update, weighted by the policy's entropy (Fu et al., arXiv 2506.19767).

A group has n - 1 rollouts of a task and one demonstration of it, with GRPO's advantages A among all n. Let H be the
policy's mean entropy over the agent's tokens of an episode, without gradient, and p the policy's probability of a
token. The objective per token, to be maximized, is

    demonstration       0.5 exp(-H) log p  +  A p / (p + 0.1)
    rollout             w A, clipped as in GRPO, with w = 0.1 exp(H) where A > 0 and 1 elsewhere

The SFT term is strong where the policy is certain. The factor exp(H) keeps the policy from collapsing onto its own
successes.

Deviations: the paper's rollouts earn r = +1 or -1, and their loss is -r log p. Here the advantage replaces r, so that
partial rewards are told apart. The reshaped ratio is LUFFY's (arXiv 2504.14945). ``loss_type`` decides how tokens and
episodes are averaged. A task without a demonstration has n rollouts. If it has several demonstrations, one is drawn.
"""

from typing import Any, ClassVar

import torch

from prism_bench.algorithms.grpo import GRPO
from prism_bench.algorithms.grpo_trainer import Inputs
from prism_bench.algorithms.hybrid_trainer import (
    MixedGroupTrainer,
    check_mixed_groups,
    mean_entropies,
    per_token,
    shaped_ratio,
)
from prism_bench.settings.types import NotNegative, Positive


class SRFTTrainer(MixedGroupTrainer):
    """The trainer of :class:`SRFT`."""

    algorithm: "SRFT"

    def has_gradient(self, inputs: Inputs) -> torch.Tensor:
        """Keep demonstrations without advantage too, since they have an SFT loss."""
        demonstrated: torch.Tensor = inputs["demonstrated"]
        return super().has_gradient(inputs) | demonstrated

    def demonstration_objective(
        self, advantages: torch.Tensor, logprobs: torch.Tensor, entropies: torch.Tensor
    ) -> torch.Tensor:
        imitation = self.algorithm.sft_weight * torch.exp(-entropies) * logprobs
        return imitation + advantages * shaped_ratio(logprobs, self.algorithm.shaping)

    def loss(self, inputs: Inputs, logprobs: torch.Tensor, entropies: torch.Tensor) -> torch.Tensor:
        advantages = per_token(inputs["advantages"])
        weights = self.algorithm.positive_weight * torch.exp(mean_entropies(inputs, entropies))
        weighted = torch.where((advantages > 0) & ~inputs["demonstrated"][:, None], weights * advantages, advantages)
        return super().loss(inputs | {"advantages": weighted}, logprobs, entropies)


class SRFT(GRPO):
    """GRPO with a demonstration in each group, which has an SFT loss as well.

    Args:
        sft_weight: the 0.5 of a demonstration's log-probability.
        positive_weight: the 0.1 of a rollout better than its group.
        shaping: the 0.1 of p / (p + 0.1).
        config: options of :class:`prism_bench.algorithms.grpo.GRPO`.

    Raises:
        InputError: an option has no meaning for a demonstration.
    """

    needs_demonstrations: ClassVar[bool] = True
    trainer = SRFTTrainer
    demonstration_in_group = True

    def __init__(
        self,
        *,
        sft_weight: NotNegative = 0.5,
        positive_weight: NotNegative = 0.1,
        shaping: Positive = 0.1,
        **config: Any,
    ) -> None:
        super().__init__(**config)
        check_mixed_groups(config)
        self.sft_weight = sft_weight
        self.positive_weight = positive_weight
        self.shaping = shaping
