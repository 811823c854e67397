"""Mixed precision: weights and their updates in float32, matrix products in fewer bits (PyTorch's autocast).

Updates of all weights are lost in bfloat16, where 1 + 0.003 is 1. Kept in float32 they are not, and the products, which
take the time, can still be in bfloat16. A LoRA adapter needs none of this: PEFT keeps it in float32, whatever the model
is in.

Autocast is put around the decoder and the LM head themselves, so that rollouts, the probe and every trainer compute
alike. Weights are converted anew in each forward pass: cheap for thousands of tokens, and a cost for one.
"""

import functools
from typing import Any, cast

import torch
from transformers import PreTrainedModel

from prism_bench.models.decoder import bare_model


def to_device(model: PreTrainedModel, device: str, autocast: str | None) -> None:
    """Move ``model`` to a device, and let it compute matrix products there in ``autocast``; None for its own type.

    On CUDA and in fewer than 32 bits PyTorch prefers cuDNN's attention, which builds a plan for every new shape: with
    episodes, whose shapes never repeat, that takes longer than everything else. It is switched off, for the process.
    """
    cast(torch.nn.Module, model).to(device)
    if model.device.type == "cuda":
        torch.backends.cuda.enable_cudnn_sdp(False)
    multiply_in(model, autocast)


def multiply_in(model: PreTrainedModel, dtype: str | None) -> None:
    """Let every forward pass of ``model``, which stays on its device, compute matrix products in ``dtype``.

    None leaves the model as it is.
    """
    if dtype is None:
        return
    bare = bare_model(model)
    for module in (bare.base_model, bare.get_output_embeddings()):
        module.forward = _under_autocast(module.forward, model.device.type, getattr(torch, dtype))


def product_dtype(model: PreTrainedModel) -> torch.dtype:
    """Return the type in which ``model`` computes matrix products."""
    bare = bare_model(model)
    return cast(torch.dtype, getattr(bare.base_model.forward, "product_dtype", model.dtype))


def precision_name(model: PreTrainedModel) -> str:
    """Return the name of that type, for the identity of scores."""
    return str(product_dtype(model)).removeprefix("torch.")


def _under_autocast(forward: Any, device: str, dtype: torch.dtype) -> Any:
    @functools.wraps(forward)  # transformers looks at the signature
    def wrapped(*args: Any, **options: Any) -> Any:
        with torch.autocast(device, dtype):
            return forward(*args, **options)

    cast(Any, wrapped).product_dtype = dtype
    return wrapped
