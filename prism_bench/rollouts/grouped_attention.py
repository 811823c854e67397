"""Attention of several query heads to one key-value head, without a copy of the cache for each of them.

With a mask, transformers repeats keys and values until every query head has its own. Here the queries of the heads that
share a key-value head are concatenated instead, as if they were more tokens.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AttentionInterface, PreTrainedModel

_NAME = "prism_bench_grouped"


def _grouped_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Return (rows, new tokens, heads, width) for queries (rows, heads, new tokens, width), as transformers expects."""
    rows, heads, new, width = query.shape
    shared = heads // key.shape[1]
    stacked = query.reshape(rows, key.shape[1], shared * new, width)
    mask = attention_mask.repeat(1, 1, shared, 1)
    output = torch.nn.functional.scaled_dot_product_attention(stacked, key, value, attn_mask=mask, scale=scaling)
    return output.reshape(rows, heads, new, -1).transpose(1, 2).contiguous(), None


AttentionInterface.register(_NAME, _grouped_attention)


@contextmanager
def grouped_attention(model: PreTrainedModel) -> Iterator[None]:
    """Let a model that was loaded with SDPA attend in this way; it has to be given its mask, (rows, 1, new, seen)."""
    config = model.config.get_text_config()
    config._attn_implementation = _NAME
    try:
        yield
    finally:
        config._attn_implementation = "sdpa"
