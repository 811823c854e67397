"""Rows of a finished run for the charts and tables of a dashboard: learning curves, episodes, allocation."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prism_bench.data.trajectory import Trajectory, load_trajectories

TEXT_LENGTH = 8000
"""Characters of an episode's text that a row has at most."""

Rows = list[dict[str, Any]]


def curve_rows(result: Mapping[str, Any]) -> Rows:
    """Return the points of the learning curves with their place on two axes that go through all phases.

    ``flops`` and ``updates`` are cumulative. Every value stands under both, ``curve_over_flops/success`` and
    ``curve_over_updates/success``.
    """
    earlier, updates = {}, 0
    for phase in result["phases"]:
        earlier[phase["name"]] = updates
        updates += phase["updates"]
    rows = []
    for point in result["curves"]:
        axes = {"flops": point["flops"], "updates": earlier[point["phase"]] + point["update"]}
        values = {f"curve_over_{axis}/{name}": point[name] for axis in axes for name in ("success", "score")}
        rows.append(axes | values)
    return rows


def episode_rows(folder: Path, result: Mapping[str, Any], most: int) -> Rows:
    """Return the first ``most`` evaluated episodes of every stage and split; stages have the same tasks.

    Args:
        folder: of the run.

    Raises:
        InputError: a file of episodes is missing or damaged.
    """
    return [
        {
            "stage": stage,
            "split": split,
            "task": episode.task_id,
            "type": episode.task_type,
            "success": episode.success,
            "score": episode.score,
            "steps": len(episode.steps),
            "text": text_of(episode),
        }
        for stage, splits in result["success"].items()
        for split in splits
        for episode in load_trajectories(folder / result["files"][f"episodes {stage} {split}"])[:most]
    ]


def allocation_rows(path: Path) -> Rows:
    """Return every demonstration with its score and its part, from a router's ``allocation.json``."""
    rows: Rows = json.loads(path.read_text(encoding="utf-8"))["trajectories"]
    return rows


def text_of(episode: Trajectory) -> str:
    """Return observations and, after ``>``, what the agent wrote, up to :data:`TEXT_LENGTH` characters."""
    text = "\n".join(f"{step.observation}\n> {step.completion or step.action}" for step in episode.steps)
    return text if len(text) <= TEXT_LENGTH else text[: TEXT_LENGTH - 1] + "…"
