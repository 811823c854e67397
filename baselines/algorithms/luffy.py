"""LUFFY: an expert's demonstration inside each group of GRPO (Yan et al., arXiv 2504.14945).

A group has n - 1 rollouts of a task and one demonstration of it. The advantage is A = r - mean of the group's rewards
r, not divided by the standard deviation (``scale_rewards: none``). Rollouts have GRPO's clipped loss. A token of the
demonstration contributes

    A * p / (p + 0.1),    p being the policy's probability of the token

without clipping. The demonstrator's probability is taken as 1. The reshaped ratio gives improbable tokens more gradient
than p itself would.

Deviations: ``loss_type`` decides how tokens and episodes are averaged (the configuration has ``grpo``: first over the
tokens of an episode); the paper averages once over all tokens of a group. A task without a demonstration has n
rollouts. If it has several demonstrations, one is drawn.
"""

from typing import Any, ClassVar

import torch

from prism_bench.algorithms.grpo import GRPO
from prism_bench.algorithms.hybrid_trainer import MixedGroupTrainer, check_mixed_groups, shaped_ratio
from prism_bench.settings.types import Positive


class LuffyTrainer(MixedGroupTrainer):
    """The trainer of :class:`LUFFY`."""

    algorithm: "LUFFY"

    def demonstration_objective(
        self, advantages: torch.Tensor, logprobs: torch.Tensor, entropies: torch.Tensor
    ) -> torch.Tensor:
        return advantages * shaped_ratio(logprobs, self.algorithm.shaping)


class LUFFY(GRPO):
    """GRPO with a demonstration in each group.

    Args:
        shaping: the 0.1 of p / (p + 0.1).
        config: options of :class:`prism_bench.algorithms.grpo.GRPO`.

    Raises:
        InputError: an option has no meaning for a demonstration.
    """

    needs_demonstrations: ClassVar[bool] = True
    trainer = LuffyTrainer
    demonstration_in_group = True

    def __init__(self, *, shaping: Positive = 0.1, **config: Any) -> None:
        super().__init__(**config)
        check_mixed_groups(config)
        self.shaping = shaping
