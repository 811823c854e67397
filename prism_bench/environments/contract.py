"""The contract between the harness and a text environment.

A text environment is a :class:`gymnasium.Env` whose observations and actions are strings and whose episodes belong to
*tasks*: a game, a goal, a puzzle. The harness names tasks by id, so that the same task can be played by an expert, by
a policy before training and by a policy after it.

What the harness relies on, beyond Gymnasium's own API:

* ``env.unwrapped.task_ids``: the ordered tuple of tasks of the environment's split;
* ``reset(options={"task_id": id})`` plays that task, ``reset()`` draws one from ``np_random``;
* ``info`` after every reset and step holds ``task_id``, ``task_type``, ``admissible_actions`` (sorted list), ``score``
  (0 to 1) and ``success``;
* the environment never truncates: only ``max_episode_steps`` of its registration does;
* any string is an action; one that means nothing is answered by the environment, never by an exception;
* ``env.unwrapped.expert(name)`` returns an :class:`Expert`, where the environment has one.

:func:`prism_bench.environments.check.check_environment` checks all of it.
"""

import difflib
import functools
from collections.abc import Sequence
from typing import Any, Protocol

import gymnasium
import numpy as np

from prism_bench.errors import InputError

INFO_KEYS = ("task_id", "task_type", "admissible_actions", "score", "success")


class TextSpace(gymnasium.Space[str]):
    """Every Python string. ``gymnasium.spaces.Text`` fixes a character set, which real text does not have."""

    def __init__(self, seed: int | np.random.Generator | None = None) -> None:
        super().__init__(shape=(), dtype=np.str_, seed=seed)

    @property
    def is_np_flattenable(self) -> bool:
        return False

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """Return a short random string of printable characters; a sample for API checks, not a useful action."""
        length = int(self.np_random.integers(1, 20))
        return "".join(chr(code) for code in self.np_random.integers(32, 127, size=length))

    def contains(self, x: Any) -> bool:
        return isinstance(x, str)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TextSpace)

    def __repr__(self) -> str:
        return "TextSpace()"


class Expert(Protocol):
    """Plays an environment well enough that its successful episodes are worth imitating."""

    def reset(self, observation: str, info: dict[str, Any]) -> None:
        """Forget the last episode; ``observation`` and ``info`` are those of the environment's reset."""

    def act(self, observation: str, info: dict[str, Any]) -> str:
        """Return the next action, given what the environment returned last."""


class UnknownTaskError(InputError):
    """A task id that the environment does not have."""


class _Same:
    """A tuple of ids as a key: equal to itself only, so that thousands of ids need not be compared one by one."""

    def __init__(self, ids: tuple[str, ...]) -> None:
        self.ids = ids

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.ids is self.ids

    def __hash__(self) -> int:
        return id(self.ids)


@functools.lru_cache(maxsize=16)
def _members(key: _Same) -> frozenset[str]:
    """Return the ids as a set: made once, although each of many environments may look up every task it starts."""
    return frozenset(key.ids)


class TextEnvironment(gymnasium.Env[str, str]):
    """Base class of text environments: both spaces, and the choice of a task at reset."""

    task_ids: Sequence[str]

    def __init__(self) -> None:
        self.observation_space = TextSpace()
        self.action_space = TextSpace()

    def choose_task(self, options: dict[str, Any] | None) -> str:
        """Return the task that ``reset(options=...)`` asks for, or draw one from ``np_random``.

        Raises:
            UnknownTaskError: the id is not one of ``task_ids``; the message names the nearest ones.
        """
        if options is None or options.get("task_id") is None:
            return self.task_ids[int(self.np_random.integers(len(self.task_ids)))]
        task_id = options["task_id"]
        if not self._has(task_id):
            nearest = difflib.get_close_matches(str(task_id), self.task_ids, n=3, cutoff=0.0)
            raise UnknownTaskError(f"there is no task {task_id!r} in this split; the nearest are {', '.join(nearest)}")
        return str(task_id)

    def _has(self, task_id: object) -> bool:
        ids = self.task_ids
        return isinstance(task_id, str) and task_id in (_members(_Same(ids)) if isinstance(ids, tuple) else ids)

    def protocol(self) -> dict[str, Any]:
        """Return what has to be known of this environment before results on it may be compared, by name.

        Source and version of its data, seeds, restrictions: whatever changes a score and is not in ``spec``. What
        stands under ``restricted`` (``to 18 of 108 rooms``), a run shows at its start too.
        """
        return {}

    def expert(self, name: str) -> Expert:
        """Return the expert called ``name``; an environment without experts keeps this default.

        Raises:
            InputError: there is no expert of that name.
        """
        raise InputError(f"{type(self).__name__} has no expert called {name!r}")
