"""Weight matrices to probe: the seven projections of every layer, or the layers that the configuration names.

Models of the Llama family have seven linear layers of these names. Others store some of them as one (Phi-3:
``qkv_proj``, ``gate_up_proj``); such a matrix counts as its parts, which are consecutive rows of it. Of a layer that
PEFT has wrapped, the frozen base matrix is probed.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel

from prism_bench.accounting.flops import FUSED_PROJECTIONS, PROJECTIONS
from prism_bench.errors import InputError
from prism_bench.models.decoder import decoder_and_head, model_shape


@dataclass(frozen=True)
class Matrix:
    """A weight matrix (outputs, inputs): the rows ``start`` to ``stop`` of the weight of ``module``."""

    name: str
    module: nn.Module
    start: int
    stop: int


def find_matrices(model: PreTrainedModel, names: Sequence[str] | None = None) -> list[list[Matrix]]:
    """Return the matrices of each layer, in the order of the names.

    Args:
        names: names of the linear layers, the last part of their path; None for the seven projections.

    Raises:
        InputError: a layer lacks one of them; the message lists the model's linear layers.
    """
    decoder, _ = decoder_and_head(model)
    layers: dict[str, dict[str, tuple[str, nn.Module]]] = {}
    for path, module in decoder.named_modules():
        bare = path.removesuffix(".base_layer")
        position = re.match(r"(.*?\.\d+)\.", bare)
        if position and ".lora_" not in path and isinstance(getattr(module, "weight", None), torch.Tensor):
            layers.setdefault(position[1], {})[bare.rpartition(".")[2]] = (bare, module)
    found = [_matrices_of(model, layer, names) for layer in layers.values()]
    if not found or not all(found):
        wanted = ", ".join(PROJECTIONS if names is None else names)
        linear = {last for layer in layers.values() for last, (_, module) in layer.items() if _is_matrix(module)}
        raise InputError(
            f"{type(model).__name__} does not have the projections {wanted} in every layer; its linear layers are "
            f"called {', '.join(sorted(linear))}: name those to probe with model.projections=[NAME,NAME]"
        )
    return found


def _matrices_of(
    model: PreTrainedModel, layer: dict[str, tuple[str, nn.Module]], names: Sequence[str] | None
) -> list[Matrix]:
    """Return the matrices of one layer; none where one is missing."""
    whole = {
        last: Matrix(path, module, 0, _outputs(module)) for last, (path, module) in layer.items() if _is_matrix(module)
    }
    parts = dict(whole)
    if names is None:
        for fused, held in FUSED_PROJECTIONS.items():
            if fused in whole:
                parts |= _split(whole[fused], held, model)
    wanted = PROJECTIONS if names is None else tuple(names)
    return [parts[name] for name in wanted] if all(name in parts for name in wanted) else []


def _split(fused: Matrix, held: Sequence[str], model: PreTrainedModel) -> dict[str, Matrix]:
    sizes = model_shape(model).projections()
    parts: dict[str, Matrix] = {}
    start = 0
    for name in held:
        parts[name] = Matrix(f"{fused.name}[{name}]", fused.module, start, start + sizes[name][1])
        start = parts[name].stop
    if start != fused.stop:
        raise InputError(
            f"{fused.name} has {fused.stop} outputs, but {', '.join(held)} together {start}; probe it as a whole with "
            "model.projections=[NAME,NAME]"
        )
    return parts


def _is_matrix(module: nn.Module) -> bool:
    weight = module.weight
    return isinstance(weight, torch.Tensor) and weight.dim() == 2 and not isinstance(module, nn.Embedding)


def _outputs(module: nn.Module) -> int:
    return module.out_features if isinstance(module, nn.Linear) else int(getattr(module, "nf", 0))  # GPT-2's Conv1D
