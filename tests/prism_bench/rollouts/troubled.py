"""A corridor in which chosen tasks go wrong. A module of its own, since other processes have to import it."""

import os
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
from corridor import Corridor

from prism_bench.errors import InputError

INVALID: dict[str, tuple[str, Any]] = {
    "bytes": ("observation", b"You are in room 3."),
    "surrogate": ("observation", "room \ud83d"),
    "nan": ("score", float("nan")),
    "per_cent": ("score", 50.0),
    "text_score": ("score", "0.5"),
    "infinite": ("reward", float("inf")),
    "other_task": ("task_id", "1-2"),
}
WAIT_SECONDS = 60  # before a test that went wrong gives up


class Troubled(Corridor):
    """Corridor that records its calls in ``folder``, with the trouble that ``trouble`` names for a task.

    ``reset`` or ``step`` (the second one of an episode), and then what happens: ``kill`` or ``exit`` ends the process,
    ``once`` does so if it is the first to meet this, ``raise`` has a bug, ``gone`` and
    ``late`` miss another process, ``refuse`` refuses its input, ``wait`` waits
    for the file ``go``, ``hang`` does not answer, ``leave`` calls ``sys.exit``. Others return the answer in
    :data:`INVALID` of that name.
    """

    def __init__(self, folder: Path, trouble: dict[str, str]) -> None:
        super().__init__()
        self.folder, self.trouble = folder, trouble

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        observation, info = super().reset(seed=seed, options=options)
        self.turn = 0
        self._meet("reset")
        kind, value = self._invalid("reset")
        return value if kind == "observation" else observation, info | {kind: value}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self.turn += 1
        self._meet("step")
        observation, reward, terminated, truncated, info = super().step(action)
        kind, value = self._invalid("step")
        observation = value if kind == "observation" else observation
        return observation, value if kind == "reward" else reward, terminated, truncated, info | {kind: value}

    def close(self) -> None:
        (self.folder / f"closed {os.getpid()}").touch()

    def _invalid(self, where: str) -> tuple[str, Any]:
        there, _, what = self.trouble.get(self.task_id, "").partition(" ")
        met = there == where and (where == "reset" or self.turn == 2)
        return INVALID.get(what, ("", None)) if met else ("", None)

    def _meet(self, where: str) -> None:
        first = not (met := self.folder / f"{self.task_id} {where}").exists()
        with met.open("a") as file:
            file.write(f"{os.getpid()} {'torch' in sys.modules}\n")
        match self.trouble.get(self.task_id, "").split():
            case ["step", _] if self.turn != 2:
                return
            case [there, "kill"] if there == where:
                os.kill(os.getpid(), signal.SIGKILL)
            case [there, "exit"] if there == where:
                os._exit(3)
            case [there, "once"] if there == where and first:
                os._exit(0)
            case [there, "raise"] if there == where:
                raise KeyError("no such room")
            case [there, "gone"] if there == where:
                raise BrokenPipeError("the game has ended")
            case [there, "late"] if there == where:
                raise TimeoutError("no word for a minute")
            case [there, "refuse"] if there == where:
                raise InputError("room 4 has no door; choose another task")
            case [there, "wait"] if there == where:
                patience = time.monotonic() + WAIT_SECONDS
                while not (self.folder / "go").exists():
                    assert time.monotonic() < patience, "nobody came"
                    time.sleep(0.002)
            case [there, "hang"] if there == where:
                time.sleep(10 * WAIT_SECONDS)
            case [there, "leave"] if there == where:
                sys.exit("no more rooms")


def make_troubled(folder: Path, trouble: dict[str, str]) -> gymnasium.Env[str, str]:
    return gymnasium.wrappers.TimeLimit(Troubled(folder, trouble), max_episode_steps=8)


def troubled(folder: Path, **trouble: str) -> partial[gymnasium.Env[str, str]]:
    """Return a maker; the trouble of task ``2-5`` is called ``from_2_to_5``."""
    return partial(make_troubled, folder, {name[5:].replace("_to_", "-"): what for name, what in trouble.items()})


def noted(folder: Path, task_id: str, where: str) -> list[tuple[int, bool]]:
    """Return for each call the process, and whether it had imported PyTorch."""
    lines = (folder / f"{task_id} {where}").read_text().splitlines()
    return [(int(line.split()[0]), line.endswith("True")) for line in lines]


class Counted(Troubled):
    """Leaves a file when it is made and another one when it is closed."""

    def __init__(self, folder: Path, trouble: dict[str, str]) -> None:
        super().__init__(folder, trouble)
        self.name = f"{os.getpid()}-{id(self)}"
        (folder / f"made {self.name}").touch()

    def close(self) -> None:
        (self.folder / f"gone {self.name}").touch()


def make_counted(folder: Path, trouble: dict[str, str]) -> gymnasium.Env[str, str]:
    return gymnasium.wrappers.TimeLimit(Counted(folder, trouble), max_episode_steps=8)
