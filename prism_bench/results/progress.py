"""One line on the screen for a phase that takes a while."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


class PhaseProgress:
    """A progress bar while the block runs, and a line with the time taken that stays."""

    def __init__(self, console: Console, phase: str, total: int) -> None:
        self._bar = Progress(
            TextColumn("{task.description:<12}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )
        self._task: TaskID = self._bar.add_task(phase, total=total)

    def __enter__(self) -> "PhaseProgress":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    def update(self, done: int, total: int | None = None) -> None:
        """Show that ``done`` of ``total`` (as before, if not given) are finished."""
        self._bar.update(self._task, completed=done, total=total)
