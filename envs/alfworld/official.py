"""Official games, from the folder that upstream calls ``$ALFWORLD_DATA``.

    games = OfficialGames("data", split="valid_seen")   # data/json_2.1.1/valid_seen/<task>/<trial>/game.tw-pddl
    game = games.game(games.task_ids[0])

Source: ``AlfredTWEnv.collect_game_files`` in ``alfworld/agents/environment/alfred_tw_env.py`` (ALFWorld 0.4.2, MIT). As
there, a trial is left out if its path contains ``movable`` or ``Sliced``, if it lacks ``traj_data.json`` or a game, or
if its game is not marked as solvable. Deviations: games are sorted by task id, where upstream takes the order of the
file system; and only the end of a game file, where official files have that mark, is read at first, so that 3,553
games are listed in about half a second.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from envs.alfworld.game import TASK_TYPES, Game
from envs.alfworld.game_file import RULES, parse_game
from prism_bench.errors import InputError

LAYOUT = "json_2.1.1"  # the folder's name in all releases, whatever their games' version
GAME_FILE, TRAJECTORY_FILE = "game.tw-pddl", "traj_data.json"
_TAIL = 4096
# A quotation mark inside a JSON string has a backslash before it, so this finds keys only.
_SOLVABLE = re.compile(rb'(?<!\\)"solvable":\s*(true|false|null)')
_TASK_TYPE = re.compile(rb'(?<!\\)"task_type":\s*"(\w+)"')


class OfficialGames:
    """The official games of one split, a :class:`envs.alfworld.source.GameSource`.

    Args:
        data: the folder that contains ``json_2.1.1``.
        split: ``train``, ``valid_seen``, ``valid_unseen`` or any other folder in it.
        task_types: only these; None takes all six.

    Raises:
        InputError: the folder does not exist or has no usable game, or a file cannot be read.
    """

    def __init__(self, data: str | Path, split: str, task_types: Sequence[str] | None = None) -> None:
        if unknown := set(task_types or ()) - set(TASK_TYPES):
            raise InputError(f"there is no task type {min(unknown)!r}; choose from {', '.join(TASK_TYPES)}")
        self.folder = _split_folder(Path(data).expanduser(), split)
        self.skipped: Counter[str] = Counter()
        """Number of trials left out, by reason."""
        self._files = {
            f"{trial.parent.name}/{trial.name}": trial / GAME_FILE
            for trial in _trials(self.folder)
            if self._is_wanted(trial, task_types)
        }
        self.task_ids = tuple(sorted(self._files))
        if not self.task_ids:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.skipped.items()) or "it is empty"
            raise InputError(f"{self.folder} has no usable game ({reasons}); download the games again")

    def game_file(self, task_id: str) -> Path:
        """Return the path of a game file; KeyError when ``task_id`` is not one of ``task_ids``."""
        return self._files[task_id]

    def game(self, task_id: str) -> Game:
        """Return the game of that id; KeyError when it is not one of ``task_ids``.

        Raises:
            InputError: the file is damaged, or its rules are not the official ones or not known to the native engine.
        """
        path = self._files[task_id]
        game = parse_game(_text(path), str(path))
        if game.rule is not None:
            raise InputError(f"{path} has changed rules ({game.rule}), so that it is no official game; leave it out")
        return game

    def _is_wanted(self, trial: Path, task_types: Sequence[str] | None) -> bool:
        reason = None
        if "movable" in trial.parent.name or "Sliced" in trial.parent.name:
            reason = "with movable receptacles or slices"
        elif not (trial / TRAJECTORY_FILE).exists():
            reason = f"without {TRAJECTORY_FILE}"
        elif task_types is not None and task_type_of(trial / TRAJECTORY_FILE) not in task_types:
            reason = "of other task types"
        elif not (trial / GAME_FILE).exists():
            reason = f"without {GAME_FILE}"
        else:
            solvable, changed = marks_of(trial / GAME_FILE)
            reason = "not marked as solvable" if not solvable else "with changed rules" if changed else None
        self.skipped.update([reason] if reason else [])
        return reason is None


def marks_of(game_file: Path) -> tuple[bool, bool]:
    """Return whether a game file marks its game as solvable, and whether as one with changed rules.

    Raises:
        InputError: the file is not JSON.
    """
    with game_file.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
        tail = file.read()
    # The whole file is parsed if the mark is elsewhere, or if the file may be truncated.
    if (mark := _SOLVABLE.search(tail)) and tail.rstrip().endswith(b"}"):
        return mark[1] == b"true", RULES.encode() in tail
    content = _json(game_file)
    return isinstance(content, dict) and content.get("solvable") is True, isinstance(content, dict) and RULES in content


def task_type_of(trajectory_file: Path) -> str:
    """Return the task type that ``traj_data.json`` states.

    Raises:
        InputError: the file is not JSON or states none.
    """
    if found := _TASK_TYPE.search(trajectory_file.read_bytes()):
        return found[1].decode()
    content = _json(trajectory_file)
    if not isinstance(content, dict) or not isinstance(content.get("task_type"), str):
        raise InputError(f"{trajectory_file} states no task_type; download the games again")
    return str(content["task_type"])


def _trials(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as tasks:
        names = [task.name for task in tasks if task.is_dir()]
    for name in names:
        with os.scandir(folder / name) as trials:
            yield from [folder / name / trial.name for trial in trials if trial.is_dir()]


def _split_folder(data: Path, split: str) -> Path:
    games = data / LAYOUT
    if not games.is_dir():
        hint = f"; give {data.parent}, the folder above it" if data.name == LAYOUT else ""
        command = f"prism-bench download alfworld {data}"
        raise InputError(
            f"{data} holds no folder {LAYOUT}" + (hint or f"; give the folder that holds it, or get it with: {command}")
        )
    present = sorted(entry.name for entry in games.iterdir() if entry.is_dir())
    if split not in present:
        raise InputError(
            f"{games} has no split {split!r}; it has {', '.join(present) or 'none, download the games again'}"
        )
    return games / split


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is damaged ({error}); download the games again") from None


def _json(path: Path) -> object:
    try:
        content: object = json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is damaged ({error}); download the games again") from None
    return content
