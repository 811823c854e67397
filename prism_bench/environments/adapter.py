"""An adapter from any Gymnasium environment to the contract of :mod:`prism_bench.environments.contract`.

    class GridInWords(AdaptedEnvironment):
        def __init__(self, split: str = "train") -> None:
            world = gymnasium.make("Grid-v0")
            super().__init__(world, task_ids=seeds(split), text=describe, action={"go north": 0, "go south": 1}.get)

Every function has a default, which suits an environment that speaks already: a task is a seed, the text is the
observation, the action is the text, and an episode succeeds that terminates with a reward above 0.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
from gymnasium.wrappers import TimeLimit

from prism_bench.environments.contract import ANY_ACTION, TextEnvironment
from prism_bench.errors import InputError


@dataclass(frozen=True, slots=True)
class Transition:
    """Last answer of the environment that is adapted; after its reset, the reward is 0 and nothing has ended."""

    observation: Any
    reward: float
    terminated: bool
    truncated: bool
    info: Mapping[str, Any]


def seeds(split: str, **splits: range) -> tuple[str, ...]:
    """Return the tasks of a split, each named by its seed.

    Args:
        split: a name.
        splits: the seeds of every split, no two with a seed in common; by default 10,000 of ``train`` and 200 of
            ``valid``.

    Raises:
        InputError: there is no such split, or two splits share a seed.
    """
    splits = splits or {"train": range(10_000), "valid": range(10_000, 10_200)}
    if split not in splits:
        raise InputError(f"there is no split {split!r}; choose {' or '.join(splits)}")
    for name, others in splits.items():
        if name != split and not set(others).isdisjoint(splits[split]):
            raise InputError(f"the splits {split} and {name} share seeds; give each of them seeds of its own")
    return tuple(map(str, splits[split]))


def _seed(task_id: str) -> dict[str, Any]:
    return {"seed": int(task_id)}


def _observation(last: Transition) -> str:
    return str(last.observation)


def _itself(text: str) -> str:
    return text


def _won(last: Transition) -> bool:
    return last.terminated and last.reward > 0


def _anything(last: Transition) -> Sequence[str]:
    return (ANY_ACTION,)


class AdaptedEnvironment(TextEnvironment):
    """A text environment made of another environment and of functions that say what is what in it.

    A time limit around the other environment is taken off, since the registration of this one has a limit; if it
    truncates by itself, the episode terminates. A subclass with experts overrides ``expert``.

    Args:
        inner: the other environment.
        task_ids: the tasks of the split.
        start: the arguments of ``inner.reset`` for a task; by default its id as the seed.
        text: the observation in words; by default ``str`` of it.
        action: the action that a text stands for, None if it stands for none; by default the text itself.
        success: whether the task is solved; by default if the episode terminated with a reward above 0.
        score: how much of the task is solved, 0 to 1; by default 1 with success.
        admissible: the texts that stand for an action at present; by default any text.
        task_type: the type of a task, by its id; by default the same for all.
        not_understood: the observation after a text that stands for no action, which takes a step.
    """

    def __init__(
        self,
        inner: gymnasium.Env[Any, Any],
        *,
        task_ids: Sequence[str],
        start: Callable[[str], Mapping[str, Any]] = _seed,
        text: Callable[[Transition], str] = _observation,
        action: Callable[[str], Any] = _itself,
        success: Callable[[Transition], bool] = _won,
        score: Callable[[Transition], float] | None = None,
        admissible: Callable[[Transition], Sequence[str]] = _anything,
        task_type: Callable[[str], str] = lambda task_id: "task",
        not_understood: str = "That is not understood.",
    ) -> None:
        super().__init__()
        while isinstance(inner, TimeLimit):
            inner = inner.env
        self.inner = inner
        self.task_ids = task_ids
        self._start, self._text, self._action, self._success = start, text, action, success
        self._score, self._admissible, self._task_type = score, admissible, task_type
        self._not_understood = not_understood
        self._task_id = ""
        self._last: Transition | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start the task ``options["task_id"]``, or one drawn from ``np_random``."""
        super().reset(seed=seed)
        self._task_id = self.choose_task(options)
        observation, info = self.inner.reset(**self._start(self._task_id))
        self._last = Transition(observation, 0.0, False, False, info)
        return self._text(self._last), self._info(self._last)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Do what a text stands for."""
        last = self._last
        if last is None:
            raise gymnasium.error.ResetNeeded("the environment was never reset; call reset() before step()")
        if last.terminated or last.truncated:
            return self._text(last), 0.0, True, False, self._info(last)
        if (chosen := self._action(action)) is None:
            return self._not_understood, 0.0, False, False, self._info(last)
        observation, reward, terminated, truncated, info = self.inner.step(chosen)
        last = self._last = Transition(observation, float(reward), bool(terminated), bool(truncated), info)
        return self._text(last), last.reward, last.terminated or last.truncated, False, self._info(last)

    def task_types(self) -> list[str]:
        """Return the type of every task."""
        return [self._task_type(task_id) for task_id in self.task_ids]

    def protocol(self) -> dict[str, Any]:
        """Return the id of the environment that is adapted, if it is registered."""
        return {} if self.inner.spec is None else {"adapted": self.inner.spec.id}

    def close(self) -> None:
        """Close the environment that is adapted."""
        self.inner.close()

    def _info(self, last: Transition) -> dict[str, Any]:
        success = bool(self._success(last))
        return {
            "task_id": self._task_id,
            "task_type": self._task_type(self._task_id),
            "admissible_actions": sorted(set(self._admissible(last))),
            "score": float(success) if self._score is None else float(self._score(last)),
            "success": success,
        }
