"""``prism-bench run`` with a part that fails: a bug keeps its place, and bad input is one sentence."""

from pathlib import Path

import pytest
from shrunken import ALWAYS, SMALL

from prism_bench.commands.run import main

OURS = ("hydra.run.dir=run", "modules=[failing_parts]")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared, so that the base model is made once."""
    return tmp_path_factory.mktemp("cache")


def log(folder: Path) -> str:
    return (folder / "run" / "run.log").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("setting", "place"),
    [
        ("env.make._target_=failing_parts.make_environment", "phase collect, 2/"),
        ("router._target_=failing_parts.FailingRouter", "phase route, 5/8"),
        ("sft._target_=failing_parts.FailingAlgorithm", "phase sft, 3/8"),
    ],
)
def test_a_bug_in_a_part_keeps_its_place(end, tmp_path, cache, setting, place):
    status, _, error = end(main, *SMALL, *ALWAYS, f"cache={cache}", *OURS, setting)
    assert status == 1
    for text in (error, log(tmp_path)):
        *_, bug, running = text.splitlines()
        assert "Traceback (most recent call last):" in text and "failing_parts.py" in text and "in deep_inside" in text
        assert bug == "ValueError: matrices do not fit"
        assert running.startswith(f"while running: {place}")
    assert not (tmp_path / "run" / "result.json").exists() and not list(cache.rglob("*.making"))


def test_what_a_part_refuses_is_one_sentence(end, tmp_path, cache):
    setting = "router._target_=failing_parts.RefusingRouter"
    status, _, error = end(main, *SMALL, *ALWAYS, f"cache={cache}", *OURS, setting)
    assert (status, error) == (1, "error: these trajectories have no such score; choose another router\n")
    assert "Traceback" not in log(tmp_path) and "choose another router" in log(tmp_path)
