"""Launchers: where the runs of a comparison take place, or the parts of a diagnosis.

Each is one process of ``prism-bench``, whose output goes to a file in its folder. On whatever machine a launcher
starts it, it finds that folder and the cache, so these have to be on a file system that all share.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import psutil
import torch
from filelock import FileLock

from prism_bench.errors import InputError
from prism_bench.results.result import RESULT
from prism_bench.settings.types import Count, CountFromZero, Group, Text

OUTPUT = "output.log"

KILLED = "\nerror: it was killed, which a machine does whose memory is full; run fewer side by side (--processes)\n"

State = Literal["waiting", "running", "ended"]


@dataclass(frozen=True)
class Job:
    """A command to start: its name, the folder of its output, and its words, without that of the program."""

    name: str
    folder: Path
    words: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", "prism_bench", *self.words]


class Launcher(Protocol):
    """Starts runs and knows how far they are."""

    @property
    def description(self) -> str:
        """Where and how many at a time, in a few words."""

    @property
    def side_by_side(self) -> int | None:
        """How many runs take place at the same time; None if that is not known."""

    def start(self, jobs: Sequence[Job]) -> None:
        """Start all of these runs, at once or one after the other, and return."""

    def states(self) -> dict[str, State]:
        """Return the state of every job by its name."""

    def stop(self) -> None:
        """End the runs that have not ended."""


def run_job(job: Job, started: Callable[["subprocess.Popen[bytes]"], None] = lambda process: None) -> int:
    """Run a job to its end and return its exit status.

    A run that an earlier start of the comparison left running is waited for, and not run again if it has a result.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    with FileLock(job.folder / ".lock"):
        if (job.folder / RESULT).is_file():
            return 0
    with (job.folder / OUTPUT).open("wb") as output:
        process = subprocess.Popen(job.command, stdout=output, stderr=output, env=_with_this_code(job.environment))
        started(process)
        try:
            status = process.wait()
        except BaseException:  # a cancelled task must not leave its run behind
            process.terminate()
            raise
        if status == -signal.SIGKILL:  # it could say nothing itself
            output.write(KILLED.encode())
    return status


def _with_this_code(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process that finds the package of this process, from wherever it was imported."""
    paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **variables}


def placed_in(job: Job, environment: Mapping[str, str]) -> Job:
    """Return a job with further variables of its environment."""
    return replace(job, environment={**job.environment, **environment})


@dataclass
class LocalLauncher:
    """Runs on this machine, ``processes`` of them side by side."""

    processes: Count | None = None

    def __post_init__(self) -> None:
        self._gpus = torch.cuda.device_count()
        self._count = self.processes or self._gpus or psutil.cpu_count(logical=False) or 1
        share = max(1, (psutil.cpu_count() or 1) // self._count)
        self._threads = os.environ.get("OMP_NUM_THREADS") or str(share)
        self._pool = ThreadPoolExecutor(self._count)
        self._free = list(range(self._count))
        self._states: dict[str, State] = {}
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    @property
    def description(self) -> str:
        on = f"a GPU of {self._gpus}" if self._gpus else f"{self._threads} thread{'s' if self._threads != '1' else ''}"
        return f"{self._count} side by side, each with {on}"

    @property
    def side_by_side(self) -> int:
        return self._count

    def start(self, jobs: Sequence[Job]) -> None:
        self._states |= {job.name: "waiting" for job in jobs}
        for job in jobs:
            self._pool.submit(self._run, job)

    def states(self) -> dict[str, State]:
        return dict(self._states)

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            for process in self._processes:
                process.terminate()
        self._pool.shutdown(cancel_futures=True)

    def _run(self, job: Job) -> None:
        with self._lock:
            slot = self._free.pop(0)
        placed = {"CUDA_VISIBLE_DEVICES": str(slot % self._gpus)} if self._gpus else {}
        placed |= {"OMP_NUM_THREADS": self._threads}
        self._states[job.name] = "running"
        try:
            run_job(placed_in(job, placed), self._started)
        finally:
            self._states[job.name] = "ended"
            with self._lock:
                self._free.append(slot)

    def _started(self, process: "subprocess.Popen[bytes]") -> None:
        with self._lock:
            self._processes = {each for each in self._processes if each.poll() is None} | {process}
            if self._stopped:
                process.terminate()


@dataclass
class SubmititLauncher:
    """Runs as a job array on Slurm (github.com/facebookincubator/submitit)."""

    cluster: Text | None = None
    processes: Count | None = None
    threads: Count | None = None
    parameters: Group = field(default_factory=dict)
    folder: Text = ".cache/submitit"

    def __post_init__(self) -> None:
        self._jobs: dict[str, Any] = {}

    @property
    def description(self) -> str:
        where = self.cluster or "Slurm where it is found"
        return f"jobs of submitit, {where}" + (f", {self.processes} side by side" if self.processes else "")

    @property
    def side_by_side(self) -> int | None:
        return self.processes

    def start(self, jobs: Sequence[Job]) -> None:
        submitit = _imported("submitit")
        executor = submitit.AutoExecutor(folder=self.folder, cluster=self.cluster)
        array = {"slurm_array_parallelism": self.processes} if self.processes else {}
        executor.update_parameters(name="prism-bench", **array, **self.parameters)
        placed = {"OMP_NUM_THREADS": str(self.threads)} if self.threads else {}
        started = [placed_in(job, placed) for job in jobs]
        self._jobs |= zip((job.name for job in jobs), executor.map_array(run_job, started), strict=True)

    def states(self) -> dict[str, State]:
        return {name: _submitit_state(job) for name, job in self._jobs.items()}

    def stop(self) -> None:
        for job in self._jobs.values():
            if not job.done():
                job.cancel()


def _submitit_state(job: Any) -> State:
    if job.done():
        return "ended"
    return "running" if job.state == "RUNNING" else "waiting"


@dataclass
class RayLauncher:
    """Runs as tasks of a Ray cluster (docs.ray.io)."""

    address: Text | None = None
    processes: Count | None = None
    threads: Count = 1
    gpus: CountFromZero = 0

    def __post_init__(self) -> None:
        self._tasks: dict[str, Any] = {}
        self._folders: dict[str, Path] = {}

    @property
    def description(self) -> str:
        gpus = f" and {self.gpus} GPUs" if self.gpus else ""
        return f"tasks of Ray, each with {self.threads} cores{gpus}"

    @property
    def side_by_side(self) -> int | None:
        return self.processes

    def start(self, jobs: Sequence[Job]) -> None:
        ray = _imported("ray")
        if not ray.is_initialized():
            ray.init(self.address, num_cpus=self.processes * self.threads if self.processes else None)
        run = ray.remote(num_cpus=self.threads, num_gpus=self.gpus, max_retries=0)(run_job)
        placed = {"OMP_NUM_THREADS": str(self.threads)}
        for job in jobs:
            self._folders[job.name] = job.folder
            self._tasks[job.name] = run.remote(placed_in(job, placed))

    def states(self) -> dict[str, State]:
        ray = _imported("ray")
        ended, _ = ray.wait(list(self._tasks.values()), num_returns=len(self._tasks), timeout=0)
        return {
            name: "ended" if task in ended else "running" if (self._folders[name] / OUTPUT).exists() else "waiting"
            for name, task in self._tasks.items()
        }

    def stop(self) -> None:
        ray = _imported("ray")
        for task in self._tasks.values():
            ray.cancel(task)


def _imported(package: str) -> Any:
    try:
        return __import__(package)
    except ImportError:
        raise InputError(f"{package} is not installed; pip install prism-bench[{package}]") from None
