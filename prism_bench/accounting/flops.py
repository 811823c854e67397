"""Floating-point operations of a decoder-only transformer, from its configuration and the lengths it processes.

Counted: every matrix product, at two operations per multiply-add (Kaplan et al., arXiv 2001.08361, section 2.1; their
6ND leaves out attention and the LM head, which are counted here). For a model of L layers, width h, H query heads and K
key-value heads of size d, MLP width m and vocabulary V, the forward pass of a sequence of T new tokens after C cached
ones, with the LM head evaluated at P positions, costs

    2 L T (2 h H d + 2 h K d + 3 h m)     the seven projections q, k, v, o, gate, up, down
    + 4 L T (C + T) H d                   attention: scores Q K^T and values softmax(..) V
    + 2 P h V                             LM head

and a backward pass twice that: gradients of activations and of weights, each as expensive as the forward. If only the
norms of the projections' weight gradients are needed (the probe), they take the cheaper of two forms instead. For
projections that read the same i inputs (q, k, v; gate, up) and have o outputs together, the two cost

    2 T i o            |B^T A|^2, the gradient itself
    2 T T (i + o)      sum((A A^T) * (B B^T)), which is the same number; A A^T serves all of them

* Attention is counted as the full T x (C + T) rectangle, because eager attention and masked
  ``scaled_dot_product_attention`` compute it whole; kernels that skip the causal half need less. Sliding windows are
  counted as full for the same reason. Grouped-query attention saves projections (K < H), never score products.
* Not counted: normalisation, rotary embeddings, softmax, activation functions, embedding look-ups, the optimiser. They
  are linear in T h and below 5 % of the total even for models of half a million parameters
  (``tests/prism_bench/accounting/test_flops.py`` compares with ``torch.utils.flop_counter``).
* The gradient with respect to the inputs of the first q, k and v projections is counted although autograd skips it
  where the embeddings are frozen and no hook asks for it.

A padding token costs as much as any other: pass padded lengths to count the work of the device.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from prism_bench.errors import InputError

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
FUSED_PROJECTIONS = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}
"""Projections that some models (Phi-3) keep as consecutive rows of one matrix."""

_READERS = (*FUSED_PROJECTIONS.values(), ("o_proj",), ("down_proj",))  # each of these reads one input

Lengths = int | Sequence[int] | npt.NDArray[np.integer[Any]]
"""One sequence, or one number per sequence; arguments of the same call broadcast against each other."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Sizes that decide the cost of a token (Llama, Mistral, Qwen, Gemma, Phi-3: gated MLP, grouped queries).

    An MLP without a gate is counted as if it had one. ``lora_rank`` > 0 adds unmerged low-rank adapters of that
    rank to the projections named in ``lora_targets``.
    """

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    lora_rank: int = 0
    lora_targets: tuple[str, ...] = PROJECTIONS

    @classmethod
    def from_config(
        cls, config: Any, lora_rank: int = 0, lora_targets: Collection[str] | str | None = None
    ) -> "ModelShape":
        """Read a ``transformers`` configuration; the LoRA arguments take PEFT's ``r`` and ``target_modules``.

        Raises:
            InputError: the configuration lacks a size, is a mixture of experts, or a LoRA target is unknown.
        """
        kind = getattr(config, "model_type", type(config).__name__)
        if getattr(config, "num_experts", None) or getattr(config, "num_local_experts", None):
            raise InputError(f"cannot count the operations of {kind!r}: mixtures of experts are not supported")
        names = ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "vocab_size")
        missing = [name for name in names if not isinstance(getattr(config, name, None), int)]
        if missing:
            raise InputError(
                f"cannot count the operations of {kind!r}: its configuration lacks {', '.join(missing)}; "
                "use a decoder of the Llama, Mistral, Qwen2 or Qwen3 family"
            )
        heads = config.num_attention_heads
        if lora_targets is None or lora_targets == "all-linear":
            lora_targets = PROJECTIONS
        targets = {lora_targets} if isinstance(lora_targets, str) else set(lora_targets)
        known = (*PROJECTIONS, *FUSED_PROJECTIONS)
        if unknown := sorted(targets - set(known)):
            raise InputError(f"cannot count LoRA on {', '.join(unknown)}; known projections are {', '.join(known)}")
        return cls(
            layers=config.num_hidden_layers,
            hidden=config.hidden_size,
            intermediate=config.intermediate_size,
            heads=heads,
            kv_heads=getattr(config, "num_key_value_heads", None) or heads,
            head_dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
            vocabulary=config.vocab_size,
            lora_rank=lora_rank,
            lora_targets=tuple(name for name in known if name in targets),
        )

    def projections(self) -> dict[str, tuple[int, int]]:
        """Return (inputs, outputs) of the seven projections of one layer, by name."""
        query, key = self.heads * self.head_dim, self.kv_heads * self.head_dim
        sizes = (
            (self.hidden, query),
            (self.hidden, key),
            (self.hidden, key),
            (query, self.hidden),
            (self.hidden, self.intermediate),
            (self.hidden, self.intermediate),
            (self.intermediate, self.hidden),
        )
        return dict(zip(PROJECTIONS, sizes, strict=True))


@dataclass(frozen=True, slots=True)
class _Forward:
    """Operations of one forward pass, by kind of matrix product."""

    projections: int
    adapters: int
    attention: int
    head: int


def forward_flops(
    shape: ModelShape, new_tokens: Lengths, context_tokens: Lengths = 0, logits: Lengths | None = None
) -> int:
    """Return the operations of forward passes, summed over the sequences.

    Args:
        shape: the model.
        new_tokens: tokens fed, per sequence.
        context_tokens: tokens already in the key-value cache, per sequence.
        logits: positions at which the LM head is evaluated, per sequence; None for every new token,
            1 for the prefill of a generation.
    """
    parts = _forward(shape, new_tokens, context_tokens, logits)
    return parts.projections + parts.adapters + parts.attention + parts.head


def decode_flops(shape: ModelShape, new_tokens: Lengths, context_tokens: Lengths) -> int:
    """Return the operations of feeding ``new_tokens`` one at a time after ``context_tokens``, summed over sequences.

    Of n generated tokens the first comes from the prefill and the last need not be fed: generating them costs
    ``forward_flops(prompt, logits=1) + decode_flops(n - 1, prompt)``.
    """
    new, context = np.broadcast_arrays(_lengths(new_tokens), _lengths(context_tokens))
    tokens = int(new.sum())
    # token j of a sequence attends to the context, its predecessors and itself: C + j keys
    attended = int((new * context + new * (new + 1) // 2).sum())
    per_token = _projection_flops(shape) + _adapter_flops(shape) + 2 * shape.hidden * shape.vocabulary
    return tokens * per_token + attended * _attention_flops(shape)


def training_flops(
    shape: ModelShape,
    tokens: Lengths,
    *,
    logits: Lengths | None = None,
    weights: Literal["all", "norms", "adapters"] = "all",
    checkpointing: bool = False,
    head_again: bool = False,
) -> int:
    """Return the operations of one forward and one backward pass per sequence, summed over the sequences.

    Args:
        shape: the model.
        tokens: length of each sequence.
        logits: positions at which the LM head is evaluated; None for every token.
        weights: the weight gradients that are computed: ``all``; only the ``norms`` for the seven projections of every
            layer (the probe); or only those of LoRA's ``adapters``. Gradients of activations are always computed.
        checkpointing: gradient checkpointing, which computes the layers' forward a second time.
        head_again: the backward pass computes the logits a second time instead of keeping them.
    """
    parts = _forward(shape, tokens, 0, logits)
    layers = parts.projections + parts.adapters + parts.attention
    forward = layers + parts.head
    # a product of two activations has two activation gradients: attention is doubled whatever is trained
    activation_gradients = forward + parts.attention
    weight_gradients = {
        "all": parts.projections + parts.adapters + parts.head,
        "norms": _norm_flops(shape, tokens),
        "adapters": parts.adapters,
    }[weights]
    again = (layers if checkpointing else 0) + (parts.head if head_again else 0)
    return forward + activation_gradients + weight_gradients + again


def _forward(shape: ModelShape, new: Lengths, context: Lengths, logits: Lengths | None) -> _Forward:
    new, context, positions = np.broadcast_arrays(
        _lengths(new), _lengths(context), _lengths(new if logits is None else logits)
    )
    tokens = int(new.sum())
    return _Forward(
        projections=tokens * _projection_flops(shape),
        adapters=tokens * _adapter_flops(shape),
        attention=int((new * (context + new)).sum()) * _attention_flops(shape),
        head=int(positions.sum()) * 2 * shape.hidden * shape.vocabulary,
    )


def _lengths(lengths: Lengths) -> npt.NDArray[np.int64]:
    array = np.asarray(lengths, dtype=np.int64)
    if array.size and int(array.min()) < 0:
        raise ValueError(f"a sequence cannot have {int(array.min())} tokens")
    return array


def _projection_flops(shape: ModelShape) -> int:
    return 2 * shape.layers * sum(inputs * outputs for inputs, outputs in shape.projections().values())


def _adapter_flops(shape: ModelShape) -> int:
    sizes = shape.projections()
    for fused, parts in FUSED_PROJECTIONS.items():
        sizes[fused] = sizes[parts[0]][0], sum(sizes[name][1] for name in parts)
    return 2 * shape.layers * shape.lora_rank * sum(sum(sizes[name]) for name in shape.lora_targets)


def _norm_flops(shape: ModelShape, tokens: Lengths) -> int:
    lengths, sizes, norms = _lengths(tokens), shape.projections(), 0
    for names in _READERS:
        inputs, outputs = sizes[names[0]][0], sum(sizes[name][1] for name in names)
        norms += int((lengths * np.minimum(inputs * outputs, lengths * (inputs + outputs))).sum())
    return 2 * shape.layers * norms


def _attention_flops(shape: ModelShape) -> int:
    """Return the operations for each pair of a query and a key position: one score and one value product."""
    return 4 * shape.layers * shape.heads * shape.head_dim
