"""Signals end ``run.py`` within a phase, with nothing lost and nothing left; the same command goes on from there."""

import json
import os
import re
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest
from shrunken import SMALL
from test_run import PROCESSES, arguments, be_the_program, read_result, repeatable, run, weights

pytestmark = pytest.mark.slow

LONG = (*SMALL, "algorithm.max_steps=12", "algorithm.logging_steps=1", "eval.curve_points=4", "router=random")


@pytest.fixture(scope="module", autouse=True)
def quiet():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


def be_interrupted(folder: Path, cache: Path, argv: list[str], number: int) -> None:
    """Run the program with a checkpoint after every update, and send it a signal after some updates of RL.

    A thread of its own sends it: on a busy machine another process may come when the run is over.
    """
    from prism_bench.algorithms import checkpoints

    checkpoints.SECONDS_BETWEEN, checkpoints.SHARE = 0.0, float("inf")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # off where tests run in the background
    threading.Thread(target=send_in_time, args=(folder, cache, number), daemon=True).start()
    be_the_program(folder, argv)


def send_in_time(folder: Path, cache: Path, number: int) -> None:
    checkpoints = "train/.*.making/files/unfinished/checkpoint-[4-9]"
    while not ('"rl/loss"' in _metrics(folder) and list(cache.glob(checkpoints))):
        time.sleep(0.01)
    children = psutil.Process().children(recursive=True)
    folder.with_suffix(".children").write_text(json.dumps([child.pid for child in children]))
    os.kill(os.getpid(), number)


def interrupt(folder: Path, cache: Path, number: signal.Signals, *overrides: str) -> tuple[int | None, str]:
    """Start a run that is interrupted; return exit status and standard error."""
    argv = arguments(folder, cache, *LONG, *overrides)
    program = PROCESSES.Process(target=be_interrupted, args=(folder, cache, argv, number))
    program.start()
    program.join()
    error = folder.with_suffix(".err").read_text()
    children = folder.with_suffix(".children")
    assert children.exists(), error
    ended = time.monotonic()
    while left := [pid for pid in json.loads(children.read_text()) if psutil.pid_exists(pid)]:
        assert time.monotonic() < ended + 10, f"processes are left: {left}"
        time.sleep(0.05)
    return program.exitcode, error


def _metrics(folder: Path) -> str:
    file = folder / "metrics.jsonl"
    return file.read_text() if file.exists() else ""


def test_sigterm_leaves_no_process_and_loses_no_number(tmp_path):
    folder = tmp_path / "run"
    extras = ("env.workers=true", "logger=wandb", "logger.mode=offline")
    status, error = interrupt(folder, tmp_path / "cache", signal.SIGTERM, *extras)
    assert status == 143
    assert re.fullmatch(
        r"error: interrupted in phase rl, \d+/12 updates; start the same command again to go on\n", error
    )
    assert all(json.loads(line) for line in _metrics(folder).splitlines())
    (offline,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    assert b"rl/loss" in offline.read_bytes()


def test_the_same_command_goes_on_within_the_phase(tmp_path):
    whole = run(tmp_path / "whole", tmp_path / "other cache", *LONG)
    status, error = interrupt(tmp_path / "first", tmp_path / "cache", signal.SIGINT)
    assert status == 130 and error.count("\n") == 1
    complete = (tmp_path / "cache").glob("train/.*.making/files/unfinished/checkpoint-*/prism_bench.json")
    kept = max(int(file.parent.name.rpartition("-")[2]) for file in complete)
    result = run(tmp_path / "second", tmp_path / "cache", *LONG)
    lines = [json.loads(line) for line in _metrics(tmp_path / "second").splitlines()]
    assert min(line["step"] for line in lines if "rl/loss" in line) == kept + 1
    assert repeatable(result) == repeatable(whole)
    assert weights(result) == weights(whole)
    assert not list((tmp_path / "cache").rglob("unfinished"))
    assert read_result(tmp_path / "second" / "result.json")["curves"] == whole["curves"]
