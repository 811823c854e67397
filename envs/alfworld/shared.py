"""The games of a split, opened once in a process and shared by its environments.

Rollouts use some hundred environments at once. To list a split takes up to half a second and to read a game some
milliseconds, so environments with equal options share the list and the last games read. Neither ever changes, and
threads may share them too.
"""

import functools
import inspect
import threading
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

from envs.alfworld.generator import GeneratedGames
from envs.alfworld.official import LAYOUT, OfficialGames
from envs.alfworld.source import GameSource
from envs.alfworld.tables import Tables
from prism_bench.errors import InputError

SPLITS_KEPT = 8
GAMES_KEPT = 128  # of a split; an official game takes about 140 KiB
OPTIONS = {name: option for name, option in inspect.signature(GeneratedGames).parameters.items() if name != "split"}

_opening = threading.Lock()


class SharedGames:
    """A source of games with the tables of the last games used."""

    def __init__(self, source: GameSource) -> None:
        self.source = source
        self.tables = functools.lru_cache(maxsize=GAMES_KEPT)(self._tables)
        """Return the tables of a game, by its id; KeyError when there is no such game."""

    def _tables(self, task_id: str) -> Tables:
        return Tables(self.source.game(task_id))


def open_games(source: str, data: str | Path | None, split: str, options: Mapping[str, Any]) -> SharedGames:
    """Return the games of a split, the same object for equal arguments.

    A split of official games is listed anew when a task was added to its folder or removed.

    Args:
        source: ``generated`` or ``official``.
        data: for ``official``, the folder that contains ``json_2.1.1``.
        split: the split's name.
        options: of :class:`envs.alfworld.generator.GeneratedGames`; official games take ``task_types`` only, and the
            others at their defaults.

    Raises:
        InputError: an option does not exist or contradicts another, or the data are missing or damaged.
    """
    if unknown := options.keys() - OPTIONS:
        raise InputError(
            f"ALFWorld has no option {min(unknown)!r}; generated games have the options {', '.join(sorted(OPTIONS))}"
        )
    hashable = {name: value if isinstance(value, Hashable) else tuple(value) for name, value in options.items()}
    with _opening:
        if source == "official":
            if data is None:
                raise InputError("source=official needs data=DIR, the folder that contains json_2.1.1")
            for name in options.keys() - {"task_types"}:
                if options[name] != OPTIONS[name].default:
                    raise InputError(f"{name}={options[name]} has no effect on official games; leave it out")
            folder = Path(data).expanduser().absolute()
            return _official(folder, split, hashable.get("task_types"), _changed(folder / LAYOUT / split))
        if source != "generated":
            raise InputError(f"there is no ALFWorld source {source!r}; choose generated or official")
        if data is not None:
            raise InputError("data=DIR goes with source=official only; generated games come from their seed")
        return _generated(split=split, **hashable)


@functools.lru_cache(maxsize=SPLITS_KEPT)
def _official(data: Path, split: str, task_types: tuple[str, ...] | None, changed: int) -> SharedGames:
    return SharedGames(OfficialGames(data, split, task_types=task_types))


@functools.lru_cache(maxsize=SPLITS_KEPT, typed=True)  # typed: the seeds 1 and True are equal but spelt otherwise
def _generated(**options: Any) -> SharedGames:
    return SharedGames(GeneratedGames(**options))


def _changed(folder: Path) -> int:
    """Return the time at which an entry was last added to a folder or removed from it, 0 if there is no folder."""
    return folder.stat().st_mtime_ns if folder.is_dir() else 0
