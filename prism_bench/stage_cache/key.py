"""The key of a stage, derived from everything that it gets.

* parts of the configuration by value, as far as it counts (:mod:`prism_bench.marks`); a text in them that names a file
  or folder by the content of that file or folder;
* parents, which are files, by content: two base models with the same weights are the same parent;
* the code that the function can run, by :mod:`prism_bench.stage_cache.code_digest`, with the classes that its inputs
  name.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prism_bench.digests import content_digest, require_json
from prism_bench.errors import InputError
from prism_bench.marks import as_counted
from prism_bench.stage_cache.code_digest import code_of
from prism_bench.stage_cache.declaration import Inputs, StageFunction

FORMAT = 2
"""Part of every key; to be raised when older stages must not be used any more."""

FILE_KEYS = ("data", "path", "file", "folder")
"""Last names of settings in which a bare word may be a file or folder; a text with a separator may be one anywhere."""


def parts_of_key(function: StageFunction[Any], inputs: Inputs, contents: dict[str, str]) -> dict[str, Any]:
    """Return everything that enters the key of a stage, as plain JSON.

    Args:
        contents: digests of files and folders that settings name, by their paths; those that are missing are added.

    Raises:
        InputError: an input is not plain JSON, or names a class that does not exist.
    """
    plain = {"settings": dict(inputs.settings), "values": dict(inputs.values)}
    require_json(plain)
    code = code_of([function.function.__module__, *modules_named(plain)])
    return {
        "format": FORMAT,
        "stage": function.name,
        "settings": _by_content(as_counted(plain["settings"]), contents),
        "values": plain["values"],
        "parents": {name: files.content for name, files in inputs.parents.items()},
        "code": asdict(code),
    }


def part_of(config: Mapping[str, Any], path: str) -> Any:
    """Return the part of a configuration at a dotted path.

    Raises:
        InputError: the configuration has no such part.
    """
    value: Any = config
    for key in path.split("."):
        if not isinstance(value, Mapping) or key not in value:
            raise InputError(f"the configuration has no {path}")
        value = value[key]
    return value


def modules_named(value: Any) -> Iterator[str]:
    """Yield the modules of classes (``package.module.Class``) and ids (``package.module:Name``) that settings name."""
    if isinstance(value, Mapping):
        target = value.get("_target_")
        if isinstance(target, str):
            yield target
        for item in value.values():
            yield from modules_named(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from modules_named(item)
    elif isinstance(value, str) and (named := re.match(r"([A-Za-z_]\w*\.[\w.]+):", value)):
        yield named[1]


def _by_content(value: Any, contents: dict[str, str], key: str = "") -> Any:
    """Replace every text that names a file or folder by the digest of its content.

    A bare word is taken for a name only under a key of :data:`FILE_KEYS`: a split called ``train`` is no folder.
    """
    if isinstance(value, dict):
        return {name: _by_content(item, contents, name) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_by_content(item, contents, key) for item in value]
    if isinstance(value, str) and 0 < len(value) < 4096 and (os.sep in value or key in FILE_KEYS):
        path = Path(value).expanduser()
        if path.is_file() or path.is_dir():
            place = str(path.resolve())
            if place not in contents:
                contents[place] = content_digest(path)
            return {"content": contents[place]}
    return value
