"""Policies: a small one made from scratch, or any causal language model that transformers can load.

A policy is a model with its tokenizer. Between stages it travels as a checkpoint folder in the format of transformers
(``save_pretrained``) or, for LoRA, of PEFT. PEFT notes the absolute path of the base model; beside it we write the path
relative to the adapter, so that a tree that holds both may be moved.
"""

import copy
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import SafetensorError
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from prism_bench.files import write_atomically
from prism_bench.models.checkpoints import CheckpointError, check_tokenizer, locate_checkpoint
from prism_bench.models.decoder import decoder_and_head, model_shape
from prism_bench.models.tokenizer import build_tokenizer, entity_parts

_RELATIVE_BASE = "base_model.txt"


@dataclass(frozen=True)
class Policy:
    """A causal language model and the tokenizer it was trained with."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    projections: tuple[str, ...] | None = None  # the linear layers that the probe takes; None: the usual seven


@dataclass(frozen=True)
class BaseSettings:
    """The stage that gives a model made from scratch the part of a pretrained one."""

    episodes: int  # expert episodes, of tasks that no later stage sees
    language: Any  # on the first half of the episodes, every token a target: the language of the environment
    sft: Any  # on the second half, the agent's tokens only: how to act in it


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """What both kinds of models share."""

    max_length: int  # tokens of context
    max_reply_tokens: int
    batch_size: int  # episodes in play at once
    device: str = "cpu"
    dtype: str = "float32"
    projections: Sequence[str] | None = None  # what the probe takes, where a model's linear layers have other names


@dataclass(frozen=True, kw_only=True)
class PretrainedModel(ModelSettings):
    """A checkpoint that exists: ``path`` is a name on the hub or a folder."""

    path: str
    lora: LoraConfig | None = None


@dataclass(frozen=True, kw_only=True)
class ScratchModel(ModelSettings):
    """A small Llama-style model made here, and how it is taught."""

    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    key_value_heads: int
    base: BaseSettings


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


def load_policy(
    checkpoint: str | Path, *, dtype: str = "float32", device: str = "cpu", projections: Sequence[str] | None = None
) -> Policy:
    """Load a policy by name or from a folder; a folder with a LoRA adapter brings its base model along.

    Raises:
        CheckpointError: there is no such model, a part of it is missing or damaged, or the device is.
        InputError: the probe or generation could not use it.
    """
    if dtype not in _DTYPES:
        raise CheckpointError(f"model.dtype={dtype!r} is unknown; choose {', '.join(_DTYPES)}")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):  # the latter where PyTorch was built without CUDA
        raise CheckpointError(
            f"model.device={device!r} is no device that PyTorch sees here; use model.device=cpu"
        ) from None
    place = locate_checkpoint(checkpoint)
    check_tokenizer(place, checkpoint)
    with _loading(checkpoint, "tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(place)
    adapter = Path(place) / "adapter_config.json"
    with _loading(checkpoint, "model"):
        if adapter.is_file():
            base = base_of(Path(place))
            adapted = PeftModel.from_pretrained(_load_model(locate_checkpoint(base), dtype), place, is_trainable=True)
            adapted.active_peft_config.base_model_name_or_path = base  # where it was found, for the next adapter
            model = cast(PreTrainedModel, adapted)
        else:
            model = _load_model(place, dtype)
    for check in (decoder_and_head, model_shape):  # better refused now than by the probe, hours later
        check(model)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return Policy(cast(Any, model).to(device), tokenizer, None if projections is None else tuple(projections))


_DTYPES = ("float32", "bfloat16", "float16")


def base_of(adapter: Path) -> str:
    """Return folder or name of the model that the LoRA adapter in a folder belongs to."""
    base = LoraConfig.from_pretrained(str(adapter)).base_model_name_or_path
    if not base:
        raise CheckpointError("the adapter does not say which model it belongs to (base_model_name_or_path)")
    record = adapter / _RELATIVE_BASE
    if not Path(base).is_dir() and record.is_file():
        moved = adapter / record.read_text(encoding="utf-8").strip()
        if moved.is_dir():
            return str(moved.resolve())
    return str(base)


def _load_model(place: str, dtype: str) -> PreTrainedModel:
    loaded: Any = AutoModelForCausalLM.from_pretrained(place, dtype=getattr(torch, dtype), output_loading_info=True)
    model, report = loaded
    if missing := sorted(report["missing_keys"]):
        raise CheckpointError(f"{len(missing)} weights are missing, {missing[0]} for one")
    return cast(PreTrainedModel, model)


@contextmanager
def _loading(checkpoint: str | Path, part: str) -> Iterator[None]:
    """Turn what the loaders of transformers and PEFT raise into one sentence."""
    try:
        yield
    except (OSError, ValueError, KeyError, SafetensorError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{checkpoint}: no {part} could be loaded from there ({reason})") from None


def with_lora(policy: Policy, lora: LoraConfig | None) -> Policy:
    """Return the policy with a fresh LoRA adapter, or as it is: without ``lora``, or where it has one already."""
    if lora is None or isinstance(policy.model, PeftModel):
        return policy
    own = copy.deepcopy(lora)  # PEFT writes the name of the model into it
    return replace(policy, model=cast(PreTrainedModel, get_peft_model(policy.model, own)))


def save_policy(policy: Policy, folder: Path) -> None:
    """Write model (or adapter) and tokenizer to ``folder``."""
    # Left to itself PEFT asks the hub whether the vocabulary has grown.
    options: dict[str, Any] = {"save_embedding_layers": False} if isinstance(policy.model, PeftModel) else {}
    policy.model.save_pretrained(folder, **options)
    policy.tokenizer.save_pretrained(folder)
    if isinstance(policy.model, PeftModel):
        base = policy.model.active_peft_config.base_model_name_or_path
        if base and Path(base).is_dir():
            relative = os.path.relpath(Path(base).resolve(), folder.resolve())
            write_atomically(folder / _RELATIVE_BASE, f"{relative}\n")


def weights_digest(model: PreTrainedModel) -> str:
    """Return a digest of all weights: two models with the same digest compute the same."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def checkpoint_identity(path: str) -> str:
    """Return what tells one checkpoint from another without reading its weights: name, or files with size and time."""
    folder = Path(path)
    if not folder.is_dir():
        return path
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    facts = [(str(file.relative_to(folder)), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr((str(folder.resolve()), facts)).encode()).hexdigest()[:20]
