"""TRL's ``GRPOTrainer`` without the work that cannot change a weight, open to other advantages and losses.

The multi-turn episodes of a batch differ in length by a factor of several, most of their tokens are the environment's,
and the advantage is zero if all episodes of a group earned the same. Three things are therefore left out of forward and
backward passes. The loss stays TRL's, up to the order in which floats are added:

* episodes whose advantage is zero at every token, unless a KL term or an entropy bonus needs them (means over episodes
  still count them; TRL's logged means of entropy and clipping do not);
* padding: episodes of similar length go through the model together, instead of all being padded to the longest;
* the LM head on tokens that the policy did not write.

The same holds for the passes of a reference model and of the policy that rolled out, which score every episode. All
are billed where they are executed (:mod:`prism_bench.algorithms.target_head`).

Several processes (:mod:`prism_bench.processes`) have the same rollouts, and to each of them the episodes of the others
are like those without advantage. The loss of an update is the sum of theirs; TRL's logged means of entropy and clipping
are those of the first process's episodes.
"""

from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch.nn.functional import pad
from transformers import PreTrainedModel, TrainerCallback
from trl.trainer.grpo_trainer import GRPOTrainer

from prism_bench import processes
from prism_bench.accounting.meter import Meter
from prism_bench.algorithms.checkpoints import CheckpointingTrainer
from prism_bench.algorithms.demonstrations import Demonstrations
from prism_bench.algorithms.rollout_batch import AdvantageEstimator, RolloutBatch, Rollouts
from prism_bench.algorithms.target_head import add_target_head
from prism_bench.data.batching import groups_of_similar_length
from prism_bench.data.rendering import IGNORED, Rendered

Inputs = dict[str, Any]
"""TRL's batch by name: tensors with a row per episode, and numbers."""

_MEANS_OVER_EPISODES = ("grpo", "dr_grpo", "sapo", "luspo")
_MEANS_OVER_TOKENS = ("bnpo",)  # of the given episodes; other losses divide by the tokens of all episodes


