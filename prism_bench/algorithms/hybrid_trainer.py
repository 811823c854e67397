"""GRPO trainers that learn from rollouts and from demonstrations in one loop.

A demonstration takes part in one of two ways: it replaces a rollout in a group (:class:`MixedGroupTrainer`), or its
loss is added beside the rollouts' (:class:`BesideTrainer`). Its log-probabilities are computed at the temperature of
the rollouts, with the LM head at the agent's tokens only, and billed like all others.
"""

from collections.abc import Mapping
from typing import Any

import torch

from prism_bench import processes
from prism_bench.algorithms.grpo_trainer import EpisodeGRPOTrainer, Inputs, written_tokens
from prism_bench.algorithms.rollout_batch import RolloutBatch
from prism_bench.data.rendering import Rendered
from prism_bench.errors import InputError

_RATIO_LOSSES = ("grpo", "bnpo", "dr_grpo", "dapo")


class MixedGroupTrainer(EpisodeGRPOTrainer):
    """Trainer for groups that hold a demonstration; a variant overrides :meth:`demonstration_objective`.

    TRL's loss is computed on the mixed batch. For an on-policy token its gradient is that of ``-advantage * logprob``,
    since the ratio to the detached log-probability is 1. A demonstration's objective therefore replaces its
    log-probability, with advantage 1: the gradient is the objective's, never clipped, and averaged over tokens and
    episodes as ``loss_type`` says. The value of the loss has no meaning, since it is computed with an advantage of 1.
    """

    def demonstration_objective(
        self, advantages: torch.Tensor, logprobs: torch.Tensor, entropies: torch.Tensor
    ) -> torch.Tensor:
        """Return the objective to maximize at each token, (episodes, tokens), of episodes that are demonstrations.

        Args:
            advantages: (episodes, 1 or tokens).
            logprobs: (episodes, tokens), with gradient.
            entropies: (episodes, 1), the mean over the agent's tokens of each episode, without gradient.
        """
        raise NotImplementedError

    def columns(self, batch: RolloutBatch) -> dict[str, torch.Tensor]:
        return super().columns(batch) | {"demonstrated": batch.demonstrated}

    def loss(self, inputs: Inputs, logprobs: torch.Tensor, entropies: torch.Tensor) -> torch.Tensor:
        shown = inputs["demonstrated"][:, None]
        advantages = per_token(inputs["advantages"])
        objective = self.demonstration_objective(advantages, logprobs, mean_entropies(inputs, entropies))
        before = inputs.get("old_per_token_logps", logprobs).detach()
        mixed = {
            "advantages": torch.where(shown, torch.ones_like(advantages), advantages),
            "old_per_token_logps": torch.where(shown, objective.detach(), before),
        }
        return super().loss(inputs | mixed, torch.where(shown, objective, logprobs), entropies)


def check_mixed_groups(config: Mapping[str, Any]) -> None:
    """Check that fields of ``trl.GRPOConfig`` have a meaning for groups that hold a demonstration.

    Raises:
        InputError: the loss has a term other than the policy's own log-probabilities of single tokens.
    """
    if config.get("beta", 0.0):
        raise InputError("beta has to be 0: a demonstration in a group has no KL term")
    if config.get("loss_type", "dapo") not in _RATIO_LOSSES:
        raise InputError(f"loss_type has to be {', '.join(_RATIO_LOSSES)} if a demonstration is in a group")
    if config.get("importance_sampling_level", "token") != "token":
        raise InputError("importance_sampling_level has to be token if a demonstration is in a group")


class BesideTrainer(EpisodeGRPOTrainer):
    """Trainer that attaches demonstrations to rows of the batch, so that both are in the same part of an update."""

    beside: list[Rendered]

    def attach(self, batch: RolloutBatch, demonstrations: Mapping[int, Rendered]) -> dict[str, torch.Tensor]:
        """Return a column that attaches each of ``demonstrations`` to the row of ``batch`` that is its key."""
        numbers = torch.full((len(batch.episodes),), -1, dtype=torch.long, device=batch.advantages.device)
        for number, row in enumerate(demonstrations):
            numbers[row] = number
        self.beside = list(demonstrations.values())
        return {"beside": numbers}

    def attached(self, inputs: Inputs) -> list[Rendered]:
        """Return this process's share of the demonstrations attached to the rows of ``inputs``."""
        return processes.share([self.beside[number] for number in inputs["beside"].tolist() if number >= 0])


def shaped_ratio(logprobs: torch.Tensor, shaping: float) -> torch.Tensor:
    """Return p / (p + ``shaping``) for log-probabilities: the ratio to a demonstrator of probability 1, reshaped."""
    probabilities = logprobs.exp()
    return probabilities / (probabilities + shaping)


def per_token(advantages: torch.Tensor) -> torch.Tensor:
    """Return advantages of shape (episodes,) or (episodes, tokens) with two dimensions."""
    return advantages[:, None] if advantages.dim() == 1 else advantages


def mean_entropies(inputs: Inputs, entropies: torch.Tensor) -> torch.Tensor:
    """Return the mean entropy over the agent's tokens of each episode, (episodes, 1), without gradient."""
    mask = written_tokens(inputs)
    means: torch.Tensor = (entropies.detach() * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1)
    return means
