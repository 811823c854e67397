"""Digests of values, files and folders, by content.

They find differences, not forgeries: XXH3 with 128 bits, because a checkpoint has gigabytes and SHA-256 is slower.
"""

import json
import math
from pathlib import Path
from typing import Any

import xxhash

from prism_bench.errors import InputError


def digest(value: Any) -> str:
    """Return 20 hexadecimal digits that depend on every part of a JSON value and not on the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return xxhash.xxh3_128_hexdigest(text.encode())[:20]


def content_digest(path: Path) -> str:
    """Return the digest of the content of a file, or of the names and contents of a folder's files.

    Raises:
        FileNotFoundError: there is nothing at ``path``.
    """
    if path.is_dir():
        return digest(folder_manifest(path))
    hashed = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(2**22):
            hashed.update(block)
    return hashed.hexdigest()


def folder_manifest(folder: Path) -> dict[str, str]:
    """Return the digest of every file in a folder, by its path from there."""
    names = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    return {name: content_digest(folder / name) for name in names}


def require_json(value: Any, where: str = "") -> None:
    """Check that ``value`` is plain JSON: mappings with string keys, lists, strings, finite numbers, booleans and None.

    Raises:
        InputError: a part is not; the message names its place.
    """
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise InputError(f"{where or 'inputs'}: the key {key!r} is not a string, as JSON wants keys to be")
            require_json(item, f"{where}.{key}".lstrip("."))
    elif isinstance(value, list | tuple):
        for position, item in enumerate(value):
            require_json(item, f"{where}[{position}]")
    elif not (value is None or isinstance(value, str | int | float)) or (
        isinstance(value, float) and not math.isfinite(value)
    ):
        raise InputError(f"{where or 'inputs'}: {value!r} is no plain JSON value, as every input of a stage must be")
