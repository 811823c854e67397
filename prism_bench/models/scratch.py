"""A small Llama-style model made from scratch, with a tokenizer of its own."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from prism_bench.models.policy import ModelSettings, Policy
from prism_bench.models.tokenizer import build_tokenizer, entity_parts


@dataclass(frozen=True, kw_only=True)
class ScratchModel(ModelSettings):
    """Settings of a small Llama-style model made from scratch.

    ``base`` configures the stage that pretrains it (:mod:`prism_bench.stages.base`).
    """

    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    key_value_heads: int
    base: Any


def create_policy(settings: ScratchModel, texts: Iterable[str], seed: int) -> Policy:
    """Make an untrained policy whose tokenizer is built from ``texts``.

    The embedding of an entity (``drawer 3``) starts as the sum of a vector for its name and one for its number, so that
    things of one kind start alike; all other weights start as transformers starts them.
    """
    tokenizer = build_tokenizer(texts)
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=settings.hidden_size,
            intermediate_size=settings.intermediate_size,
            num_hidden_layers=settings.layers,
            num_attention_heads=settings.heads,
            num_key_value_heads=settings.key_value_heads,
            max_position_embeddings=settings.max_length,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    _compose_entities(model, entity_parts(tokenizer))
    return Policy(model, tokenizer)


def _compose_entities(model: PreTrainedModel, parts: dict[int, tuple[str, str]]) -> None:
    embeddings = cast(torch.nn.Embedding, model.get_input_embeddings()).weight.data
    words = sorted({word for pair in parts.values() for word in pair})
    vectors = dict(zip(words, torch.randn(len(words), embeddings.shape[1]) * embeddings.std(), strict=True))
    for token, (name, number) in parts.items():
        embeddings[token] = (vectors[name] + vectors[number]) / 2**0.5
