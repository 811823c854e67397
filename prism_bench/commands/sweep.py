"""The end of a sweep: the jobs that failed, and the command that compares the others."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from rich.console import Console


@dataclass(frozen=True)
class EndedJob:
    """A job that has ended.

    Attributes:
        folder: of its files.
        swept: it is one of several.
        reason: why it failed; empty if it did not.
    """

    folder: Path
    swept: bool
    reason: str = ""


def ended_job(reason: str = "") -> EndedJob:
    """Return the job that Hydra runs now."""
    config = HydraConfig.get()
    return EndedJob(Path(config.runtime.output_dir), config.mode == RunMode.MULTIRUN, " ".join(reason.split()))


def print_sweep(jobs: Sequence[EndedJob], console: Console) -> None:
    """Print a line for each job of a sweep that failed, and the command that compares the finished runs."""
    if not any(job.swept for job in jobs):
        return
    failed = [job for job in jobs if job.reason]
    lines = [f"{len(failed)} of {len(jobs)} jobs failed:"] if failed else []
    lines += [f"  {_short(job.folder)}: {job.reason}" for job in failed]
    if command := report_command([job.folder for job in jobs if not job.reason]):
        lines.append(f"The finished runs beside each other: {command}")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def report_command(folders: Sequence[Path]) -> str:
    """Return the command that compares the runs of these folders, empty if none holds a result."""
    from prism_bench.results.result import RESULT

    finished = [folder for folder in folders if (folder / RESULT).is_file()]
    parents = {folder.parent for folder in finished}
    if len(finished) > 1 and len(parents) == 1:
        return f"prism-bench report {shlex.quote(_short(parents.pop()))}/*/"
    return " ".join(["prism-bench report", *(shlex.quote(_short(folder)) for folder in finished)]) if finished else ""


def _short(folder: Path) -> str:
    """Return a folder as seen from the present one, if it is below it."""
    present = Path.cwd()
    return str(folder.relative_to(present) if folder.is_relative_to(present) else folder)
