"""The environments of running episodes: asked one by one, they answer in any order.

Most text environments answer at once and are best stepped in this process (:class:`LocalEnvironments`); a slow one gets
a process of its own, see :mod:`prism_bench.rollouts.workers`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium

Environment = gymnasium.Env[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer of an environment to ``reset`` (no reward, not over) or ``step``."""

    observation: str
    reward: float
    over: bool
    info: dict[str, Any]


class Environments(Protocol):
    """An environment for every session, a number that stands for an episode. Each is asked one thing at a time."""

    def reset(self, session: int, task_id: str) -> None:
        """Begin ``task_id`` in a free environment, or in a new one; it belongs to ``session`` until released."""

    def step(self, session: int, action: str) -> None:
        """Do ``action``."""

    def answers(self, wait: bool) -> dict[int, Answer]:
        """Return the answers since the last call.

        Args:
            wait: for the first answer, if there is none yet and something was asked.
        """

    def release(self, session: int) -> None:
        """End a session that has been answered; its environment is free again."""

    def clear(self) -> None:
        """End all sessions, whatever they are doing."""

    def take_deaths(self) -> int:
        """Return how many environments have died since the last call."""

    def close(self) -> None:
        """Close every environment."""


class LocalEnvironments:
    """Environments in this process, which waits for each of them. Their exceptions pass through.

    Args:
        make: returns a new environment.
    """

    def __init__(self, make: Callable[[], Environment]) -> None:
        self._make = make
        self._free: list[Environment] = []
        self._playing: dict[int, Environment] = {}
        self._answers: dict[int, Answer] = {}

    def reset(self, session: int, task_id: str) -> None:
        self._playing[session] = self._free.pop() if self._free else self._make()
        self._answers[session] = reset(self._playing[session], task_id)

    def step(self, session: int, action: str) -> None:
        self._answers[session] = step(self._playing[session], action)

    def answers(self, wait: bool) -> dict[int, Answer]:
        answers, self._answers = self._answers, {}
        return answers

    def release(self, session: int) -> None:
        self._free.append(self._playing.pop(session))

    def clear(self) -> None:
        self._free += self._playing.values()
        self._playing, self._answers = {}, {}

    def take_deaths(self) -> int:
        return 0

    def close(self) -> None:
        self.clear()
        while self._free:
            self._free.pop().close()


def reset(environment: Environment, task_id: str) -> Answer:
    """Begin ``task_id``."""
    observation, info = environment.reset(options={"task_id": task_id})
    return Answer(observation, 0.0, False, info)


def step(environment: Environment, action: str) -> Answer:
    """Do ``action``."""
    observation, reward, terminated, truncated, info = environment.step(action)
    return Answer(observation, float(reward), terminated or truncated, info)
