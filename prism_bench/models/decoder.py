"""Parts and sizes of a causal language model, for the probe, generation and the ledger.

All functions take a bare model of transformers or one that PEFT has wrapped with a LoRA adapter.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import torch
from peft import LoraConfig, PeftModel
from transformers import PreTrainedModel

from prism_bench.accounting.flops import ModelShape
from prism_bench.errors import InputError

_UNKNOWN_LOGIT_TRANSFORMS = {
    "logit_scale": (None, 1),  # Cohere
    "logits_scaling": (None, 1),  # Granite
    "lm_head_multiplier": (None, 1),  # Falcon H1
}
"""Settings with which some models change logits after the LM head, and their values without effect."""


def bare_model(model: PreTrainedModel) -> PreTrainedModel:
    """Return the model of transformers that PEFT has wrapped; any other is returned as it is."""
    return cast(PreTrainedModel, model.get_base_model()) if isinstance(model, PeftModel) else model


def decoder_and_head(model: PreTrainedModel) -> tuple[torch.nn.Module, Callable[[torch.Tensor], torch.Tensor]]:
    """Return the decoder (tokens to hidden states) and the head (hidden states to logits), a LoRA adapter included.

    Apart, they can compute logits at only the positions that need them.

    Raises:
        InputError: the model does more to its logits than soft-capping (Gemma 2).
    """
    bare = bare_model(model)
    config = bare.config.get_text_config()
    for name, neutral in _UNKNOWN_LOGIT_TRANSFORMS.items():
        if getattr(config, name, None) not in neutral:
            raise InputError(
                f"{type(bare).__name__} changes its logits after the LM head ({name}={getattr(config, name)}), which "
                "is not supported; use a model of the Llama, Mistral, Qwen, Gemma or Phi-3 family"
            )
    head, cap = bare.get_output_embeddings(), getattr(config, "final_logit_softcapping", None)
    return bare.base_model, head if cap is None else lambda hidden: cap * torch.tanh(head(hidden) / cap)


def model_shape(model: PreTrainedModel) -> ModelShape:
    """Return the sizes of ``model`` from which operations are counted, a LoRA adapter's included."""
    if not isinstance(model, PeftModel):
        return ModelShape.from_config(model.config)
    adapter = model.active_peft_config
    assert isinstance(adapter, LoraConfig)
    adapted = {name.rpartition(".")[2] for name, module in model.named_modules() if hasattr(module, "lora_A")}
    return ModelShape.from_config(model.config, adapter.r, adapted)


@contextmanager
def evaluation_mode(model: PreTrainedModel) -> Iterator[None]:
    """Switch off dropout and the like, and afterwards restore the mode of every module."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
