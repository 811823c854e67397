"""Processes that hold one environment each, and the launcher that forks them.

The launcher is a small program that has imported this module and nothing of PyTorch. The fork server of
:mod:`multiprocessing` would import the main program into every process (Hydra, or all that a user's script imports), a
program can have only one, and its daemons may not start processes of their own. Needs an operating system that forks,
such as Linux.
"""

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle

from prism_bench.environments.contract import INFO_KEYS, OPTIONAL_INFO_KEYS
from prism_bench.errors import InputError
from prism_bench.rollouts.answers import Answer, Environment, reset, step
from prism_bench.rollouts.faults import Failure, attempt

GRACE_SECONDS = 2.0
"""Time that a busy environment may take to end when it is not needed any more."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An :class:`InputError` of an environment, in a form that can be sent."""

    text: str


class Launcher:
    """Starts and ends processes; ends all of them when it is closed, or when this program dies in any way.

    A process reads ``(kind, value)`` from its pipe, ``("reset", task_id)`` or ``("step", action)``, and writes an
    :class:`~prism_bench.rollouts.answers.Answer`, a :class:`~prism_bench.rollouts.faults.Failure` or a
    :class:`Refusal`; before its first answer None, when it has made its environment.

    Args:
        make: returns a new environment; called in the process.

    Raises:
        InputError: ``make`` cannot be pickled.
    """

    def __init__(self, make: Callable[[], Environment]) -> None:
        try:
            pickled = pickle.dumps(make)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise InputError(
                f"env.workers=true needs an environment that another process can make, but {error}"
            ) from None
        self._channel, theirs = Pipe()
        program = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import launch; launch({theirs.fileno()})"
        with theirs:
            self._program = subprocess.Popen(
                [sys.executable, "-c", program],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is for this program, which then closes the others
            )
        with self._alive():
            self._channel.send_bytes(pickled)

    def start(self) -> tuple[int, Connection]:
        """Return a new process, by its id, and the pipe to it."""
        ours, theirs = Pipe()
        with theirs, self._alive():
            self._channel.send(None)
            send_handle(self._channel, theirs.fileno(), self._program.pid)
            return self._channel.recv(), ours

    def end(self, process: int) -> str:
        """End a process, unless it has ended, and return how it ended."""
        with self._alive():
            self._channel.send(process)
            code: int = self._channel.recv()
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"

    def close(self) -> None:
        """Give processes whose pipes are closed a moment to end, and end the others."""
        self._channel.close()
        self._program.wait()

    @contextmanager
    def _alive(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, ConnectionError):
            raise InputError(
                f"the program that starts the environments' processes has ended with status {self._program.wait()}; "
                "if it printed nothing, it was killed"
            ) from None


def launch(descriptor: int) -> None:
    """Run the launcher at one end of a pipe, and a worker in every process that it forks."""
    channel = Connection(descriptor)
    make = channel.recv_bytes()
    running: set[int] = set()
    pipe = _fork_on_demand(channel, running)
    if pipe is not None:
        channel.close()
        _serve(pipe, make)
        sys.stdout.flush()
        os._exit(0)  # as the children of multiprocessing do: shutting down an interpreter is slow
    patience = time.monotonic() + GRACE_SECONDS
    while running and time.monotonic() < patience:
        running -= {process for process in running if os.waitpid(process, os.WNOHANG)[0]}
        time.sleep(0.005)
    for process in running:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


def _fork_on_demand(channel: Connection, running: set[int]) -> Connection | None:
    """Return, in each new process, its pipe; and in the launcher None when it is not needed any more."""
    while True:
        try:
            ended: int | None = channel.recv()
        except (EOFError, OSError):
            return None
        if ended is None:
            pipe = Connection(recv_handle(channel))
            process = os.fork()
            if not process:
                return pipe
            pipe.close()
            running.add(process)
            channel.send(process)
        else:
            os.kill(ended, signal.SIGKILL)  # changes nothing for one that is dead but not yet waited for
            running.remove(ended)
            channel.send(os.waitstatus_to_exitcode(os.waitpid(ended, 0)[1]))


def _serve(pipe: Connection, make: bytes) -> None:
    """Serve one environment until the pipe is closed."""
    environment: Environment | None = None
    with suppress(EOFError, OSError):
        while True:
            kind, value = pipe.recv()
            try:
                if environment is None:
                    made = attempt(lambda: pickle.loads(make)())
                    environment = made.value
                    pipe.send(made.failure)  # None if there is none
                if environment is not None:
                    pipe.send(_answer(environment, kind, value))
            except InputError as error:
                pipe.send(Refusal(str(error)))
    if environment is not None:
        environment.close()


def _answer(environment: Environment, kind: str, value: str) -> Answer | Failure | None:
    tried = attempt(lambda: reset(environment, value) if kind == "reset" else step(environment, value))
    if tried.value is None:
        return tried.failure
    info = {
        key: value for key, value in tried.value.info.items() if key in INFO_KEYS + OPTIONAL_INFO_KEYS
    }  # the rest may not pickle
    return replace(tried.value, info=info)
