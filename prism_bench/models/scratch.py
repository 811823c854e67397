"""A small Llama-style model made from scratch, with a tokenizer of its own."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from prism_bench.errors import InputError
from prism_bench.models.policy import ModelSettings, Policy
from prism_bench.models.tokenizer import build_tokenizer, entity_parts
from prism_bench.settings.types import Count, Positive


@dataclass(frozen=True, kw_only=True)
class ScratchModel(ModelSettings):
    """Settings of a small Llama-style model made from scratch.

    ``base`` configures the stage that pretrains it (:mod:`prism_bench.stages.base`). Weights start normal with the
    standard deviation ``initializer_range``.

    Raises:
        InputError: sizes do not fit each other.
    """

    hidden_size: Count
    intermediate_size: Count
    layers: Count
    heads: Count
    key_value_heads: Count
    base: Any
    initializer_range: Positive = 0.02

    def __post_init__(self) -> None:
        if self.hidden_size % (2 * self.heads):
            raise InputError(
                f"hidden_size={self.hidden_size} is not possible with heads={self.heads}; each head needs an even share"
            )
        if self.heads % self.key_value_heads:
            raise InputError(
                f"key_value_heads={self.key_value_heads} is not possible; it should divide heads={self.heads}"
            )


def create_policy(settings: ScratchModel, texts: Iterable[str], seed: int) -> Policy:
    """Make an untrained policy whose tokenizer is built from ``texts``.

    The embedding of an entity (``drawer 3``) starts as the sum of a vector for its name and one for its number, so that
    things of one kind start alike; all other weights start as transformers starts them.
    """
    tokenizer = build_tokenizer(texts)
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        llama_config(
            settings,
            vocab_size=len(tokenizer),
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    _compose_entities(model, entity_parts(tokenizer))
    return Policy(model, tokenizer)


def llama_config(settings: ScratchModel, vocab_size: int, **ids: Any) -> LlamaConfig:
    """Return transformers' configuration of the model; ``ids`` are those of the tokenizer's special tokens."""
    options: dict[str, Any] = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None} | ids
    return LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=settings.hidden_size,
        intermediate_size=settings.intermediate_size,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.key_value_heads,
        max_position_embeddings=settings.max_length,
        tie_word_embeddings=True,
        initializer_range=settings.initializer_range,
        **options,
    )


def _compose_entities(model: PreTrainedModel, parts: dict[int, tuple[str, str]]) -> None:
    embeddings = cast(torch.nn.Embedding, model.get_input_embeddings()).weight.data
    words = sorted({word for pair in parts.values() for word in pair})
    vectors = dict(zip(words, torch.randn(len(words), embeddings.shape[1]) * embeddings.std(), strict=True))
    for token, (name, number) in parts.items():
        embeddings[token] = (vectors[name] + vectors[number]) / 2**0.5
