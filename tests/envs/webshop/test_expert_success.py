"""The success rates of the expert on generated and official goals."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import pytest

OFFICIAL = Path(__file__).resolve().parents[4] / "shared" / "data" / "webshop"


@pytest.fixture(scope="module")
def success(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., float]:
    """Return a function that returns the expert's success rate on every n-th goal of a shop."""
    cache = tmp_path_factory.mktemp("catalogues")

    def share(every: int, **options: Any) -> float:
        env = gymnasium.make("envs.webshop:prism_bench/WebShop-v0", cache=cache, **options)
        expert = env.unwrapped.expert("search")  # type: ignore[attr-defined]
        tasks = env.unwrapped.task_ids[::every]  # type: ignore[attr-defined]
        successes = 0
        for task in tasks:
            text, info = env.reset(options={"task_id": task})
            expert.reset(text, {"admissible_actions": info["admissible_actions"]})
            over = False
            while not over:
                action = expert.act(text, {"admissible_actions": info["admissible_actions"]})
                text, _, terminated, truncated, info = env.step(action)
                over = terminated or truncated
            successes += info["success"]
        return successes / len(tasks)

    return share


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_success_on_generated_goals(success: Callable[..., float], split: str) -> None:
    assert success(50 if split == "train" else 10, source="generated", split=split) >= 0.9


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_success_on_official_goals(success: Callable[..., float], split: str) -> None:
    if not (OFFICIAL / "items_shuffle_1000.json").exists():
        pytest.skip(f"needs the official products; there is no {OFFICIAL}")
    assert success(50 if split == "train" else 5, source="official", data=OFFICIAL, split=split) >= 0.75
