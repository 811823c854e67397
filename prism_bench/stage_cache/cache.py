"""Stages of a run on disk, found again by their inputs (:mod:`prism_bench.stage_cache.key`).

A stage is a folder ``<root>/<name>/<key>`` that holds

    files/          the function's files
    manifest.json   checksum of every file, and the key
    inputs.json     the inputs in the key, for people to read
    ledger.json     the cost of making it
    runs            the folders of the runs that used it, one a line; the file's time is that of the last use

A folder of that name is always complete: a stage is made under another name and renamed when it is finished, under a
lock. If two runs need it, one makes it and the other waits. A stage whose files do not match its manifest any more is
reported and made again. When a stage is found, its recorded cost enters the ledger, marked cached.

A stage must draw its random numbers from a seed among its inputs, since finding it does not advance any generator.
"""

from __future__ import annotations

import errno
import json
import logging
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from prism_bench.accounting.meter import load_rows, save_rows
from prism_bench.digests import content_digest, digest, folder_manifest
from prism_bench.errors import InputError
from prism_bench.files import write_atomically
from prism_bench.stage_cache.declaration import Files, Inputs, StageFunction, Tools
from prism_bench.stage_cache.key import part_of, parts_of_key

if TYPE_CHECKING:  # what lists stages need not wait for torch
    from prism_bench.accounting.ledger import Ledger

RUNS = "runs"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stage:
    """A finished stage: the folder of its files, which nobody may change."""

    path: Path
    cached: bool
    key: str
    manifest: Mapping[str, str] = field(default_factory=dict)

    def files(self, *names: str) -> Files:
        """Return the whole folder as a parent of another stage, or one of its files or folders."""
        path = self.path.joinpath(*names)
        inside = {Path(name): content for name, content in self.manifest.items()}
        chosen = {
            name.relative_to(Path(*names)).as_posix(): content
            for name, content in inside.items()
            if name.is_relative_to(Path(*names))
        }
        if not chosen:
            raise KeyError(f"the stage {self.path} has no {'/'.join(names)}")
        return Files(path, digest(chosen))


