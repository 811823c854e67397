"""Stages on disk, outside of any run: what is there, what made it, what it cost, and what no run uses any more.

A run *uses* a stage if its folder is noted in the stage (:mod:`prism_bench.stage_cache`) and still exists, so that
removing the folder of a run gives its stages free.
"""

import json
import shutil
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from prism_bench.accounting.meter import LedgerRow, load_rows
from prism_bench.digests import digest
from prism_bench.errors import InputError
from prism_bench.files import writing
from prism_bench.stage_cache.cache import RUNS, lock_file, making_folder

DAY = 24 * 3600


@dataclass(frozen=True, slots=True)
class StoredStage:
    """A finished stage.

    Attributes:
        folder: ``<root>/<name>/<key>``.
        size: bytes of all its files.
        made, used: times in seconds since 1970, the latter of the last use by a run.
        runs: folders of runs that used it and still exist.
        rows: the cost of making it.
        inputs: everything in its key; None, as ``rows``, if the file is damaged.
        manifest: the digest of every file.
    """

    folder: Path
    size: int
    made: float
    used: float
    runs: tuple[Path, ...]
    rows: tuple[LedgerRow, ...] | None
    inputs: Mapping[str, Any] | None
    manifest: Mapping[str, str]

    @property
    def name(self) -> str:
        return self.folder.parent.name

    @property
    def key(self) -> str:
        return self.folder.name

    @property
    def description(self) -> str:
        """The inputs of the stage in a few words."""
        if self.inputs is None:
            return "damaged"
        words = []
        for name, value in {**self.inputs["values"], **self.inputs["settings"]}.items():
            if isinstance(value, Mapping):
                made = str(value.get("_target_", "")).rpartition(".")[2]
                words += [made] if made[:1].isupper() else []
            elif isinstance(value, Sequence) and not isinstance(value, str):
                words += [f"{len(value):,} {name}"] if value else []
            elif value is not None and "." not in name:
                words.append(f"{name} {value}")
        return ", ".join(words)


@dataclass(frozen=True, slots=True)
class Removable:
    """Something that may be removed from a cache, and why."""

    path: Path
    size: int
    reason: str


def stored_stages(root: Path, names: Collection[str] = ()) -> list[StoredStage]:
    """Return the finished stages under ``root``, or those of some names, the last used first."""
    found = [_read(folder) for folder in root.glob("[!.]*/[!.]*") if folder.is_dir()]
    return sorted((stage for stage in found if not names or stage.name in names), key=lambda stage: -stage.used)


def find_stage(root: Path, key: str) -> StoredStage:
    """Return the stage whose key, or name and key (``train/5d0c``), begins with ``key``.

    Raises:
        InputError: there is none, or there are several.
    """
    stages = stored_stages(root)
    found = [stage for stage in stages if f"{stage.name}/{stage.key}".startswith(key)]
    found = found or [stage for stage in stages if stage.key.startswith(key)]
    if len(found) != 1:
        problem = f"{len(found)} stages" if found else "no stage"
        raise InputError(f"{key!r} names {problem} under {root}; prism-bench cache list shows their keys")
    return found[0]


def origins(root: Path) -> dict[str, StoredStage]:
    """Return the stage that holds a file or folder, by the digest with which it is a parent of other stages."""
    holders: dict[str, StoredStage] = {}
    for stage in stored_stages(root):
        folders: dict[str, dict[str, str]] = {"": dict(stage.manifest)}
        for name, content in stage.manifest.items():
            top, _, rest = name.partition("/")
            folders.setdefault(top, {})[rest or "."] = content
        holders |= {digest(content): stage for content in folders.values()}
    return holders


def removable(
    root: Path, *, names: Collection[str] = (), older_than: float = 0.0, used_too: bool = False
) -> list[Removable]:
    """Return what can be removed from a cache: stages that no run uses, and leftovers of runs that were killed.

    Nothing that a living process has locked is among them.

    Args:
        names: of stages; all if empty.
        older_than: only what was last used so many days ago.
        used_too: stages of existing runs as well.
    """
    latest = time.time() - older_than * DAY
    found = [
        Removable(stage.folder, stage.size, "used by runs" if stage.runs else "used by no run")
        for stage in stored_stages(root, names)
        if stage.used <= latest and (used_too or not stage.runs) and not _is_locked(stage.folder)
    ]
    for place in sorted(root.glob("[!.]*/.*")):
        folder = place.with_name(place.stem.removeprefix("."))
        unfinished, lock = place == making_folder(folder), place == lock_file(folder)
        wanted = (not names or place.parent.name in names) and place.stat().st_mtime <= latest
        if wanted and (unfinished or (lock and not folder.exists())) and not _is_locked(folder):
            found.append(Removable(place, _size(place), "unfinished" if unfinished else "stale lock"))
    return found


def remove(things: Sequence[Removable]) -> list[Removable]:
    """Remove what :func:`removable` returned; return what was removed, without what a process has locked since.

    Raises:
        InputError: the operating system refuses.
    """
    removed = []
    for thing in things:
        path = thing.path
        folder = path.with_name(path.stem.removeprefix(".")) if path.name.startswith(".") else path
        with _locking(folder) as locked:
            if locked:
                with writing(path):
                    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
                    if not folder.exists() and not making_folder(folder).exists():
                        lock_file(folder).unlink(missing_ok=True)
                removed.append(thing)
    return removed


def _read(folder: Path) -> StoredStage:
    made = folder.stat().st_mtime
    notes = folder / RUNS
    text = notes.read_text(encoding="utf-8", errors="replace") if notes.is_file() else ""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["files"]
        inputs = json.loads((folder / "inputs.json").read_text(encoding="utf-8"))
        made = (folder / "manifest.json").stat().st_mtime
        rows = tuple(load_rows(folder / "ledger.json"))
        whole = {"settings", "values", "parents", "code"} <= inputs.keys()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        whole = False
    return StoredStage(
        folder=folder,
        size=_size(folder),
        made=made,
        used=notes.stat().st_mtime if notes.is_file() else made,
        runs=tuple(run for run in map(Path, text.splitlines()) if run.is_dir()),
        rows=rows if whole else None,
        inputs=inputs if whole else None,
        manifest=manifest if whole else {},
    )


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def _is_locked(folder: Path) -> bool:
    if not lock_file(folder).exists():
        return False
    with _locking(folder) as locked:
        return not locked


@contextmanager
def _locking(folder: Path) -> Iterator[bool]:
    """Yield whether the lock of a stage could be taken, and hold it."""
    lock = FileLock(lock_file(folder))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
