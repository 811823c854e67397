"""Progress of a phase: a bar on a terminal, and elsewhere a line at least every 30 seconds.

    sft 120/160 updates, 2.1/s, 19 s left

Rate and time left come from the last thousand updates. Work done before the first of them is left out, so that a
resumed phase does not count the work of the interrupted one.
"""

import threading
import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from prism_bench.errors import note_running

LINE_SECONDS = 30.0


class PhaseProgress:
    """Shows the progress of the phase that its block runs, and notes on an exception how far the phase had come.

    Args:
        console: where progress is shown.
        phase: the name of the phase.
        total: how much there is to do; None: not known before the first update.
        unit: what is counted, in the plural.
        clock: seconds from any moment on.
        line_seconds: how often a line is written where the console is no terminal.
    """

    def __init__(
        self,
        console: Console,
        phase: str,
        total: int | None,
        unit: str = "",
        *,
        clock: Callable[[], float] = time.monotonic,
        line_seconds: float = LINE_SECONDS,
    ) -> None:
        self._console = console
        self._phase = phase
        self._unit = unit
        self._line_seconds = line_seconds
        # on a terminal rich repaints the bar; elsewhere it only keeps count
        self._bar = Progress(
            TextColumn("{task.description:<12}"),
            BarColumn(),
            MofNCompleteColumn(),
            _PaceColumn(),
            console=console,
            get_time=clock,
            speed_estimate_period=float("inf"),
        )
        self._task: TaskID = self._bar.add_task(phase, total=total)
        self._ended = threading.Event()
        self._lines = threading.Thread(target=self._write_lines, name=f"progress of {phase}", daemon=True)

    def __enter__(self) -> "PhaseProgress":
        if self._console.is_terminal:
            self._bar.start()
        else:
            self._lines.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._bar.stop()
        else:
            self._ended.set()
            self._lines.join()
            if error is None:
                self._write_line()
        if error is not None:
            note_running(error, f"phase {self._phase}, {self._done}")

    def update(self, done: int, total: int | None = None) -> None:
        """Show that ``done`` of ``total`` (as before, if not given) are finished."""
        self._bar.update(self._task, completed=done, total=total)

    @property
    def line(self) -> str:
        """Phase, work done and in all, rate, and time left (time taken, once all is done)."""
        return ", ".join(part for part in (f"{self._phase} {self._done}", pace(self._state)) if part)

    @property
    def _state(self) -> Task:
        return self._bar.tasks[0]

    @property
    def _done(self) -> str:
        task = self._state
        total = "" if task.total is None else f"/{int(task.total):,}"
        return f"{int(task.completed):,}{total} {self._unit}".rstrip()

    def _write_lines(self) -> None:
        while not self._ended.wait(self._line_seconds):
            self._write_line()

    def _write_line(self) -> None:
        self._console.print(self.line, markup=False, highlight=False, soft_wrap=True)


class _PaceColumn(ProgressColumn):
    """Rate and time left, as in a line."""

    def render(self, task: Task) -> Text:
        return Text(pace(task))


def pace(task: Task) -> str:
    """Return rate and time left of a task, or the time it took if it is finished."""
    rate = task.finished_speed or task.speed
    parts = [_rate(rate)] if rate else []
    if task.finished or not rate:
        parts.append(f"{_rounded(task.elapsed or 0.0)} {'in all' if task.finished else 'so far'}")
    elif task.remaining is not None:
        parts.append(f"{_rounded(task.remaining / rate)} left")
    return ", ".join(parts)


def _rate(per_second: float) -> str:
    """Write a rate in the unit that makes it at least 1: 2.1/s, 12/min, 3.5/h."""
    unit, rate = next(
        ((unit, per_second * seconds) for unit, seconds in (("s", 1), ("min", 60)) if per_second * seconds >= 1),
        ("h", per_second * 3600),
    )
    return f"{rate:,.0f}/{unit}" if rate >= 9.95 else f"{rate:.1f}/{unit}"


def _rounded(seconds: float) -> str:
    """Write an estimate of a time: 19 s, 2 min 40 s, 3 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
