"""Environments that fail: they hang, raise, call ``sys.exit``, or return what no environment may return.

A failure ends the run with one error that names task and step, or costs the episode alone: it is *lost*, which counts
as a failed task with a score of 0. A call that exceeds its time limit, a process that dies, and a server that does not
answer or is gone always cost the episode alone; the other failures are bugs, so they do only with
``env.on_error=lose``. Lost episodes are counted on the ledger, and if there are too many of them, the run ends.
"""

import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Generic, Literal, TypeVar

from prism_bench.environments.contract import InvalidAnswerError
from prism_bench.errors import InputError
from prism_bench.settings.types import Positive, Share

Fault = Literal["hangs", "errors", "invalid_answers", "worker_deaths"]
"""Kinds of failures, as the ledger counts them."""

ALWAYS_LOST = 10
"""Number of episodes of a phase that may be lost, however few it has."""

T = TypeVar("T")


@dataclass(frozen=True)
class FaultRules:
    """Settings of ``env``, which a configuration may leave out.

    Attributes:
        step_seconds: the longest time that ``reset`` or ``step`` may take; None for any.
        on_error: ``stop`` or ``lose``: an exception, ``sys.exit`` or an invalid answer ends the run, or the episode.
        most_lost: share of a phase's episodes that may be lost, see :data:`ALWAYS_LOST`; the run ends at the next one.
    """

    step_seconds: Positive | None = None
    on_error: Literal["stop", "lose"] = "stop"
    most_lost: Share = 0.01

    def stops(self, failure: "Failure") -> bool:
        """Return True if ``failure`` ends the run."""
        return self.on_error == "stop" and failure.kind in ("errors", "invalid_answers")

    def check_lost(self, lost: int, episodes: int) -> None:
        """Raise an InputError if too many of ``episodes`` were lost."""
        if lost > max(ALWAYS_LOST, self.most_lost * episodes):
            raise InputError(
                f"{lost} of {episodes} episodes were lost because the environment failed, and the log says how; more "
                f"than {ALWAYS_LOST} and {self.most_lost:.3g} of all are not tolerated, so correct the environment, or "
                "raise env.most_lost"
            )


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure in a form that can be sent.

    Attributes:
        kind: as the ledger counts it.
        text: the predicate of a sentence about the environment: ``raised KeyError: 'room'``.
        traceback: of an exception.
        bug: the exception is the environment's own, and people want to see its traceback.
    """

    kind: Fault
    text: str
    traceback: str = ""
    bug: bool = False

    def at(self, task_id: str, step: int) -> str:
        """Return one sentence; ``step`` 0 stands for ``reset``."""
        return f"task {task_id}, {f'step {step}' if step else 'reset'}: the environment {self.text}"


class _TimeoutError(BaseException):
    """The end of a call's time; no exception that an environment would catch."""


@dataclass(frozen=True, slots=True)
class Attempt(Generic[T]):
    """A call's value or its failure, and for a bug the exception."""

    value: T | None = None
    failure: Failure | None = None
    error: Exception | None = None


def attempt(call: Callable[[], T], seconds: float | None = None) -> Attempt[T]:
    """Call an environment, in at most ``seconds``, and return its answer or how it failed.

    Raises:
        InputError: of the environment, which refuses its input; or the time cannot be limited here.
    """
    try:
        with time_limit(seconds):
            return Attempt(call())
    except InputError:
        raise
    except _TimeoutError:
        return Attempt(failure=Failure("hangs", no_answer(seconds)))
    except SystemExit as stop:
        return Attempt(failure=Failure("errors", f"called sys.exit({stop.code!r})"))
    except TimeoutError as late:
        return Attempt(failure=Failure("hangs", f"did not answer in time: {late}"))
    except ConnectionError as gone:
        return Attempt(failure=Failure("worker_deaths", f"is not to be reached: {gone}"))
    except InvalidAnswerError as invalid:
        return Attempt(failure=Failure("invalid_answers", str(invalid)))
    except Exception as error:
        text = f"raised {type(error).__name__}: {error}"
        return Attempt(failure=Failure("errors", text, traceback.format_exc(), bug=True), error=error)


def no_answer(seconds: float | None) -> str:
    """Return the predicate of a call that took more than ``seconds``."""
    return f"did not answer within env.step_seconds={seconds:g}"


def stop(failure: Failure, task_id: str, step: int, error: Exception | None = None) -> Exception:
    """Return the exception with which a failure ends the run: a bug with its traceback, or one sentence."""
    sentence, advice = failure.at(task_id, step), "env.on_error=lose gives up such episodes alone"
    if not failure.bug:
        return InputError(f"{sentence}; correct the environment, or {advice}")
    if error is None:  # it was raised in another process
        error = RuntimeError(sentence)
        error.add_note(f"{failure.traceback}{advice}")
    else:
        error.add_note(f"{sentence}\n{advice}")
    return error


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Interrupt the block, by a signal, when it takes more than ``seconds``.

    Code that does not come back to Python's interpreter cannot be interrupted.

    Raises:
        InputError: this is not the main thread, or the operating system has no such signal.
    """
    if seconds is None:
        yield
        return
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        raise InputError("env.step_seconds needs the main thread of a Unix program; add env.workers=true")

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise _TimeoutError

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.signal(signal.SIGALRM, before)
