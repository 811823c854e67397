"""Stages as they are declared: functions of inputs that they name.

A stage gets its inputs *through* the cache: the parts of the configuration, the files of parent stages and the values
that it was declared with. Nothing else is in its reach, and these inputs are its key, see
:mod:`prism_bench.stage_cache.key`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

Tools = TypeVar("Tools")


@dataclass(frozen=True, slots=True)
class Files:
    """A file or folder, and the digest of its content."""

    path: Path
    content: str


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything that a stage gets: the inputs that it was declared with, and no others."""

    settings: Mapping[str, Any]  # parts of the configuration, by their dotted path
    parents: Mapping[str, Files]
    values: Mapping[str, Any]  # plain JSON that the run computed, such as a selection of tasks


@dataclass(frozen=True)
class StageFunction(Generic[Tools]):
    """A function that makes the files of a stage, and the inputs that it was declared with."""

    name: str
    function: Callable[[Inputs, Path, Tools], None]
    settings: tuple[str, ...]
    parents: tuple[str, ...]
    values: tuple[str, ...]
    resumable: bool
    phase: str | None


def stage(
    name: str,
    *,
    settings: Sequence[str] = (),
    parents: Sequence[str] = (),
    values: Sequence[str] = (),
    resumable: bool = False,
    phase: str | None = None,
) -> Callable[[Callable[[Inputs, Path, Tools], None]], StageFunction[Tools]]:
    """Return a decorator that declares the inputs of a stage.

    The function is called with its inputs, an empty folder to fill, and tools, which must not change what it makes. The
    phases that it opens in the ledger, and must close, are stored with the stage.

    Args:
        resumable: the folder keeps the files of a killed run, and the function continues from there.
        phase: the row of the ledger, if it is neither ``name`` nor the value ``phase``.

    Raises:
        TypeError: the function has a closure, through which something undeclared could come in.
    """

    def declare(function: Callable[[Inputs, Path, Tools], None]) -> StageFunction[Tools]:
        if function.__closure__:
            raise TypeError(f"the stage {name!r} must be a function of its arguments only")
        return StageFunction(name, function, tuple(settings), tuple(parents), tuple(values), resumable, phase)

    return declare
