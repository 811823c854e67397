"""Stages of a run on disk, found again by what they were made from.

A stage (expert episodes, a base model, an allocation) is a folder ``<root>/<name>/<digest of its inputs>`` that holds

    files/         what the stage made
    inputs.json    what it was made from, for people
    ledger.json    what making it cost

A folder of that name is always complete: a stage is made under another name and renamed when it is finished, under a
lock, so that of two runs that need it one makes it and the other waits. What a killed run leaves behind is removed, or
continued, by the next run that wants the same stage. Wherever a stage is found, its recorded cost enters the ledger,
marked cached.

The inputs must name everything that the outcome depends on; for files that is :func:`content_digest`, not a path. A
stage must draw its random numbers from a seed among its inputs, since finding it does not advance any generator.
"""

import errno
import hashlib
import json
import logging
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from prism_bench.accounting.ledger import Ledger, load_rows, save_rows
from prism_bench.errors import InputError
from prism_bench.files import write_atomically

FORMAT = 1
"""Part of every digest; to be raised when stages written before must not be used any more."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stage:
    """A finished stage: the folder of its files, which nobody may change, and whether an earlier run had made it."""

    path: Path
    cached: bool
    digest: str


class StageCache:
    """Stages under the folder ``root``; what making them costs is read from and entered into ``ledger``."""

    def __init__(self, root: Path | str, ledger: Ledger) -> None:
        self._root = Path(root).expanduser().resolve()
        self._ledger = ledger

    def stage(
        self, name: str, inputs: Mapping[str, Any], make: Callable[[Path], None], *, resumable: bool = False
    ) -> Stage:
        """Return the stage ``name`` of these ``inputs``; call ``make`` with an empty folder if it is not there.

        The phases that ``make`` opens in the ledger, and must close, are stored with the stage. Where it is
        ``resumable``, the folder holds what a killed run left in it, and ``make`` goes on from there.

        Raises:
            InputError: an input is not plain JSON, the folder cannot be written, the disk is full, or the stored
                stage is damaged. Other exceptions of ``make`` pass through; nothing of its stage is left.
        """
        digest = inputs_digest({"format": FORMAT, "stage": name, "inputs": inputs})
        folder = self._root / name / digest
        if folder.is_dir():
            return self._found(folder)
        making = folder.with_name(f".{digest}.making")
        with self._lock(name, folder):
            if folder.is_dir():  # another run made it while this one waited
                return self._found(folder)
            try:
                with _explained(name, self._root):
                    if not resumable:
                        shutil.rmtree(making, ignore_errors=True)  # left by a run that was killed: its lock is gone
                    (making / "files").mkdir(parents=True, exist_ok=True)
                    write_atomically(making / "inputs.json", json.dumps(inputs, indent=1, sort_keys=True) + "\n")
                first_row = len(self._ledger.rows)
                with _explained(name, self._root, full_only=True):
                    make(making / "files")
                with _explained(name, self._root):
                    save_rows(self._ledger.rows[first_row:], making / "ledger.json")
                    making.rename(folder)
            except BaseException as error:
                if not resumable or isinstance(error, Exception):  # not: interrupted by hand
                    shutil.rmtree(making, ignore_errors=True)
                raise
        return Stage(folder / "files", cached=False, digest=digest)

    def _found(self, folder: Path) -> Stage:
        if not (folder / "files").is_dir():
            raise InputError(f"{folder}: this stored stage has lost its files; remove the folder and run again")
        try:
            self._ledger.add_cached(load_rows(folder / "ledger.json"))
        except ValueError as error:
            raise InputError(f"{error}; remove the folder {folder} and run again") from None
        return Stage(folder / "files", cached=True, digest=folder.name)

    @contextmanager
    def _lock(self, name: str, folder: Path) -> Iterator[None]:
        with _explained(name, self._root):
            folder.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder.with_name(f".{folder.name}.lock"))
            try:
                lock.acquire(timeout=0)
            except Timeout:
                _log.warning("another run is making the stage %r; waiting for it (%s)", name, lock.lock_file)
                lock.acquire()
        try:
            yield
        finally:
            lock.release()


def inputs_digest(inputs: Mapping[str, Any]) -> str:
    """Return 20 hexadecimal digits that depend on every value of ``inputs`` and not on the order of its keys.

    Raises:
        InputError: a value is not plain JSON (mappings with string keys, lists, strings, finite numbers, booleans
            and None); the message names its place.
    """
    _refuse_foreign(inputs, "")
    text = json.dumps(inputs, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def content_digest(path: Path) -> str:
    """Return 20 hexadecimal digits of the content of a file, or of the names and contents of a folder's files.

    Raises:
        FileNotFoundError: there is nothing at ``path``.
    """
    if path.is_dir():
        names = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
        return inputs_digest({name: content_digest(path / name) for name in names})
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:20]


def _refuse_foreign(value: Any, where: str) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise InputError(f"{where or 'inputs'}: the key {key!r} is not a string, as JSON wants keys to be")
            _refuse_foreign(item, f"{where}.{key}".lstrip("."))
    elif isinstance(value, list | tuple):
        for position, item in enumerate(value):
            _refuse_foreign(item, f"{where}[{position}]")
    elif not (value is None or isinstance(value, str | int | float)) or (
        isinstance(value, float) and not math.isfinite(value)
    ):
        raise InputError(f"{where or 'inputs'}: {value!r} is no plain JSON value, which the inputs of a stage must be")


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
