"""Policies: any causal language model that transformers can load, with its tokenizer.

Stages exchange a policy as a checkpoint folder in the format of transformers (``save_pretrained``) or, for LoRA, of
PEFT. Code that a checkpoint brings along is never run. PEFT records the absolute path of the base model; we add the
path relative to the adapter, so that a tree with both may be moved.
"""

import copy
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import SafetensorError
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from prism_bench.files import write_atomically
from prism_bench.marks import Execution
from prism_bench.models.checkpoints import CheckpointError, check_tokenizer, local_checkpoint, locate_checkpoint
from prism_bench.models.decoder import decoder_and_head, model_shape
from prism_bench.models.precision import to_device
from prism_bench.settings.types import Count

Dtype = Literal["float32", "bfloat16", "float16"]

_RELATIVE_BASE = "base_model.txt"


@dataclass(frozen=True)
class Policy:
    """A causal language model and the tokenizer it was trained with."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    projections: tuple[str, ...] | None = None  # the linear layers that the probe takes; None: the usual seven


def _counted_device(device: str, settings: Mapping[str, Any]) -> str:
    """Return the device as far as it can change a digit: there is one CPU, whatever number it is given."""
    return "cpu" if device.partition(":")[0] == "cpu" else device


def _counted_batch_size(batch_size: int, settings: Mapping[str, Any]) -> int | None:
    """Return the batch size where rounding could lead to another token (:mod:`prism_bench.rollouts.sampling`).

    The bound on rounding that makes episodes independent of their batch holds for float32 and was measured on CPUs. RL
    takes only the tokens from rollouts, so its weights are the same too.
    """
    in_float32 = settings.get("dtype") == "float32" and settings.get("autocast") is None
    exact = in_float32 and _counted_device(str(settings.get("device")), settings) == "cpu"
    return None if exact else batch_size


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """Settings of both kinds of models."""

    max_length: Count  # tokens of context
    max_completion_tokens: Count
    batch_size: Annotated[Count, Execution(_counted_batch_size)]  # episodes that run at once
    device: Annotated[str, Execution(_counted_device)] = "cpu"
    dtype: Dtype = "float32"
    autocast: Literal["bfloat16", "float16"] | None = None  # of matrix products, beside weights in dtype
    projections: Sequence[str] | None = None  # the linear layers to probe, if they have other names

    def load(self, checkpoint: str | Path) -> Policy:
        """Load a policy of this kind, see :func:`load_policy`."""
        return load_policy(
            checkpoint,
            dtype=self.dtype,
            device=self.device,
            autocast=self.autocast,
            projections=self.projections,
        )


@dataclass(frozen=True, kw_only=True)
class PretrainedModel(ModelSettings):
    """A checkpoint that exists: ``path`` is a name on the hub or a folder."""

    path: str
    lora: LoraConfig | None = None


def load_policy(
    checkpoint: str | Path,
    *,
    dtype: str = "float32",
    device: str = "cpu",
    autocast: str | None = None,
    projections: Sequence[str] | None = None,
) -> Policy:
    """Load a policy by name or from a folder; for a LoRA adapter, load its base model too.

    Raises:
        CheckpointError: there is no such model or device, or a part of the model is missing or damaged.
        InputError: the probe or generation could not use it.
    """
    check_device(device, dtype)
    place = locate_checkpoint(checkpoint)
    tokenizer = load_tokenizer(checkpoint, place)
    adapter = Path(place) / "adapter_config.json"
    with loading(checkpoint, "model"):
        if adapter.is_file():
            base = base_of(Path(place))
            adapted = PeftModel.from_pretrained(_load_model(locate_checkpoint(base), dtype), place, is_trainable=True)
            adapted.active_peft_config.base_model_name_or_path = base  # where it was found, for the next adapter
            model = cast(PreTrainedModel, adapted)
        else:
            model = _load_model(place, dtype)
    check_weights(model, str(checkpoint))
    for check in (decoder_and_head, model_shape):  # better refused now than by the probe, hours later
        check(model)
    to_device(model, device, autocast)
    return Policy(model, tokenizer, None if projections is None else tuple(projections))


def load_tokenizer(checkpoint: str | Path, place: str) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a checkpoint, which :func:`locate_checkpoint` found at ``place``.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    check_tokenizer(place, checkpoint)
    with loading(checkpoint, "tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return cast(PreTrainedTokenizerBase, tokenizer)


def check_weights(model: PreTrainedModel, where: str) -> None:
    """Check that all weights are finite numbers.

    Args:
        where: the model's place, for the message.

    Raises:
        CheckpointError: one is not.
    """
    for name, weight in model.named_parameters():
        if not weight.isfinite().all():
            raise CheckpointError(f"{where}: the weight {name} has numbers that are not finite")


def check_device(device: str, dtype: str) -> None:
    """Check that PyTorch can compute on the device here, and that the precision is known.

    Raises:
        CheckpointError: it cannot, or the precision is unknown.
    """
    if dtype not in get_args(Dtype):
        raise CheckpointError(f"model.dtype={dtype!r} is unknown; choose {', '.join(get_args(Dtype))}")
    try:
        torch.ones(1, device=device).item()  # which the meta device cannot, though it has tensors
    except (RuntimeError, AssertionError):  # the latter where PyTorch was built without CUDA
        raise CheckpointError(
            f"model.device={device!r} is no device on which PyTorch can compute here; use model.device=cpu"
        ) from None


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
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        place, dtype=getattr(torch, dtype), output_loading_info=True, trust_remote_code=False
    )
    model, report = loaded
    if missing := sorted(report["missing_keys"]):
        raise CheckpointError(f"{len(missing)} weights are missing, {missing[0]} for one")
    return cast(PreTrainedModel, model)


@contextmanager
def loading(checkpoint: str | Path, part: str) -> Iterator[None]:
    """Turn exceptions of the loaders of transformers and PEFT into one sentence."""
    try:
        yield
    except (OSError, ValueError, KeyError, SafetensorError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if "trust_remote_code" in str(error):  # transformers advises to set it
            reason = "it needs code of its own, which is never run; choose a model that transformers knows"
        raise CheckpointError(f"{checkpoint}: no {part} could be loaded from there ({reason})") from error


def checkpoint_folders(checkpoint: str | Path) -> list[Path]:
    """Return the folder of a checkpoint and, for a LoRA adapter, the folder of its base model.

    A checkpoint that is on the hub only is downloaded.

    Raises:
        CheckpointError: there is no such model.
    """
    folder = local_checkpoint(checkpoint)
    adapter = (folder / "adapter_config.json").is_file()
    return [folder, *(checkpoint_folders(base_of(folder)) if adapter else [])]


def with_lora(policy: Policy, lora: LoraConfig | None) -> Policy:
    """Return the policy with a new LoRA adapter; unchanged without ``lora``, or if it has an adapter already."""
    if lora is None or isinstance(policy.model, PeftModel):
        return policy
    own = copy.deepcopy(lora)  # PEFT writes the name of the model into it
    return replace(policy, model=cast(PreTrainedModel, get_peft_model(policy.model, own)))


def save_policy(policy: Policy, folder: Path) -> None:
    """Write model (or adapter) and tokenizer to ``folder``."""
    save_weights(policy.model, folder)
    policy.tokenizer.save_pretrained(folder)
    if isinstance(policy.model, PeftModel):
        base = policy.model.active_peft_config.base_model_name_or_path
        if base and Path(base).is_dir():
            relative = os.path.relpath(Path(base).resolve(), folder.resolve())
            write_atomically(folder / _RELATIVE_BASE, f"{relative}\n")


def save_weights(model: PreTrainedModel, folder: Path | str) -> None:
    """Write model (or the adapter that is trained) to ``folder``."""
    options: dict[str, Any] = {}
    if isinstance(model, PeftModel):
        options["save_embedding_layers"] = False  # by default PEFT asks the hub whether the vocabulary has grown
        # TRL's reference is a second adapter, and transformers loads nothing else from a folder that has several.
        options["selected_adapters"] = model.active_adapters
    model.save_pretrained(folder, **options)


def weights_digest(model: PreTrainedModel) -> str:
    """Return a digest of all weights: two models with the same digest compute the same."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]
