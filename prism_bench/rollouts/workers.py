"""Slow environments, each in a process of its own, so that all of them and the policy work at once.

Each environment is served as soon as it answers (Gymnasium's ``AsyncVectorEnv`` waits for the slowest, and does not
survive a crash).

If a process *dies*, killed for its memory or crashed in native code, or does not answer in time and is killed for it,
its episode ends with that step and is lost (:mod:`prism_bench.rollouts.faults`). In ``reset`` nothing is lost yet, so
another process tries once more; if it fails too, the episode is an empty observation and one completion. A new process
replaces the old one. If no task can be reset any more, the run ends. An *exception* is a bug that the next process
would meet as well: it is raised here, as for environments in this process, or loses the episode likewise.
"""

import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait

from prism_bench.errors import InputError
from prism_bench.rollouts.answers import Answer, Environment, lost
from prism_bench.rollouts.faults import Failure, FaultRules, no_answer, stop
from prism_bench.rollouts.pool import Faults
from prism_bench.rollouts.worker_process import Launcher, Refusal

HOPELESS_TASKS = 5
"""Number of tasks in a row that may fail to be reset, by two processes each, before the environment is given up."""


@dataclass(slots=True)
class _Worker:
    """A process, the pipe to it, its task and its last request."""

    process: int
    pipe: Connection
    task_id: str = ""
    task_type: str | None = None
    attempt: int = 0  # at resetting this task
    turn: int = 0  # number of the last step; 0 is reset
    asked: bool = False  # until it has answered
    made: bool = False  # its environment, whose making takes any time
    since: float = 0.0  # when it could begin to answer

    def ask(self, kind: str, value: str) -> None:
        self.asked, self.since = True, time.monotonic()
        self.turn = 0 if kind == "reset" else self.turn + 1
        with suppress(OSError):  # it is dead, which shows when its answer is read
            self.pipe.send((kind, value))


class WorkerEnvironments:
    """:class:`~prism_bench.rollouts.pool.Environments` with a process for each.

    Args:
        make: returns a new environment; called in the processes, so it must be something that pickle can name, such
            as ``functools.partial(gymnasium.make, "package:Name-v0")``.
        rules: decide what a failure costs.

    Raises:
        InputError: ``make`` cannot be pickled. Later: an environment raised an InputError or gave an invalid answer, or
            none can be reset.
        RuntimeError: later, an environment raised another exception; a note has its traceback.
    """

    def __init__(self, make: Callable[[], Environment], rules: FaultRules | None = None) -> None:
        self._rules = rules or FaultRules()
        self._faults = Faults(self._rules)
        self._launcher = Launcher(make)
        self._workers: dict[int, _Worker] = {}  # by session
        self._free: list[_Worker] = []
        self._answers: dict[int, Answer] = {}  # received, or given in place of the dead
        self._unplayable: dict[int, str] = {}  # sessions without a process, and the task that none could reset
        self._failed_tasks: set[str] = set()  # since the last reset that succeeded
        self._ever_reset = False

    def reset(self, session: int, task_id: str) -> None:
        self._begin(session, task_id, self._free.pop() if self._free else self._start(), attempt=1)

    def step(self, session: int, action: str) -> None:
        if session in self._unplayable:
            self._answers[session] = lost(self._unplayable[session], 1)
        else:
            self._workers[session].ask("step", action)

    def answers(self, wait: bool) -> dict[int, Answer]:
        while pipes := {worker.pipe: session for session, worker in self._workers.items() if worker.asked}:
            for pipe in _readable(list(pipes), self._patience() if wait and not self._answers else 0.0):
                self._receive(pipes[pipe])
            self._end_late()
            if self._answers or not wait:
                break  # else there were only failures, and others try again
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

    def take_faults(self) -> Counter[str]:
        return self._faults.take()

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

    def _patience(self) -> float | None:
        """Return the seconds until the first worker is late; None for ever."""
        ends = [end for worker in self._workers.values() if (end := self._end_of(worker)) is not None]
        return max(0.0, min(ends) - time.monotonic()) if ends else None

    def _end_of(self, worker: _Worker) -> float | None:
        seconds = self._rules.step_seconds
        return worker.since + seconds if seconds is not None and worker.asked and worker.made else None

    def _end_late(self) -> None:
        """Kill the workers whose time is over, unless their answer has come meanwhile."""
        now = time.monotonic()
        for session, worker in list(self._workers.items()):
            end = self._end_of(worker)
            if end is not None and now > end and not worker.pipe.poll():
                del self._workers[session]
                self._end(worker)
                self._replace(session, worker, Failure("hangs", no_answer(self._rules.step_seconds)))

    def _receive(self, session: int) -> None:
        worker = self._workers[session]
        try:
            answer: Answer | Failure | Refusal | None = worker.pipe.recv()
        except (EOFError, OSError):
            del self._workers[session]
            self._replace(session, worker, Failure("worker_deaths", f"died with its process, {self._end(worker)}"))
            return
        if answer is None:
            worker.made, worker.since = True, time.monotonic()
            return
        worker.asked = False
        if isinstance(answer, Refusal):
            raise InputError(answer.text)
        if isinstance(answer, Failure):
            if self._rules.stops(answer):
                raise stop(answer, worker.task_id, worker.turn)
            del self._workers[session]
            worker.pipe.close()  # it closes its environment, which nobody uses again, and ends
            self._replace(session, worker, answer)
            return
        if not worker.turn:
            self._ever_reset = True
            self._failed_tasks.clear()
        worker.task_type = answer.info["task_type"]
        self._answers[session] = answer

    def _replace(self, session: int, failed: _Worker, failure: Failure) -> None:
        """Replace a worker that has failed and ended, by the rules of this module."""
        task_id, turn, again = failed.task_id, failed.turn, not failed.turn and failed.attempt == 1
        self._faults.add(failure, task_id, turn, again)
        if again:
            self._begin(session, task_id, self._start(), attempt=2)
            return
        if not turn:
            self._failed_tasks.add(task_id)
            if len(self._failed_tasks) == HOPELESS_TASKS:
                raise self._hopeless()
            self._unplayable[session] = task_id
        self._answers[session] = lost(task_id, turn, failed.task_type)

    def _hopeless(self) -> InputError:
        count = len(self._failed_tasks)
        tasks = "a task" if count == 1 else f"{count} tasks in a row"
        return InputError(
            f"the environment failed in reset() on {tasks}, twice on each, and the log says how; nothing can run like "
            "this, so make the environment run with env.workers=false first"
        )


def _readable(pipes: list[Connection], timeout: float | None) -> list[Connection]:
    return [pipe for pipe in wait(pipes, timeout) if isinstance(pipe, Connection)]