class StageCache:
    """Stages of a run under the folder ``root``; their costs are read from and entered into ``ledger``.

    Args:
        run: the folder of the run, which is noted in every stage that it uses.
        force: names of stages, or of their phases, that this run makes again although they are there.
    """

    def __init__(self, root: Path | str, ledger: Ledger, run: Path | None = None, force: Collection[str] = ()) -> None:
        self._root = Path(root).expanduser().resolve()
        self._ledger = ledger
        self._run = run
        self._force = frozenset(force)
        self._contents: dict[str, str] = {}  # of files that settings name, read once in a run
        self._billed: set[Path] = set()  # a run that needs a stage twice pays for it once

    def get(
        self,
        function: StageFunction[Tools],
        tools: Tools,
        *,
        config: Mapping[str, Any],
        parents: Mapping[str, Files] | None = None,
        values: Mapping[str, Any] | None = None,
    ) -> Stage:
        """Return the stage that ``function`` makes of its inputs; call it if it is not there.

        Raises:
            InputError: an input is not plain JSON, the folder cannot be written, or the disk is full. Exceptions of the
                function pass through; nothing of its stage is left.
        """
        inputs, described, folder = self._placed(function, config, parents or {}, values or {})
        with self._lock(function.name, folder):
            if folder not in self._billed and self._force & {function.name, function.phase, inputs.values.get("phase")}:
                self._remove(folder)
            found = self._found(folder)
            if found is None:
                if folder.is_dir():  # damaged
                    self._remove(folder)
                found = self._make(function, inputs, tools, described, folder)
            self._note_use(folder)
            return found

    def find(
        self,
        function: StageFunction[Tools],
        *,
        config: Mapping[str, Any],
        parents: Mapping[str, Files] | None = None,
        values: Mapping[str, Any] | None = None,
    ) -> Stage | None:
        """Return the stage that :meth:`get` would return without making it; None if it is not there."""
        return self._found(self._placed(function, config, parents or {}, values or {})[2])

    def _placed(
        self,
        function: StageFunction[Tools],
        config: Mapping[str, Any],
        parents: Mapping[str, Files],
        values: Mapping[str, Any],
    ) -> tuple[Inputs, dict[str, Any], Path]:
        """Return the inputs of a stage, their description, and its folder."""
        inputs = Inputs(
            settings={path: part_of(config, path) for path in function.settings},
            parents={name: parents[name] for name in function.parents},
            values={name: values[name] for name in function.values},
        )
        described = parts_of_key(function, inputs, self._contents)
        return inputs, described, self._root / function.name / digest(described)

    def _make(
        self, function: StageFunction[Tools], inputs: Inputs, tools: Tools, described: Mapping[str, Any], folder: Path
    ) -> Stage:
        making = making_folder(folder)
        files = making / "files"
        name = function.name
        try:
            with _explained(name, self._root):
                if not function.resumable:
                    shutil.rmtree(making, ignore_errors=True)  # left by a run that was killed: its lock is gone
                files.mkdir(parents=True, exist_ok=True)
            first_row = len(self._ledger.rows)
            with _explained(name, self._root, full_only=True):
                function.function(inputs, files, tools)
            with _explained(name, self._root):
                manifest = folder_manifest(files)
                write_atomically(making / "inputs.json", json.dumps(described, indent=1, sort_keys=True) + "\n")
                save_rows(self._ledger.rows[first_row:], making / "ledger.json")
                ledger = content_digest(making / "ledger.json")
                sealed = {"key": folder.name, "files": manifest, "ledger": ledger}
                write_atomically(making / "manifest.json", json.dumps(sealed, indent=1, sort_keys=True) + "\n")
                making.rename(folder)
        except BaseException as error:
            if not function.resumable or isinstance(error, Exception):  # not: interrupted by hand
                shutil.rmtree(making, ignore_errors=True)
            raise
        self._billed.add(folder)
        return Stage(folder / "files", cached=False, key=folder.name, manifest=manifest)

    def _remove(self, folder: Path) -> None:
        """Remove a stage and what an unfinished one has left."""
        with _explained(folder.parent.name, self._root):
            for place in (folder, making_folder(folder)):
                shutil.rmtree(place, ignore_errors=not place.exists())

    def _note_use(self, folder: Path) -> None:
        if self._run is None:
            return
        with _explained(folder.parent.name, self._root):
            file = folder / RUNS
            file.touch()
            known = file.read_text(encoding="utf-8", errors="replace").splitlines()
            if str(self._run) not in known:
                file.write_text("".join(f"{run}\n" for run in (*known, self._run)), encoding="utf-8")

    def _found(self, folder: Path) -> Stage | None:
        """Return the stored stage; None if it is missing or damaged."""
        if not folder.is_dir():
            return None
        try:
            sealed = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
            manifest: dict[str, str] = sealed["files"]
            damage = _difference(manifest, folder_manifest(folder / "files"))
            if not damage and sealed["key"] != folder.name:
                damage = f"it is the stage {sealed['key']}"
            if not damage and content_digest(folder / "ledger.json") != sealed["ledger"]:
                damage = "ledger.json was changed"
            rows = [] if damage else load_rows(folder / "ledger.json")
        except (OSError, ValueError, KeyError, TypeError) as error:
            damage = str(error)
        if damage:
            _log.warning("the stored stage %s is damaged (%s); it is made again", folder, damage)
            return None
        if folder not in self._billed:
            self._ledger.add_cached(rows)
        self._billed.add(folder)
        return Stage(folder / "files", cached=True, key=folder.name, manifest=manifest)

    @contextmanager
    def _lock(self, name: str, folder: Path) -> Iterator[None]:
        with _explained(name, self._root):
            folder.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(lock_file(folder))
            try:
                lock.acquire(timeout=0)
            except Timeout:
                _log.warning("another run is making the stage %r; waiting for it (%s)", name, lock.lock_file)
                lock.acquire()
        try:
            yield
        finally:
            lock.release()


def making_folder(folder: Path) -> Path:
    """Return the folder in which the stage ``folder`` is made."""
    return folder.with_name(f".{folder.name}.making")


def lock_file(folder: Path) -> Path:
    """Return the file that is locked while the stage ``folder`` is made or looked up."""
    return folder.with_name(f".{folder.name}.lock")


def _difference(recorded: Mapping[str, str], present: Mapping[str, str]) -> str:
    """Return the change of the first file that is not as recorded; an empty text if all are."""
    for name in sorted({*recorded, *present}):
        if name not in present:
            return f"{name} is missing"
        if name not in recorded:
            return f"{name} was added"
        if recorded[name] != present[name]:
            return f"{name} was changed"
    return ""


@contextmanager
def _explained(name: str, root: Path, full_only: bool = False) -> Iterator[None]:
    """Turn a full disk, and unless ``full_only`` any failure of the file system, into one sentence."""
    try:
        yield
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else None
        # libraries that write checkpoints and Parquet files wrap the system's error in exceptions of their own
        if number in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in str(error):
            raise InputError(
                f"the disk became full while making the stage {name!r} under {root}; "
                "free some space there or choose another folder with cache=DIR"
            ) from error
        if isinstance(error, OSError) and not full_only:
            raise InputError(
                f"the stage {name!r} cannot be written under {root} ({error}); "
                "make that folder writable or choose another one with cache=DIR"
            ) from error
        raise