class EpisodeGRPOTrainer(CheckpointingTrainer, GRPOTrainer):
    """GRPO trainer that skips rows and tokens without gradient.

    A variant of GRPO overrides :meth:`columns`, which is called once for the rollouts of a step, :meth:`has_gradient`,
    or :meth:`loss`.

    Args:
        meter: is charged with every forward and backward pass.
        algorithm: computes the advantages; None for TRL's own.
        demonstrations: for variants that learn from them.
        options: of ``trl.GRPOTrainer``.
    """

    def __init__(
        self,
        *,
        meter: Meter,
        algorithm: AdvantageEstimator | None = None,
        demonstrations: Demonstrations | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.algorithm = algorithm
        self.demonstrations = demonstrations
        self._written: torch.Tensor | None = None
        self._scored: tuple[torch.Tensor, torch.Tensor, None] | None = None
        policy = cast(PreTrainedModel, self.model)
        add_target_head(policy, meter, temperature=self.temperature, entropy_gradient=self._entropy_bonus_enabled)
        if self.ref_model is not None:
            add_target_head(self.ref_model, meter, temperature=self.temperature)

    def callbacks(self) -> list[TrainerCallback]:
        """Return further callbacks that the trainer needs."""
        return []

    def export_state(self) -> dict[str, Any]:
        """Return as plain JSON what a variant keeps from one update to the next."""
        return {}

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""

    def columns(self, batch: RolloutBatch) -> dict[str, torch.Tensor]:
        """Return further columns of the batch for the loss, with a row per episode, ``advantages`` among them."""
        advantages = batch.advantages if self.algorithm is None else self.algorithm.advantages(batch)
        return {"advantages": advantages.to(batch.advantages)}

    def has_gradient(self, inputs: Inputs) -> torch.Tensor:
        """Return for each episode, (episodes,), whether it can change a weight."""
        advantages: torch.Tensor = inputs["advantages"]
        if self.beta or self._entropy_bonus_enabled or self.top_entropy_quantile < 1:
            return torch.ones(len(advantages), dtype=torch.bool, device=advantages.device)
        return advantages.reshape(len(advantages), -1).any(dim=1)

    def loss(self, inputs: Inputs, logprobs: torch.Tensor, entropies: torch.Tensor) -> torch.Tensor:
        """Return TRL's loss of the episodes of ``inputs``.

        Args:
            inputs: TRL's batch, with the columns that :meth:`columns` added.
            logprobs: (episodes, completion tokens), of the policy's tokens, with gradient; 0 elsewhere.
            entropies: likewise; with gradient only if there is an entropy bonus.
        """
        self._scored = logprobs, entropies, None
        try:
            loss: torch.Tensor = super()._compute_loss(self.model, inputs)
            return loss
        finally:
            self._scored = None

    def demonstration_logprobs(self, model: torch.nn.Module, demonstrations: list[Rendered]) -> list[torch.Tensor]:
        """Return the log-probabilities of the agent's tokens, (tokens,), of each demonstration, with gradient."""
        found: list[torch.Tensor] = [torch.zeros(0)] * len(demonstrations)
        device = self.accelerator.device
        lengths = [len(demonstration.input_ids) for demonstration in demonstrations]
        for group in groups_of_similar_length(range(len(lengths)), lengths.__getitem__, factor=1.25, slack=8):
            width = lengths[group[-1]]
            ids = torch.zeros(len(group), width, dtype=torch.long, device=device)
            labels, mask = torch.full_like(ids, IGNORED), torch.zeros_like(ids)
            for row, number in enumerate(group):
                ids[row, : lengths[number]] = torch.tensor(demonstrations[number].input_ids)
                labels[row, : lengths[number]] = torch.tensor(demonstrations[number].labels)
                mask[row, : lengths[number]] = 1
            logprobs = self._forward(model, ids, mask, labels).log_probs
            for row, number in enumerate(group):
                found[number] = logprobs[row][labels[row, 1:] != IGNORED]
        return found

    def training_step(self, model: torch.nn.Module, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        return self.put_together(super().training_step(model, inputs, num_items_in_batch))

    def _generate_and_score_completions(self, inputs: list[Inputs]) -> Inputs:
        output: Inputs = super()._generate_and_score_completions(inputs)
        rollouts = self.rollout_func
        assert isinstance(rollouts, Rollouts)
        advantages = output["advantages"]
        batch = RolloutBatch(
            tasks=rollouts.tasks,
            episodes=rollouts.episodes,
            rewards=torch.tensor(rollouts.rewards, dtype=advantages.dtype, device=advantages.device),
            group_size=rollouts.group_size,
            advantages=advantages,
            demonstrated=torch.tensor(rollouts.demonstrated, device=advantages.device),
        )
        columns = self.columns(batch)
        torch.set_rng_state(processes.agree(torch.get_rng_state()))  # with which TRL shuffles the batch
        name, completions = type(self.algorithm).__name__, output["completion_ids"]
        return output | columns | {"advantages": _checked_advantages(columns["advantages"], completions, name)}

    def _compute_loss(self, model: torch.nn.Module, inputs: Inputs) -> torch.Tensor:
        lengths = inputs["prompt_mask"].sum(1) + inputs["completion_mask"].sum(1)
        chosen = _share_of_rows(lengths, self.has_gradient(inputs))
        if not chosen.any():
            # A zero that touches every weight: without any advantage the optimizer still takes its (momentum) step.
            return sum((weight.sum() * 0.0 for weight in model.parameters() if weight.requires_grad), torch.zeros(()))
        kept = select_rows(inputs, chosen)
        written = written_tokens(inputs)
        self._written = written[chosen]
        ids = torch.cat([kept["prompt_ids"], kept["completion_ids"]], dim=1)
        mask = torch.cat([kept["prompt_mask"], kept["completion_mask"]], dim=1)
        try:
            logprobs, entropies, _ = self._get_per_token_logps_and_entropies(
                model, ids, mask, kept["completion_ids"].shape[1]
            )
        finally:
            self._written = None
        loss = self.loss(kept, logprobs, entropies)
        if self.loss_type in _MEANS_OVER_EPISODES:
            return loss * (int(chosen.sum()) / len(chosen))
        if self.loss_type in _MEANS_OVER_TOKENS:
            return loss * (written[chosen].sum() / written.sum().clamp(min=1))
        return loss

    def _get_per_token_logps_and_entropies(
        self,
        model: torch.nn.Module,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        **_: Any,
    ) -> tuple[torch.Tensor, torch.Tensor, None]:
        """Return log-probabilities and entropies, (episodes, logits_to_keep), zero where the environment wrote."""
        if self._scored is not None:
            return self._scored
        if self._written is None:
            return self._score_rollouts(model, input_ids, attention_mask, logits_to_keep, batch_size)
        labels = torch.full_like(input_ids, IGNORED)
        labels[:, -logits_to_keep:] = input_ids[:, -logits_to_keep:].masked_fill(self._written == 0, IGNORED)
        labels = labels.masked_fill(attention_mask == 0, IGNORED)
        columns = input_ids.shape[1]
        order, logprobs, entropies = [], [], []
        for rows, start, stop in _dense_parts(attention_mask, batch_size or len(input_ids)):
            part = self._forward(
                model, input_ids[rows, start:stop], attention_mask[rows, start:stop], labels[rows, start:stop]
            )
            order += rows
            logprobs.append(pad(part.log_probs, (start, columns - stop)))
            entropies.append(pad(part.entropy, (start, columns - stop)))
        back = torch.tensor(order, device=input_ids.device).argsort()
        return (
            torch.cat(logprobs)[back][:, -logits_to_keep:],
            torch.cat(entropies)[back][:, -logits_to_keep:],
            None,
        )

    def _score_rollouts(
        self,
        model: torch.nn.Module,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None,
    ) -> tuple[torch.Tensor, torch.Tensor, None]:
        """Return what TRL asks for on the rollouts of a new step, without gradient; each process scores its share."""
        assert isinstance(self.rollout_func, Rollouts)
        masks = [torch.tensor(episode.agent_mask) for episode in self.rollout_func.episodes]
        written = torch.nn.utils.rnn.pad_sequence(masks, batch_first=True).to(input_ids)
        written = pad(written, (0, logits_to_keep - written.shape[1]))
        scores = torch.zeros(2, len(input_ids), logits_to_keep, device=input_ids.device)
        mine = _share_of_rows(attention_mask.sum(1), torch.ones_like(attention_mask[:, 0], dtype=torch.bool))
        if mine.any():
            self._written = written[mine]
            try:
                scores[0, mine], scores[1, mine], _ = self._get_per_token_logps_and_entropies(
                    model, input_ids[mine], attention_mask[mine], logits_to_keep, batch_size
                )
            finally:
                self._written = None
        processes.add_up([scores])
        return scores[0], scores[1], None

    def _forward(self, model: torch.nn.Module, ids: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor) -> Any:
        with self.accelerator.autocast():
            return model(input_ids=ids, attention_mask=mask, labels=labels, fused_lm_head=True)


def select_rows(inputs: Inputs, rows: torch.Tensor) -> Inputs:
    """Return ``inputs`` with only the episodes where ``rows``, (episodes,), is True."""
    return {
        name: value[rows] if isinstance(value, torch.Tensor) and value.dim() else value
        for name, value in inputs.items()
    }


def _share_of_rows(lengths: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Return which of the chosen episodes, (episodes,), are this process's: short and long ones, as the others have."""
    rows = chosen.nonzero()[:, 0]
    mine = torch.zeros_like(chosen)
    mine[processes.share(rows[lengths[rows].argsort(stable=True)].tolist())] = True
    return mine


def written_tokens(inputs: Inputs) -> torch.Tensor:
    """Return 1 where the policy wrote, (episodes, completion tokens)."""
    mask: torch.Tensor = inputs["completion_mask"] * inputs.get("tool_mask", 1)
    return mask


def _dense_parts(attention_mask: torch.Tensor, most_rows: int) -> Iterator[tuple[list[int], int, int]]:
    """Yield rows of similar length, with the first and the last column + 1 in which any of them has a token."""
    lengths = attention_mask.sum(1).tolist()
    for group in groups_of_similar_length(range(len(lengths)), lengths.__getitem__, factor=1.25, slack=8):
        for first in range(0, len(group), most_rows):
            rows = group[first : first + most_rows]
            columns = attention_mask[rows].any(0).nonzero()[:, 0].tolist()
            yield rows, columns[0], columns[-1] + 1


def _checked_advantages(advantages: torch.Tensor, completions: torch.Tensor, name: str) -> torch.Tensor:
    """Return ``advantages``, at least as wide as the longest completion, padded to the width of ``completions``."""
    episodes, tokens = completions.shape
    if advantages.dim() == 2 and advantages.shape[1] < tokens:
        advantages = pad(advantages, (0, tokens - advantages.shape[1]))
    if advantages.shape not in ((episodes,), (episodes, tokens)):
        raise ValueError(
            f"{name}.advantages returned a tensor of shape {tuple(advantages.shape)}; the shape of a batch of "
            f"{episodes} episodes is ({episodes},), or ({episodes}, {tokens}) for an advantage per completion token"
        )
    if not advantages.isfinite().all():
        raise ValueError(f"{name}.advantages returned numbers that are not finite")
    return advantages
