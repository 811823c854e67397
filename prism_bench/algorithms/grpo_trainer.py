"""TRL's ``GRPOTrainer`` without the work that cannot change a weight.

Multi-turn episodes of one batch differ in length several times over, most of their tokens are the environment's, and
where all episodes of a group earned the same their advantage is zero. Three things are therefore left out of the
forward and backward passes, and the loss stays what TRL computes, up to the order in which floats are added:

* episodes whose advantage is zero (only without a KL term; the mean still counts them);
* padding: episodes of similar length go together, instead of all being padded to the longest;
* the LM head on tokens that the policy did not write.

Settings under which an episode's loss depends on the others of its batch are handed to TRL as they are: entropy bonus
or quantile, router losses. TRL's logged means of entropy and clipping are then means over the groups of similar length.
"""

from typing import Any

import torch
from trl.trainer.grpo_trainer import GRPOTrainer

from prism_bench.data.batching import groups_of_similar_length
from prism_bench.models.decoder import decoder_and_head

_MEANS_OVER_EPISODES = ("grpo", "dr_grpo")
_SUMS_OVER_TOKENS = ("dapo",)  # divided by the tokens of all episodes, whichever go together


class EpisodeGRPOTrainer(GRPOTrainer):
    """See the module."""

    _agent_mask: torch.Tensor | None = None

    def _compute_loss(self, model: torch.nn.Module, inputs: dict[str, Any]) -> torch.Tensor:
        if not self._separable():
            loss: torch.Tensor = super()._compute_loss(model, inputs)
            return loss
        episodes = len(inputs["advantages"])
        lengths = (inputs["prompt_mask"].sum(1) + inputs["completion_mask"].sum(1)).tolist()
        rows = range(episodes) if self.beta else inputs["advantages"].nonzero()[:, 0].tolist()
        # A zero that touches every weight: without any advantage the optimizer still takes its (momentum) step.
        total = sum((weight.sum() * 0.0 for weight in model.parameters() if weight.requires_grad), torch.zeros(()))
        for group in groups_of_similar_length(rows, lengths.__getitem__, factor=1.25, slack=8):
            chosen = _without_padding(inputs, torch.tensor(group, device=inputs["advantages"].device))
            self._agent_mask = chosen["completion_mask"] * chosen.get("tool_mask", 1)
            share = len(group) / episodes if self.loss_type in _MEANS_OVER_EPISODES else 1.0
            try:
                total = total + share * super()._compute_loss(model, chosen)
            finally:
                self._agent_mask = None
        return total

    def _separable(self) -> bool:
        return (
            self.loss_type in _MEANS_OVER_EPISODES + _SUMS_OVER_TOKENS
            and self.top_entropy_quantile == 1.0
            and not self._entropy_bonus_enabled
            and not self.aux_loss_enabled
        )

    def _get_per_token_logps_and_entropies(
        self,
        model: torch.nn.Module,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        **options: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Return log-probabilities and entropies, (episodes, logits_to_keep), zero where the environment wrote."""
        if self._agent_mask is None:
            found: tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]
            found = super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, **options
            )
            return found
        written = self._agent_mask.bool()
        decoder, head = decoder_and_head(self.accelerator.unwrap_model(model))
        with self.accelerator.autocast():
            hidden = decoder(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).last_hidden_state
            logits = head(hidden[:, -logits_to_keep - 1 : -1][written]).float() / self.temperature
        logprobs = torch.log_softmax(logits, dim=-1)
        tokens = input_ids[:, -logits_to_keep:][written]
        empty = logprobs.new_zeros(written.shape)
        entropies = -(logprobs.detach().exp() * logprobs.detach()).sum(-1)
        return (
            empty.masked_scatter(written, logprobs.gather(1, tokens[:, None])[:, 0]),
            empty.masked_scatter(written, entropies),
            None,
        )


def _without_padding(inputs: dict[str, Any], rows: torch.Tensor) -> dict[str, Any]:
    """Return those rows of every tensor, without the columns that are padding in all of them."""
    prompt = int(inputs["prompt_mask"][rows].sum(1).max())  # padded on the left
    completion = int(inputs["completion_mask"][rows].sum(1).max())  # padded on the right
    full = inputs["completion_mask"].shape[1]
    chosen: dict[str, Any] = {}
    for name, value in inputs.items():
        if not isinstance(value, torch.Tensor) or value.dim() == 0:
            chosen[name] = value
        elif name in ("prompt_ids", "prompt_mask"):
            chosen[name] = value[rows, -prompt:]
        elif value.dim() == 2 and value.shape[1] == full:
            chosen[name] = value[rows, :completion]
        else:
            chosen[name] = value[rows]
    return chosen
