"""Forward passes of TRL's trainers, with the LM head at the targets only, and the bill of the executed work.

TRL's trainers get per-token log-probabilities from ``model(..., labels=labels, fused_lm_head=True)``
(``trl.trainer.utils.add_fused_lm_head``). With Triton, on a CUDA or XPU device, that call evaluates the LM head at the
targets only, in tiles that the backward pass computes again. On any other device it evaluates the head at every token,
padding included. There this module evaluates the head at the targets, without tiles, which takes half of the tiles'
time on a CPU (``benchmarks/sft.py``); the numbers are TRL's.

Every forward pass of a trainer goes through here, whether it trains, scores for a reference model or an old policy, or
computes a held-out loss. It is therefore the one place where training is billed: the rows and padded lengths that the
device processed, the head at the positions where it was evaluated, and for a pass with gradients the backward pass that
follows. ``trained_tokens`` are the tokens of passes with gradients, ``prefill_tokens`` the tokens of passes without.
Padding is not counted as tokens, but its operations are.
"""

import functools
import types
from typing import Any, Literal

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import PreTrainedModel
from transformers.utils.import_utils import is_triton_available
from trl.trainer.utils import FusedCausalLMOutput

from prism_bench.accounting.flops import forward_flops, training_flops
from prism_bench.accounting.meter import Meter
from prism_bench.data.rendering import IGNORED
from prism_bench.models.decoder import bare_model, decoder_and_head, model_shape


def add_target_head(
    model: PreTrainedModel, meter: Meter, *, temperature: float = 1.0, entropy_gradient: bool = False
) -> None:
    """Replace the fused forward pass that a TRL trainer has just added to ``model``.

    Args:
        model: with or without a LoRA adapter.
        meter: is charged with every fused forward pass.
        temperature: divides the logits.
        entropy_gradient: let gradients flow through the entropies as well.
    """
    bare = bare_model(model)
    forward_of_trl = bare.forward
    tiles = is_triton_available() and model.device.type in ("cuda", "xpu")
    charge = _Bill(model, meter, tiles)

    @functools.wraps(type(bare).forward)  # generate() looks at the signature
    def forward(self: PreTrainedModel, *args: Any, fused_lm_head: bool = False, **inputs: Any) -> Any:
        if not fused_lm_head:
            return forward_of_trl(*args, **inputs)
        charge(**inputs)
        if tiles:
            return forward_of_trl(fused_lm_head=True, **inputs)
        return _at_targets(model, temperature, entropy_gradient, **inputs)

    bare.forward = types.MethodType(forward, bare)


def remove_target_head(model: PreTrainedModel) -> None:
    """Give ``model`` back the forward pass of its class, after training."""
    for module in (model, bare_model(model)):
        vars(module).pop("forward", None)


class _Bill:
    """Bill of a model: charges a meter with its forward passes, and with the backward passes that follow."""

    def __init__(self, model: PreTrainedModel, meter: Meter, head_again: bool) -> None:
        self.bare = bare_model(model)
        self.meter = meter
        self.head_again = head_again
        self.shape = model_shape(model)
        self.weights: Literal["all", "adapters"] = "adapters" if isinstance(model, PeftModel) else "all"
        self.adapter = next((module for module in model.modules() if isinstance(module, BaseTunerLayer)), None)

    def __call__(
        self, input_ids: torch.Tensor, labels: torch.Tensor, attention_mask: torch.Tensor | None = None, **_: Any
    ) -> None:
        rows, width = input_ids.shape
        tokens = rows * width if attention_mask is None else int(attention_mask.sum())
        lengths, logits = [width] * rows, (labels[:, 1:] != IGNORED).sum(1).tolist()
        if torch.is_grad_enabled():
            flops = training_flops(
                self.shape,
                lengths,
                logits=logits,
                weights=self.weights,
                checkpointing=self.bare.is_gradient_checkpointing,
                head_again=self.head_again,
            )
            self.meter.add(trained_tokens=tokens, flops=flops)
        else:
            without_adapter = self.adapter is not None and self.adapter.disable_adapters
            shape = model_shape(self.bare) if without_adapter else self.shape
            self.meter.add(prefill_tokens=tokens, flops=forward_flops(shape, lengths, logits=logits))


def _at_targets(
    model: PreTrainedModel,
    temperature: float,
    entropy_gradient: bool,
    *,
    labels: torch.Tensor,
    use_cache: bool = False,
    **inputs: Any,
) -> FusedCausalLMOutput:
    """Return log-probabilities and entropies of the labels, (rows, tokens - 1), and where the label is most probable.

    All are zero where a label is ignored.
    """
    decoder, head = decoder_and_head(model)
    hidden = decoder(use_cache=False, **inputs).last_hidden_state[:, :-1]
    chosen = labels[:, 1:] != IGNORED
    targets = labels[:, 1:][chosen]
    logits = head(hidden[chosen]).float()
    logprobs = torch.log_softmax(logits if temperature == 1.0 else logits / temperature, dim=-1)
    of_targets = logprobs.gather(1, targets[:, None])[:, 0]
    if entropy_gradient and torch.is_grad_enabled():
        entropies = -(logprobs.exp() * logprobs).sum(-1)
    else:  # a few rows at a time, which stay in a processor's cache
        entropies = torch.cat([-(rows.exp() * rows).sum(-1) for rows in logprobs.detach().split(16)])

    def spread(values: torch.Tensor) -> torch.Tensor:
        return values.new_zeros(chosen.shape).masked_scatter(chosen, values)

    return FusedCausalLMOutput(
        log_probs=spread(of_targets),
        entropy=spread(entropies),
        is_top1=spread(of_targets.detach() >= logprobs.detach().amax(-1)),
        label_mask=chosen,
    )
