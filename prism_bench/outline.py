"""The outline of a model: its layers and their sizes, without the weights, in seconds for a model of any size.

It shows before a run whether the model can be used at all: by training, by the probe, and by the ledger.
"""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from prism_bench.accounting.flops import ModelShape
from prism_bench.errors import InputError
from prism_bench.models.checkpoints import locate_checkpoint
from prism_bench.models.decoder import decoder_and_head, model_shape
from prism_bench.models.policy import ModelSettings, PretrainedModel, base_of, load_tokenizer, loading
from prism_bench.models.scratch import ScratchModel, llama_config
from prism_bench.probe.projections import find_matrices


@dataclass(frozen=True)
class Outline:
    """Facts about a model before it is loaded or made.

    Attributes:
        shape: sizes of its layers, adapters included.
        parameters: their number, embeddings included if the vocabulary is known.
        trained: how many of them training changes.
        tokenizer: None for a model from scratch, whose base stage makes it.
        probed: matrices per layer that the probe reads; 0 if there is no probe.
    """

    shape: ModelShape
    parameters: int
    trained: int
    tokenizer: PreTrainedTokenizerBase | None
    probed: int


def outline(settings: ModelSettings, *, probed: bool) -> Outline:
    """Return the outline of a model.

    Args:
        settings: of the model.
        probed: look for the matrices that the probe reads, too.

    Raises:
        InputError: there is no such model, its tokenizer is missing, or it cannot be trained or probed here.
    """
    tokenizer = None
    if isinstance(settings, PretrainedModel):
        place = locate_checkpoint(settings.path)
        tokenizer = load_tokenizer(settings.path, place)
        model = _without_weights(settings.path, place, settings.lora)
    else:
        model = _from_scratch(cast(ScratchModel, settings))
    decoder_and_head(model)
    matrices = find_matrices(model, settings.projections) if probed else []
    counts = [(weight.numel(), weight.requires_grad) for weight in model.parameters()]
    return Outline(
        shape=model_shape(model),
        parameters=sum(count for count, _ in counts),
        trained=sum(count for count, trained in counts if trained),
        tokenizer=tokenizer,
        probed=len(matrices[0]) if matrices else 0,
    )


def _without_weights(checkpoint: str, place: str, lora: LoraConfig | None) -> PreTrainedModel:
    """Return the model of a checkpoint on PyTorch's meta device, with the adapter that it has or will get."""
    if (Path(place) / "adapter_config.json").is_file():
        with loading(checkpoint, "adapter"):
            lora = cast(LoraConfig, LoraConfig.from_pretrained(place))
        lora.inference_mode = False  # as it is written; a run trains the adapter
        base = base_of(Path(place))
        return _without_weights(base, locate_checkpoint(base), lora)
    with loading(checkpoint, "model"), torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(place))
    if lora is None:
        return cast(PreTrainedModel, model)
    with torch.device("meta"):
        try:
            return cast(PreTrainedModel, get_peft_model(model, copy.deepcopy(lora)))
        except (ValueError, TypeError) as error:
            raise InputError(f"model.lora is not possible: {' '.join(str(error).split())}") from None


def _from_scratch(settings: ScratchModel) -> PreTrainedModel:
    with torch.device("meta"):
        model = LlamaForCausalLM(llama_config(settings, vocab_size=1))
    model.set_input_embeddings(torch.nn.Embedding(0, settings.hidden_size))  # not counted: its size is not known yet
    return model
