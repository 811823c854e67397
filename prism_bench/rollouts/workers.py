"""Slow environments, each in a process of its own, so that all of them and the policy work at once.

Each environment is served as soon as it answers (Gymnasium's ``AsyncVectorEnv`` waits for the slowest, and does not
survive a crash).

If a process *dies*, killed for its memory or crashed in native code, its episode ends with that step and has failed,
with a score of 0. In ``reset`` nothing is lost yet, so another process tries once more; if it dies too, the episode is
an empty observation and one completion. A new process replaces the dead one. Deaths are logged and counted; if no task
can be reset any more, the run ends. An *exception* is a bug that the next process would meet as well: it is raised
here, as for environments in this process.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from prism_bench.errors import InputError
from prism_bench.rollouts.pool import Answer, Environment
from prism_bench.rollouts.worker_process import Failure, Launcher

HOPELESS_TASKS = 5
"""How many tasks in a row may fail to be reset, by two processes each, before the environment is given up."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Worker:
    """A process, the pipe to it, its task and its last request."""

    process: int
    pipe: Connection
    task_id: str = ""
    task_type: str | None = None
    attempt: int = 0  # at resetting this task
    asked: str | None = None  # reset or step, until it is answered

    def ask(self, kind: str, value: str) -> None:
        self.asked = kind
        with suppress(OSError):  # it is dead, which shows when its answer is read
            self.pipe.send((kind, value))


class WorkerEnvironments:
    """:class:`~prism_bench.rollouts.pool.Environments` with a process for each.

    Args:
        make: returns a new environment; called in the processes, so it must be something that pickle can name, such
            as ``functools.partial(gymnasium.make, "package:Name-v0")``.

    Raises:
        InputError: ``make`` cannot be pickled. Later: an environment raised an InputError, or none can be reset.
        RuntimeError: later, an environment raised another exception; a note has its traceback.
    """

    def __init__(self, make: Callable[[], Environment]) -> None:
        self._launcher = Launcher(make)
        self._workers: dict[int, _Worker] = {}  # by session
        self._free: list[_Worker] = []
        self._answers: dict[int, Answer] = {}  # received, or given in place of the dead
        self._unplayable: dict[int, str] = {}  # sessions without a process, and the task that none could reset
        self._failed_tasks: set[str] = set()  # since the last reset that succeeded
        self._ever_reset = False
        self._deaths = 0

    def reset(self, session: int, task_id: str) -> None:
        self._begin(session, task_id, self._free.pop() if self._free else self._start(), attempt=1)

    def step(self, session: int, action: str) -> None:
        if session in self._unplayable:
            self._answers[session] = _end(self._unplayable[session], None)
        else:
            self._workers[session].ask("step", action)

    def answers(self, wait: bool) -> dict[int, Answer]:
        while pipes := {worker.pipe: session for session, worker in self._workers.items() if worker.asked}:
            for pipe in _readable(list(pipes), block=wait and not self._answers):
                self._receive(pipes[pipe])
            if self._answers or not wait:
                break  # else there were only deaths, and others try again
        if wait and not self._answers and self._failed_tasks and not self._ever_reset:
            raise self._hopeless()  # nothing runs any more, and nothing ever did
        answers, self._answers = self._answers, {}
        return answers

    def release(self, session: int) -> None:
        self._unplayable.pop(session, None)
        if session in self._workers:  # it is not if it died
            self._free.append(self._workers.pop(session))

    def clear(self) -> None:
        for worker in self._workers.values():
            self._end(worker)
        self._workers, self._unplayable, self._answers = {}, {}, {}

    def take_deaths(self) -> int:
        deaths, self._deaths = self._deaths, 0
        return deaths

    def close(self) -> None:
        for worker in (*self._workers.values(), *self._free):
            worker.pipe.close()
        self._workers, self._free = {}, []
        self._launcher.close()

    def _start(self) -> _Worker:
        return _Worker(*self._launcher.start())

    def _end(self, worker: _Worker) -> str:
        worker.pipe.close()
        return self._launcher.end(worker.process)

    def _begin(self, session: int, task_id: str, worker: _Worker, attempt: int) -> None:
        worker.task_id, worker.task_type, worker.attempt = task_id, None, attempt
        self._workers[session] = worker
        worker.ask("reset", task_id)

    def _receive(self, session: int) -> None:
        worker = self._workers[session]
        try:
            answer: Answer | Failure = worker.pipe.recv()
        except (EOFError, OSError):
            self._replace(session, self._workers.pop(session))
            return
        asked, worker.asked = worker.asked, None
        if isinstance(answer, Failure):
            if answer.refused:
                raise InputError(answer.text)
            error = RuntimeError(f"task {worker.task_id}: the environment failed in {asked}() with {answer.text}")
            error.add_note(answer.traceback)
            raise error
        if asked == "reset":
            self._ever_reset = True
            self._failed_tasks.clear()
        worker.task_type = answer.info.get("task_type")
        self._answers[session] = answer

    def _replace(self, session: int, dead: _Worker) -> None:
        """Replace a process that has died, by the rules of this module."""
        self._deaths += 1
        task_id, again = dead.task_id, dead.asked == "reset" and dead.attempt == 1
        _log.warning(
            "task %s: the environment's process died in %s(), %s; %s",
            task_id,
            dead.asked,
            self._end(dead),
            "another one tries again" if again else "the episode counts as a failure, and the run goes on",
        )
        if again:
            self._begin(session, task_id, self._start(), attempt=2)
        elif dead.asked == "step":
            self._answers[session] = _end(task_id, dead.task_type)
        else:
            self._failed_tasks.add(task_id)
            if len(self._failed_tasks) == HOPELESS_TASKS:
                raise self._hopeless()
            self._unplayable[session] = task_id
            info = _failed(task_id, None) | {"admissible_actions": [""]}  # not empty, for prompts that list them
            self._answers[session] = Answer("", 0.0, False, info)

    def _hopeless(self) -> InputError:
        count = len(self._failed_tasks)
        tasks = "a task" if count == 1 else f"{count} tasks in a row"
        return InputError(
            f"the environment's process died in reset() on {tasks}, twice on each, and the log says how; nothing can "
            "run like this, so make the environment run with env.workers=false first"
        )


def _readable(pipes: list[Connection], block: bool) -> list[Connection]:
    return [pipe for pipe in wait(pipes, None if block else 0.0) if isinstance(pipe, Connection)]


def _end(task_id: str, task_type: str | None) -> Answer:
    """Return the end of an episode whose environment is gone."""
    return Answer("", 0.0, True, _failed(task_id, task_type))


def _failed(task_id: str, task_type: str | None) -> dict[str, Any]:
    return {"task_id": task_id, "task_type": task_type, "admissible_actions": [], "score": 0.0, "success": False}
