"""A sound environment, and variants that each violate the contract in one way."""

import itertools
import random
from typing import Any

import gymnasium
from gymnasium.wrappers import TimeLimit

from prism_bench.environments.contract import TextEnvironment

LIMIT = 12


class Climb(TextEnvironment):
    """Go up as many stairs as the task says; each floor has two doors, of which only `up` leads on."""

    def __init__(self) -> None:
        super().__init__()
        self.task_ids: Any = tuple(f"stairs-{height}" for height in (2, 3, 4, 5))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.task_id = self.choose_task(options)
        self.top, self.floor = int(self.task_id.partition("-")[2]), 0
        return "You stand at the foot of the stairs.", self.info()

    def step(self, action: str) -> Any:
        self.floor += action == "up"
        done = self.floor >= self.top
        return f"Floor {self.floor}.", float(done), done, False, self.info()

    def info(self) -> dict[str, Any]:
        return {
            "task_id": self.task_id,
            "task_type": "climb",
            "admissible_actions": ["look", "up"],
            "score": min(1.0, self.floor / self.top),
            "success": self.floor >= self.top,
        }

    def expert(self, name: str) -> Any:
        return Climber() if name == "climber" else super().expert(name)


class Climber:
    action = "up"

    def reset(self, observation: str, info: dict[str, Any]) -> None:
        pass

    def act(self, observation: str, info: dict[str, Any]) -> str:
        return self.action


class NarrowSpace(Climb):
    def __init__(self) -> None:
        super().__init__()
        self.action_space = gymnasium.spaces.Text(20)  # type: ignore[assignment]


class NoTasks(Climb):
    def __init__(self) -> None:
        super().__init__()
        self.task_ids = ()


class RepeatedTask(Climb):
    def __init__(self) -> None:
        super().__init__()
        self.task_ids = ("stairs-2", "stairs-2", "stairs-3")


class ShuffledTasks(Climb):
    builds = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        self.task_ids = self.task_ids[:: -1 if next(self.builds) % 2 else 1]


class UnwritableProtocol(Climb):
    def protocol(self) -> dict[str, Any]:
        return {"stairs": {2, 3}}


class OwnGenerator(Climb):
    def choose_task(self, options: dict[str, Any] | None) -> str:
        return super().choose_task(options or {"task_id": random.choice(self.task_ids)})


class AlwaysFirst(Climb):
    def choose_task(self, options: dict[str, Any] | None) -> str:
        return super().choose_task(options or {"task_id": self.task_ids[0]})


class WrongTask(Climb):
    def choose_task(self, options: dict[str, Any] | None) -> str:
        return "stairs-2" if options else super().choose_task(None)


class NoScore(Climb):
    def info(self) -> dict[str, Any]:
        return {key: value for key, value in super().info().items() if key != "score"}


class PercentScore(Climb):
    def info(self) -> dict[str, Any]:
        return super().info() | {"score": 100.0 * (self.floor / self.top)}


class NumberForSuccess(Climb):
    def info(self) -> dict[str, Any]:
        return super().info() | {"success": int(self.floor >= self.top)}


class Unsorted(Climb):
    def info(self) -> dict[str, Any]:
        return super().info() | {"admissible_actions": ["up", "look"]}


class SharedList(Climb):
    def __init__(self) -> None:
        super().__init__()
        self.actions = ["look", "up"]

    def info(self) -> dict[str, Any]:
        return super().info() | {"admissible_actions": self.actions}


class BytesObserved(Climb):
    def step(self, action: str) -> Any:
        observation, *rest = super().step(action)
        return observation.encode(), *rest


class RemembersLastEpisode(Climb):
    episodes = 0

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        self.episodes += 1
        observation, info = super().reset(**options)
        return f"{observation} Visit {self.episodes}.", info


class RaisesOnNonsense(Climb):
    def step(self, action: str) -> Any:
        if action not in ("look", "up"):
            raise KeyError(action)
        return super().step(action)


class TruncatesItself(Climb):
    steps = 0

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        self.steps = 0
        return super().reset(**options)

    def step(self, action: str) -> Any:
        self.steps += 1
        observation, reward, terminated, _, info = super().step(action)
        return observation, reward, terminated, self.steps >= LIMIT, info


class AcceptsAnyTask(Climb):
    def choose_task(self, options: dict[str, Any] | None) -> str:
        task_id = (options or {}).get("task_id")
        return (
            self.task_ids[0] if task_id is not None and task_id not in self.task_ids else super().choose_task(options)
        )


class UnhelpfulRefusal(Climb):
    def choose_task(self, options: dict[str, Any] | None) -> str:
        task_id = (options or {}).get("task_id")
        if task_id is not None and task_id not in self.task_ids:
            raise KeyError(task_id)
        return super().choose_task(options)


class AnyExpert(Climb):
    def expert(self, name: str) -> Any:
        return Climber()


class ForeignRefusal(Climb):
    def expert(self, name: str) -> Any:
        if name != "climber":
            raise ValueError(name)
        return Climber()


class LazyExpert(Climb):
    def expert(self, name: str) -> Any:
        expert = super().expert(name)
        expert.action = "look"
        return expert


class LimitIsTermination(TimeLimit):
    """A step limit that calls the end of time a termination."""

    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, reward, terminated or truncated, False, info


BROKEN = [
    (NarrowSpace, "action_space does not contain"),
    (NoTasks, "task_ids is missing or empty"),
    (RepeatedTask, "names a task twice"),
    (ShuffledTasks, "task_ids differs between two environments"),
    (UnwritableProtocol, "protocol() raised TypeError"),
    (OwnGenerator, "the same seed draws other tasks"),
    (AlwaysFirst, "always starts the same one"),
    (WrongTask, "started 'stairs-2'"),
    (NoScore, "lacks score"),
    (PercentScore, "not in 0..1"),
    (NumberForSuccess, "no bool"),
    (Unsorted, "not sorted"),
    (SharedList, "has another info"),
    (BytesObserved, "is bytes, not str"),
    (RemembersLastEpisode, "has another observation"),
    (RaisesOnNonsense, "raised KeyError"),
    (TruncatesItself, "the environment itself truncates, at step 12"),
    (AcceptsAnyTask, "was not refused; raise UnknownTaskError"),
    (UnhelpfulRefusal, "raised KeyError, not UnknownTaskError"),
    (AnyExpert, "'no such expert' was not refused"),
    (ForeignRefusal, "an unknown expert raised ValueError, not InputError"),
    (LazyExpert, "solved 0 of 3 tasks"),
]
