"""One of AgentGym's servers as settings: the names in its requests and answers, and the numbers of its tasks."""

import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prism_bench.errors import InputError
from prism_bench.settings.types import Positive, Text

MOST_TASKS = 1_000_000

_NUMBERS = re.compile(r"(\d{1,9})(?:-(\d{1,9})(?:/(\d{1,9}))?)?", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Game:
    """The requests and answers of one server.

    For a *place* in an answer see :class:`prism_bench.environments.json_answer.JsonAnswer`.

    Attributes:
        name: of the game, the first part of every task.
        splits: numbers of the tasks of each split (``0-99, 200``; ``0-99/5`` is every fifth), or a JSON file with a
            list of ``{"item_id": "<name>_<number>"}``, as AgentGym publishes them.
        task: name of the task's number in the payload of ``/reset``; ``reset`` has further entries.
        create: payload of ``/create``.
        id: name of the environment's id in payloads; ``id_at`` is its place in the answer to ``/create``.
        opening: places of the first observation in the answer to ``/reset``, whose texts are joined by a newline; none
            if ``GET /observation`` returns it.
        action: the text that is sent, with the action in place of ``{}``.
        observation, reward, done: places in the answer to ``/step``.
        score: likewise; by default that of the reward.
        scale: the values of the score that stand for 0 and 1.
        success: the score, on the scale from 0 to 1, from which an episode that is done is a success.
        actions: places of the admissible actions by their form; a list has one for each ``{}`` in the form, and true
            means that the form itself is one. Empty if they are not known.
        ask_actions: whether these places are in the answer to ``GET /available_actions``.
        task_type: place of the task's type in the answer to ``/reset``, of which the part that ``task_type_pattern``
            finds counts; by default the name of the game.
    """

    name: Text
    splits: Mapping[str, str]
    task: Text
    reset: Mapping[str, Any] = field(default_factory=dict)
    create: Mapping[str, Any] = field(default_factory=dict)
    id: Text = "id"
    id_at: str = "id"
    opening: Sequence[str] = ("observation",)
    action: Text = "{}"
    observation: str = "observation"
    reward: str = "reward"
    done: str = "done"
    score: str | None = None
    scale: tuple[float, float] = (0.0, 1.0)
    success: Positive = 1.0
    actions: Mapping[str, str] = field(default_factory=dict)
    ask_actions: bool = False
    task_type: str | None = None
    task_type_pattern: str = ".+"

    def __post_init__(self) -> None:
        low, high = self.scale
        if not low < high:
            raise InputError(f"scale={list(self.scale)} is not possible; it should be a lower and a higher number")
        try:
            re.compile(self.task_type_pattern)
        except re.error as error:
            raise InputError(f"task_type_pattern={self.task_type_pattern} is no regular expression ({error})") from None


def tasks_of(game: Game, split: str) -> tuple[str, ...]:
    """Return the tasks of a split, ``<name>_<number>``; the same object each time, since there may be many of them.

    Raises:
        InputError: there is no such split, or its tasks are not possible.
    """
    splits = _all_tasks(game.name, tuple(sorted(game.splits.items())))
    if split not in splits:
        raise InputError(f"there is no split {split!r} of {game.name}; choose {', '.join(splits)}")
    return splits[split]


@functools.lru_cache(maxsize=16)
def _all_tasks(name: str, splits: tuple[tuple[str, str], ...]) -> Mapping[str, tuple[str, ...]]:
    numbers = {split: _in_file(text) if text.endswith(".json") else _in_ranges(text) for split, text in splits}
    owner: dict[int, str] = {}
    for split, found in numbers.items():
        for number in found:
            if owner.setdefault(number, split) != split:
                raise InputError(
                    f"task {number} of {name} is in the splits {owner[number]} and {split}; move it to one"
                )
    return {split: tuple(f"{name}_{number}" for number in found) for split, found in numbers.items()}


def _in_ranges(text: str) -> list[int]:
    numbers: dict[int, None] = {}
    for part in text.split(","):
        matched = _NUMBERS.fullmatch(part.strip())
        if not matched:
            raise InputError(
                f"tasks {text!r:.60} are not possible; write numbers and ranges, as in 0-99, 200, 300-399/5"
            )
        first, last, step = (int(group) if group else None for group in matched.groups())
        assert first is not None
        found = range(first, (first if last is None else last) + 1, step or 1)
        if len(found) + len(numbers) > MOST_TASKS:
            raise InputError(f"tasks {text!r:.60} are more than {MOST_TASKS:,}; name fewer")
        numbers.update(dict.fromkeys(found))
    return list(numbers)


def _in_file(name: str) -> list[int]:
    try:
        items = json.loads(Path(name).expanduser().read_text(encoding="utf-8"))
        return list(dict.fromkeys(int(item["item_id"].rpartition("_")[2]) for item in items))
    except OSError as error:
        raise InputError(f"tasks {name}: cannot be read ({error.strerror})") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise InputError(f'tasks {name}: expected a list of {{"item_id": "NAME_NUMBER"}}') from None
