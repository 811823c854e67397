"""Launchers run jobs to their end, on this machine, by submitit and by Ray."""

import os
import sys
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock
from sleeping_job import SleepingJob

from prism_bench.comparison.launchers import (
    OUTPUT,
    Launcher,
    LocalLauncher,
    RayLauncher,
    SubmititLauncher,
    run_job,
)
from prism_bench.comparison.watch import reason
from prism_bench.results.result import RESULT


def wait(launcher: Launcher, seconds: float = 600.0) -> None:
    end = time.monotonic() + seconds
    while any(state != "ended" for state in launcher.states().values()):
        assert time.monotonic() < end, launcher.states()
        time.sleep(0.05)


def jobs(folder: Path, *seconds: float) -> list[SleepingJob]:
    return [
        SleepingJob(f"job-{at}", folder / f"job-{at}", (), {"EXTRA": str(at)}, length)
        for at, length in enumerate(seconds)
    ]


@pytest.fixture(params=["local", "submitit", "ray"])
def launcher(request, tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    # other processes find the class of a job by its module
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))
    if request.param == "local":
        yield LocalLauncher(processes=2)
    elif request.param == "submitit":
        pytest.importorskip("submitit")
        yield SubmititLauncher(cluster="local", threads=1, folder=str(tmp_path / "submitit"))
    else:
        ray = pytest.importorskip("ray")
        monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        yield RayLauncher(processes=2)
        ray.shutdown()


def test_all_jobs_run_and_one_that_fails_stops_no_other(launcher, tmp_path):
    launcher.start(jobs(tmp_path, 0.0, 0.5, 0.1))
    wait(launcher)
    assert [(tmp_path / f"job-{at}" / RESULT).exists() for at in range(3)] == [True, False, True]
    outputs = [(tmp_path / f"job-{at}" / OUTPUT).read_text() for at in range(3)]
    assert "it has to fail" in outputs[1]
    assert [output.split("extra ")[1][0] for output in outputs] == ["0", "1", "2"]
    assert all("thread 1" in output for output in outputs)


def test_the_number_of_threads_that_the_environment_gives_is_what_runs_have(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    launcher = LocalLauncher(processes=1)
    launcher.start(jobs(tmp_path, 0.0))
    wait(launcher)
    assert "thread 3" in (tmp_path / "job-0" / OUTPUT).read_text()
    assert launcher.description == "1 side by side, each with 3 threads"


def test_no_more_than_the_given_number_run_side_by_side(tmp_path):
    launcher, most = LocalLauncher(processes=2), 0
    launcher.start(jobs(tmp_path, *([0.3] * 5)))
    while any(state != "ended" for state in launcher.states().values()):
        most = max(most, list(launcher.states().values()).count("running"))
        time.sleep(0.02)
    assert most == 2 == launcher.side_by_side


def test_stopping_ends_the_runs_that_go_on_and_starts_no_other(tmp_path):
    launcher = LocalLauncher(processes=1)
    launcher.start(jobs(tmp_path, 60.0, 0.0))
    while not (tmp_path / "job-0" / OUTPUT).exists():
        time.sleep(0.02)
    start = time.monotonic()
    launcher.stop()
    assert time.monotonic() - start < 20
    assert not (tmp_path / "job-1").exists() and not (tmp_path / "job-0" / RESULT).exists()


def test_a_run_that_is_under_way_is_waited_for_and_not_run_again(tmp_path):
    (job,) = jobs(tmp_path, 0.0)
    job.folder.mkdir()
    locked = threading.Event()

    def earlier_start() -> None:
        with FileLock(job.folder / ".lock"):
            locked.set()
            time.sleep(0.3)
            (job.folder / RESULT).write_text("of the earlier start")

    threading.Thread(target=earlier_start).start()
    assert locked.wait(10)
    assert run_job(job) == 0
    assert (job.folder / RESULT).read_text() == "of the earlier start" and not (job.folder / OUTPUT).exists()


def test_a_killed_run_is_told_from_one_that_failed_by_itself(tmp_path):
    (job,) = jobs(tmp_path, 60.0)
    assert run_job(job, started=lambda process: process.kill()) < 0
    assert "memory" in reason(job.folder)
    (job,) = jobs(tmp_path, 0.5)
    assert run_job(job) > 0
    assert reason(job.folder) == "it has to fail"
