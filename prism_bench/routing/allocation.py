"""The decision of a router as data and as a file: which demonstrations go to SFT, which tasks to RL, and why."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from prism_bench.data.trajectory import Trajectory
from prism_bench.files import write_atomically

Stage = Literal["sft", "rl"]

ALLOCATION = "allocation.json"
"""Name of the file in the folder of a run."""


@dataclass(frozen=True)
class Allocation:
    """The decision of a router on every trajectory, in the given order, and its reasons."""

    stages: tuple[Stage, ...]
    scores: tuple[float, ...]
    threshold: float  # the highest score that went to SFT; where reversed, the lowest
    tied_at_threshold: int  # how many scores equal it
    identity: Mapping[str, Any] = field(default_factory=dict)  # what the scores depend on
    cost: Mapping[str, float] = field(default_factory=dict)  # of measuring and routing, by quantity of the ledger

    def indices(self, stage: Stage) -> list[int]:
        """Return the positions of the trajectories sent to ``stage``."""
        return [number for number, chosen in enumerate(self.stages) if chosen == stage]


def save_allocation(path: Path, allocation: Allocation, trajectories: Sequence[Trajectory]) -> None:
    """Write ``allocation`` as JSON, one row per trajectory with its task."""
    content = asdict(allocation)
    stages, scores = content.pop("stages"), content.pop("scores")
    content["trajectories"] = [
        {"task_id": trajectory.task_id, "task_type": trajectory.task_type, "score": score, "stage": stage}
        for trajectory, score, stage in zip(trajectories, scores, stages, strict=True)
    ]
    write_atomically(path, json.dumps(content, indent=1))


def load_allocation(path: Path) -> Allocation:
    """Read a file of :func:`save_allocation`."""
    content = json.loads(path.read_text(encoding="utf-8"))
    rows = content.pop("trajectories")
    return Allocation(stages=tuple(row["stage"] for row in rows), scores=tuple(row["score"] for row in rows), **content)


def load_routed(path: Path) -> tuple[list[str | None], list[str | None]]:
    """Return the task and the task type of every trajectory in a file of :func:`save_allocation`."""
    rows = json.loads(path.read_text(encoding="utf-8"))["trajectories"]
    return [row["task_id"] for row in rows], [row["task_type"] for row in rows]
