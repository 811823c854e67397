"""The contract between the harness and a text environment.

A text environment is a :class:`gymnasium.Env` whose observations and actions are strings and whose episodes belong to
*tasks*: a game, a goal, a puzzle. Tasks have ids, so that an expert, a policy before training and a policy after it can
be compared on the same task.

The contract, beyond Gymnasium's own API:

* ``env.unwrapped.task_ids`` is the ordered sequence of the tasks of the environment's split;
* ``reset(options={"task_id": id})`` starts that task, ``reset()`` draws one from ``np_random``;
* ``info`` after every reset and step has ``task_id``, ``task_type``, ``admissible_actions`` (sorted list; a word in
  angle brackets, as in ``search[<keywords>]``, stands for any text, so :data:`ANY_ACTION` alone says that they are not
  known), ``score`` (0 to 1) and ``success``; and ``regime`` where the environment knows how a task departs from what
  models are taught (:data:`CLEAN`: not at all);
* the environment never truncates: only ``max_episode_steps`` of its registration does;
* any string is an action; the environment answers a meaningless one too, and never raises;
* an environment that a server or another process plays raises ``ConnectionError`` when that is gone, ``TimeoutError``
  when it does not answer, and :class:`InvalidAnswerError` when its answer is unusable; the first two always cost the
  episode and never the run;
* ``close()`` gives back whatever the environment holds; it is called once, also when a run fails;
* ``env.unwrapped.expert(name)`` returns an :class:`Expert`, if the environment has one.

:func:`prism_bench.environments.check.check_environment` checks all of it.
"""

import functools
import re
from collections.abc import Sequence
from typing import Any, Protocol

import gymnasium
import numpy as np
from rapidfuzz import fuzz, process

from prism_bench.errors import InputError

_OPEN = re.compile("<[^<>]+>")

INFO_KEYS = ("task_id", "task_type", "admissible_actions", "score", "success")
OPTIONAL_INFO_KEYS = ("regime",)

CLEAN = "clean"
"""The regime of tasks that depart in nothing."""

ANY_ACTION = "<action>"
"""The form that every action fills in."""


class TextSpace(gymnasium.Space[str]):
    """The space of all Python strings; ``gymnasium.spaces.Text`` is restricted to a set of characters."""

    def __init__(self, seed: int | np.random.Generator | None = None) -> None:
        super().__init__(shape=(), dtype=np.str_, seed=seed)

    @property
    def is_np_flattenable(self) -> bool:
        return False

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """Return a short random string of printable characters, for API checks."""
        length = int(self.np_random.integers(1, 20))
        return "".join(chr(code) for code in self.np_random.integers(32, 127, size=length))

    def contains(self, x: Any) -> bool:
        return isinstance(x, str)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TextSpace)

    def __repr__(self) -> str:
        return "TextSpace()"


def is_admissible(action: str, admissible_actions: Sequence[str]) -> bool:
    """Return True if the environment listed an action, or a form that the action fills in."""
    return action in admissible_actions or any(
        re.fullmatch(".+".join(map(re.escape, _OPEN.split(form))), action, re.DOTALL)
        for form in admissible_actions
        if "<" in form
    )


def type_in(regime: str | None, task_type: str) -> str:
    """Return the type of a task with its regime before it, unless that is the clean one; tables have a row for each."""
    return task_type if regime in (None, CLEAN) else f"{regime} {task_type}"


class Expert(Protocol):
    """A source of actions whose successful episodes serve as demonstrations."""

    def reset(self, observation: str, info: dict[str, Any]) -> None:
        """Start an episode; ``observation`` and ``info`` are those of the environment's reset."""

    def act(self, observation: str, info: dict[str, Any]) -> str:
        """Return the next action; ``observation`` and ``info`` are those that the environment returned last."""


class UnknownTaskError(InputError):
    """A task id that the environment does not have."""


class InvalidAnswerError(Exception):
    """An answer that nobody can use.

    The message is the predicate of a sentence about the environment: ``returned a score of 50``.
    """


class _Same:
    """A tuple of ids as a key of a cache: compared by identity, since thousands of ids take long to compare."""

    def __init__(self, ids: tuple[str, ...]) -> None:
        self.ids = ids

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.ids is self.ids

    def __hash__(self) -> int:
        return id(self.ids)


@functools.lru_cache(maxsize=16)
def _members(key: _Same) -> frozenset[str]:
    """Return the ids as a set, made once for all environments that share the tuple."""
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
        if not self.has_task(task_id):
            nearest = [found[0] for found in process.extract(str(task_id), self.task_ids, scorer=fuzz.ratio, limit=3)]
            raise UnknownTaskError(f"there is no task {task_id!r} in this split; the nearest are {', '.join(nearest)}")
        return str(task_id)

    def has_task(self, task_id: object) -> bool:
        """Return True if the id is one of ``task_ids``."""
        ids = self.task_ids
        return isinstance(task_id, str) and task_id in (_members(_Same(ids)) if isinstance(ids, tuple) else ids)

    def check_ready(self) -> None:
        """Check that episodes can be rolled out at present, before anything is spent.

        An environment that a server plays asks it here; the others keep this default.

        Raises:
            InputError: they cannot; the message says what to start.
        """

    def task_types(self) -> Sequence[str] | None:
        """Return the type of every task in the order of ``task_ids``, each as ``info["task_type"]`` would give it.

        Samples of tasks are drawn in proportion to the types. None, the default, if types are known only after a reset.
        """
        return None

    def protocol(self) -> dict[str, Any]:
        """Return the facts, by name, that must be equal before results on this environment are compared.

        They are the source and version of its data, seeds and restrictions: everything that changes a score and is not
        in ``spec``. A run also prints the value of ``restricted`` (``to 18 of 108 rooms``) at its start.
        """
        return {}

    def expert(self, name: str) -> Expert:
        """Return the expert called ``name``; an environment without experts keeps this default.

        Raises:
            InputError: there is no expert of that name.
        """
        raise InputError(f"{type(self).__name__} has no expert called {name!r}")
