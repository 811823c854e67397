"""Location of a checkpoint: a folder, or a name on the Hugging Face hub.

The hub is asked once, with a short timeout. Transformers' loaders alone would try five times for every file of a model,
and the user would learn of a misspelled name after most of a minute.
"""

from pathlib import Path

import httpx
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

from prism_bench.errors import InputError

HUB_TIMEOUT = 10.0
"""Seconds to wait for the hub's first answer."""

CHECKPOINT_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")


class CheckpointError(InputError):
    """A model that cannot be loaded; the message says which part is missing and what to do."""


def locate_checkpoint(checkpoint: str | Path) -> str:
    """Return the folder of ``checkpoint``, or its name if it has to be loaded from the hub.

    Raises:
        CheckpointError: it is neither a folder with the files of a checkpoint nor a model that can be had.
    """
    name, folder = str(checkpoint), Path(checkpoint).expanduser()
    if not folder.is_dir():
        try:
            HfApi().model_info(name, timeout=HUB_TIMEOUT)
        except HFValidationError:
            raise CheckpointError(f"{name}: there is no such folder, and no model on the hub has such a name") from None
        except RepositoryNotFoundError:
            raise CheckpointError(
                f"{name}: there is neither such a folder nor such a model on the hub; if it is private, log in with "
                "'hf auth login'"
            ) from None
        except (httpx.HTTPError, OSError):
            folder = _cached_snapshot(name)
        else:
            return name
    if not any((folder / file).is_file() for file in ("config.json", "adapter_config.json")):
        raise CheckpointError(f"{name}: not a checkpoint, it has neither config.json nor adapter_config.json")
    return str(folder.resolve())


def local_checkpoint(checkpoint: str | Path) -> Path:
    """Return the folder of ``checkpoint``; download it if it is on the hub only.

    Raises:
        CheckpointError: it is neither a folder with the files of a checkpoint nor a model that can be had.
    """
    place = Path(locate_checkpoint(checkpoint))
    return place if place.is_dir() else Path(snapshot_download(str(checkpoint), allow_patterns=CHECKPOINT_FILES))


def _cached_snapshot(name: str) -> Path:
    try:
        return Path(snapshot_download(name, local_files_only=True))
    except OSError:
        raise CheckpointError(
            f"{name}: there is no such folder; a model of that name is not in the local cache, and the hub cannot be "
            "reached to download it"
        ) from None


def check_tokenizer(place: str, checkpoint: str | Path) -> None:
    """Raise a CheckpointError if ``place`` is a folder without a tokenizer."""
    folder = Path(place)
    if folder.is_dir() and not any((folder / file).is_file() for file in _TOKENIZER_FILES):
        raise CheckpointError(
            f"{checkpoint}: the checkpoint has no tokenizer (no {_TOKENIZER_FILES[0]}); write the tokenizer of its "
            "model there with save_pretrained"
        )
