"""CHORD: RL and SFT in every update, with a weight that moves from one to the other (Zhang et al., arXiv 2508.11408).

    loss = (1 - mu) L_grpo + mu L_sft

L_sft is the mean over the agent's tokens of demonstrations, which are drawn for each update independently of its tasks.
The weight mu rises linearly from 0 to its peak during a warm-up, then falls along a half cosine to its valley and stays
there (CHORD-mu: from 0.9 to 0.05). CHORD-phi keeps mu constant, at 0.1, and weighs each token of L_sft by p (1 - p),
where p is the token's probability, without gradient. Tokens that are almost certain or almost impossible count little
(``mu_peak=0.1 mu_valley=0.1 token_weights=true``).

Deviations: the paper's mu falls over the first 200 updates. With ``conf/algorithm/chord.yaml`` it falls over all
updates, which are fewer.
"""

import math
from typing import Any, ClassVar, cast

import torch
from trl.trainer.grpo_config import GRPOConfig

from prism_bench.algorithms.grpo import GRPO
from prism_bench.algorithms.grpo_trainer import Inputs
from prism_bench.algorithms.hybrid_trainer import BesideTrainer
from prism_bench.algorithms.rollout_batch import RolloutBatch
from prism_bench.errors import InputError
from prism_bench.settings.types import Count, CountFromZero, Share


class ChordTrainer(BesideTrainer):
    """The trainer of :class:`CHORD`."""

    algorithm: "CHORD"
    tokens_per_update = 1.0

    def columns(self, batch: RolloutBatch) -> dict[str, torch.Tensor]:
        """Attach demonstrations to the first rows, enough for all updates on this batch."""
        assert self.demonstrations is not None
        config = cast(GRPOConfig, self.args)
        updates = cast(int, config.steps_per_generation) / config.gradient_accumulation_steps
        count = max(1, round(updates * self.algorithm.demonstrations_per_update))
        chosen = [demonstration.rendered for demonstration in self.demonstrations.sample(count)]
        self.tokens_per_update = sum(rendered.agent_tokens for rendered in chosen) / updates
        return super().columns(batch) | self.attach(batch, dict(enumerate(chosen)))

    def _compute_loss(self, model: torch.nn.Module, inputs: Inputs) -> torch.Tensor:
        mu = self.algorithm.mu(self.state.global_step)
        self._metrics["train"]["mu"].append(mu)
        loss = (1 - mu) * super()._compute_loss(model, inputs)
        logprobs = self.demonstration_logprobs(model, self.attached(inputs)) if mu else []
        return loss + mu * self.algorithm.sft_loss(logprobs, self.tokens_per_update)


class CHORD(GRPO):
    """GRPO and SFT in every update.

    Args:
        demonstrations_per_update: number of demonstrations drawn for L_sft.
        mu_peak: weight of L_sft after the warm-up.
        mu_valley: weight of L_sft at the end.
        mu_warmup: updates in which the weight rises.
        mu_decay: updates in which the weight falls.
        token_weights: weigh each token of L_sft by p (1 - p).
        config: options of :class:`prism_bench.algorithms.grpo.GRPO`.

    Raises:
        InputError: an update has too few rollouts to carry the demonstrations.
    """

    needs_demonstrations: ClassVar[bool] = True
    trainer = ChordTrainer

    def __init__(
        self,
        *,
        demonstrations_per_update: Count = 32,
        mu_peak: Share = 0.9,
        mu_valley: Share = 0.05,
        mu_warmup: CountFromZero = 0,
        mu_decay: CountFromZero = 200,
        token_weights: bool = False,
        **config: Any,
    ) -> None:
        super().__init__(**config)
        rows = config.get("per_device_train_batch_size", 8) * config.get("gradient_accumulation_steps", 1)
        if demonstrations_per_update > rows:
            raise InputError(
                f"demonstrations_per_update={demonstrations_per_update} is not possible; an update has {rows} rollouts "
                "(per_device_train_batch_size x gradient_accumulation_steps), and each can carry one demonstration"
            )
        self.demonstrations_per_update = demonstrations_per_update
        self.mu_peak = mu_peak
        self.mu_valley = mu_valley
        self.mu_warmup = mu_warmup
        self.mu_decay = mu_decay
        self.token_weights = token_weights

    def mu(self, update: int) -> float:
        """Return the weight of L_sft in an update; the first one has number 0."""
        if update < self.mu_warmup:
            return self.mu_peak * update / self.mu_warmup
        fallen = min(1.0, (update - self.mu_warmup) / self.mu_decay) if self.mu_decay else 1.0
        return self.mu_valley + (self.mu_peak - self.mu_valley) * 0.5 * (1 + math.cos(math.pi * fallen))

    def sft_loss(self, logprobs: list[torch.Tensor], tokens: float) -> torch.Tensor:
        """Return L_sft from the log-probabilities of each demonstration: their sum, divided by ``tokens``."""
        total = torch.zeros(())
        for values in logprobs:
            probabilities = values.detach().exp()
            weights = probabilities * (1 - probabilities) if self.token_weights else torch.ones_like(values)
            total = total.to(values.device) - (weights * values).sum()
        return total / tokens
