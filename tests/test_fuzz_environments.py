"""Random and hostile actions do not break an environment; `python benchmarks/fuzz_environments.py` tries a million."""

from pathlib import Path
from typing import Any

import gymnasium
import pytest
from extras import skip_where_missing

from benchmarks.fuzz_environments import IDS, KINDS, fuzz, long


@pytest.mark.parametrize("name", IDS)
def test_hostile_actions_raise_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    skip_where_missing(name)
    monkeypatch.chdir(tmp_path)  # environments keep their files there
    monkeypatch.setitem(KINDS, long, 1 / 500)
    report = fuzz(gymnasium.make(name), actions=3000, seed=0, limit=60)
    assert (report.failures, report.actions) == ((), 3000)


class Fragile(gymnasium.Env[str, str]):
    """Breaks at two closing brackets: raises, or never answers."""

    def __init__(self, hangs: bool) -> None:
        self.hangs = hangs

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[str, dict[str, Any]]:
        return "", {"admissible_actions": ["search[<keywords>]"], "score": 0.0}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        while "]]" in action:
            if not self.hangs:
                raise ValueError("two brackets")
        return "", 0.0, False, False, self.reset()[1]


@pytest.mark.parametrize(
    ("hangs", "failure"), [(False, "ValueError: two brackets"), (True, "TimeoutError: took longer")]
)
def test_the_fuzz_finds_what_breaks(hangs: bool, failure: str) -> None:
    report = fuzz(Fragile(hangs), actions=300, seed=0, limit=0.2)
    assert report.actions == 300 and any(failure in found for found in report.failures)
