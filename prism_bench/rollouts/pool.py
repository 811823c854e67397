"""The environments of running episodes: asked one by one, they answer in any order.

An environment that fails (:mod:`prism_bench.rollouts.faults`) answers nothing more: its episode ends with that step,
and another environment takes its place.

Most text environments answer at once and are best stepped in this process (:class:`LocalEnvironments`); a slow one gets
a process of its own, see :mod:`prism_bench.rollouts.workers`.
"""

import logging
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

from prism_bench.rollouts.answers import Answer, Environment, lost, reset, step
from prism_bench.rollouts.faults import Failure, FaultRules, attempt, stop

_log = logging.getLogger(__name__)


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

    def take_faults(self) -> Counter[str]:
        """Return the failures since the last call by kind, and ``lost_episodes``."""

    def close(self) -> None:
        """Close every environment."""


@dataclass(slots=True)
class _Call:
    """The task of a session, and the number of its last step; 0 is ``reset``."""

    task_id: str
    step: int = 0
    task_type: str | None = None


class LocalEnvironments:
    """Environments in this process, which waits for each of them.

    Args:
        make: returns a new environment.
        rules: decide what a failure costs.
    """

    def __init__(self, make: Callable[[], Environment], rules: FaultRules | None = None) -> None:
        self._make = make
        self._free: list[Environment] = []
        self._playing: dict[int, Environment] = {}
        self._calls: dict[int, _Call] = {}
        self._answers: dict[int, Answer] = {}
        self._faults = Faults(rules or FaultRules())

    def reset(self, session: int, task_id: str) -> None:
        environment = self._free.pop() if self._free else self._make()
        self._playing[session], self._calls[session] = environment, _Call(task_id)
        self._ask(session, lambda: reset(environment, task_id))

    def step(self, session: int, action: str) -> None:
        self._calls[session].step += 1
        environment = self._playing.get(session)
        if environment is None:  # it failed in reset
            self._answers[session] = lost(self._calls[session].task_id, 1)
        else:
            self._ask(session, lambda: step(environment, action))

    def answers(self, wait: bool) -> dict[int, Answer]:
        answers, self._answers = self._answers, {}
        return answers

    def release(self, session: int) -> None:
        if session in self._playing:
            self._free.append(self._playing.pop(session))

    def clear(self) -> None:
        self._free += self._playing.values()
        self._playing, self._calls, self._answers = {}, {}, {}

    def take_faults(self) -> Counter[str]:
        return self._faults.take()

    def close(self) -> None:
        self.clear()
        with ExitStack() as all_of_them:  # one that cannot be closed keeps no other one open
            while self._free:
                all_of_them.callback(self._free.pop().close)

    def _ask(self, session: int, call: Callable[[], Answer]) -> None:
        current = self._calls[session]
        answer = self._faults.ask(call, current.task_id, current.step)
        if answer is None:
            self._faults.discard(self._playing.pop(session))
            answer = lost(current.task_id, current.step, current.task_type)
        current.task_type = answer.info["task_type"]
        self._answers[session] = answer


class Faults:
    """Counter of failures that follows the rules, and says the first of each kind."""

    def __init__(self, rules: FaultRules) -> None:
        self.rules = rules
        self._counts: Counter[str] = Counter()
        self._said: set[str] = set()

    def add(self, failure: Failure, task_id: str, step: int, again: bool = False) -> None:
        """Count a failure, and the episode that it costs unless the call is tried ``again``."""
        self._counts.update([failure.kind] if again else [failure.kind, "lost_episodes"])
        if failure.kind not in self._said:
            self._said.add(failure.kind)
            then = "another one tries again" if again else "the episode counts as a failure, and the run goes on"
            details = f"\n{failure.traceback}" if failure.traceback else ""
            _log.warning("%s; %s; more of the kind are only counted%s", failure.at(task_id, step), then, details)

    def ask(self, call: Callable[[], Answer], task_id: str, step: int) -> Answer | None:
        """Return the answer of an environment in this process, or None if the episode is lost.

        Exceptions that end the run pass through.
        """
        tried = attempt(call, self.rules.step_seconds)
        if tried.failure is None:
            return tried.value
        if self.rules.stops(tried.failure):
            raise stop(tried.failure, task_id, step, tried.error)
        self.add(tried.failure, task_id, step)
        return None

    def discard(self, environment: Environment) -> None:
        """Close an environment that failed, whatever state it is in; nobody uses it again."""
        attempt(environment.close, self.rules.step_seconds)

    def take(self) -> Counter[str]:
        """Return the counts since the last call."""
        counts, self._counts = self._counts, Counter()
        return counts
