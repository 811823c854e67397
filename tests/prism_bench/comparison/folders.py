"""Folders of runs that never took place, as the program leaves them."""

import json
from pathlib import Path
from typing import Any

import yaml
from example_runs import run

from prism_bench.results.result import write_result

WANTED_OF = {"router": "random"}


def folder_of(root: Path, *, seed: int = 0, scores: list[float] | None = None, **changes: Any) -> Path:
    """Write a run; ``router`` and ``strategy`` are also its choices, and ``config`` the settings that were given."""
    router, strategy = changes.get("router", "prism"), changes.get("strategy", "split")
    given = changes.get("config", {})
    folder = root / "-".join(map(str, (router, strategy, *given.values(), seed)))
    (folder / ".hydra").mkdir(parents=True)
    result = run(seed=seed, **changes)
    write_result(folder / "result.json", result)
    choices = {"strategy": strategy, "router": router or "prism", "hydra/launcher": "basic"}
    record = {"hydra": {"runtime": {"choices": choices}}}
    (folder / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump(record), encoding="utf-8")
    overrides = [*(f"{key}={value}" for key, value in given.items()), f"seed={seed}", "cache=elsewhere"]
    (folder / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(overrides), encoding="utf-8")
    if scores is not None:
        middle = sorted(scores)[len(scores) // 2]
        rows = [
            {
                "task_id": f"train-{at}",
                "task_type": f"type {at % 2}",
                "score": score,
                "stage": "rl" if score > middle else "sft",
            }
            for at, score in enumerate(scores)
        ]
        content = {"threshold": middle, "tied_at_threshold": 1, "identity": {}, "cost": {}, "trajectories": rows}
        (folder / "allocation.json").write_text(json.dumps(content), encoding="utf-8")
    return folder
