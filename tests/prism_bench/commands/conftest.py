"""Programs that run in the process of the tests, which has imported the large libraries already."""

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from example_runs import point, run

from prism_bench.results.result import write_result

Ended = tuple[int | str | None, str, str]
"""Exit status, standard output and standard error."""


@pytest.fixture
def end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Ended]]:
    """Return a function that runs a program with these arguments and this environment, and returns how it ended.

    The program runs in ``tmp_path``; what it does to logging is undone after the test.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")  # programs set it, and no later test should inherit that
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level

    def run(program: Callable[[], object], *arguments: str, **environment: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["prism-bench", *arguments])
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        status: int | str | None = 0
        try:
            program()
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    yield run
    for handler in [handler for handler in root.handlers if handler not in handlers]:
        handler.close()
    root.handlers[:], root.level = handlers, level


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Return the folders of two runs that never took place."""
    config = {"env": {"make": {"_target_": "envs.gone.Environment"}, "expert": "any"}}
    write_result(tmp_path / "one" / "result.json", run(curves=[point("sft", 1, 10**12, 0.5)], config=config))
    write_result(tmp_path / "two" / "result.json", run(router="random", config=config))
    return tmp_path / "one", tmp_path / "two"
