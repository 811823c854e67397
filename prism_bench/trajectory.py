"""One episode as data: what was seen, what was done, what it earned.

A :class:`Trajectory` is the only form in which episodes travel: experts and policies write them, routers score them,
SFT imitates them, RL plays their tasks, evaluation counts them. On disk they are a Parquet file, one row per episode,
written and read through ``datasets``.
"""

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow
from datasets import Dataset, Features, List, Value
from datasets.exceptions import DatasetGenerationError

from prism_bench.files import atomic_path


class TrajectoryFileError(ValueError):
    """A file that does not hold trajectories; the message names the file, the place in it and the reason."""


@dataclass(frozen=True, slots=True)
class Step:
    """One turn: the observation the agent answered, its action, the reward of that action.

    ``reply`` is all the agent wrote where that is more than the action (a thought, say); ``admissible_actions`` are
    kept only where a prompt lists them.
    """

    observation: str
    action: str
    reward: float
    reply: str | None = None
    admissible_actions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One finished episode.

    ``task_id`` is None for imported text that does not say which task was played: it can be imitated and probed but
    not explored. ``source`` says who played: ``expert:<name>``, ``policy:<checkpoint digest>``, ``import:<file>``.
    ``context_tokens`` and ``agent_tokens`` count what a policy read and wrote; None where no model took part.
    """

    task_id: str | None
    task_type: str | None
    source: str
    steps: tuple[Step, ...]
    score: float
    success: bool
    context_tokens: int | None = None
    agent_tokens: int | None = None


_FEATURES = Features(
    {
        "task_id": Value("string"),
        "task_type": Value("string"),
        "source": Value("string"),
        "steps": List(
            {
                "observation": Value("string"),
                "action": Value("string"),
                "reward": Value("float64"),
                "reply": Value("string"),
                "admissible_actions": List(Value("string")),
            }
        ),
        "score": Value("float64"),
        "success": Value("bool"),
        "context_tokens": Value("int64"),
        "agent_tokens": Value("int64"),
    }
)


def save_trajectories(trajectories: Iterable[Trajectory], path: Path) -> None:
    """Write ``trajectories`` to the Parquet file ``path``, whole or not at all."""
    rows = [asdict(trajectory) for trajectory in trajectories]
    columns = {field.name: [row[field.name] for row in rows] for field in fields(Trajectory)}
    dataset = Dataset.from_dict(columns, features=_FEATURES)
    with atomic_path(path) as temporary:
        dataset.to_parquet(str(temporary))


def load_trajectories(path: Path) -> list[Trajectory]:
    """Read the Parquet file ``path``.

    Raises:
        TrajectoryFileError: the file is missing, damaged, of another kind, or a row contradicts itself.
    """
    if not path.is_file():
        raise TrajectoryFileError(f"{path}: there is no such file of trajectories")
    try:
        with tempfile.TemporaryDirectory() as cache:
            dataset = Dataset.from_parquet(str(path), cache_dir=cache, keep_in_memory=True)
    except (pyarrow.ArrowException, DatasetGenerationError) as error:
        raise TrajectoryFileError(f"{path}: not a readable Parquet file ({error.__cause__ or error})") from None
    assert isinstance(dataset, Dataset)
    missing = [name for name in _FEATURES if name not in dataset.column_names]
    if missing:
        raise TrajectoryFileError(
            f"{path}: not a file of trajectories, it lacks the column(s) {', '.join(missing)}; "
            "write one with python -m prism_bench.collect or import one with python -m prism_bench.sharegpt"
        )
    return [_from_row(row, f"{path}: row {number}") for number, row in enumerate(dataset.to_list())]


def _from_row(row: dict[str, Any], where: str) -> Trajectory:
    try:
        steps = tuple(
            Step(
                observation=step["observation"],
                action=step["action"],
                reward=float(step["reward"]),
                reply=step["reply"],
                admissible_actions=tuple(step["admissible_actions"] or ()),
            )
            for step in row["steps"]
        )
        trajectory = Trajectory(**{field.name: row[field.name] for field in fields(Trajectory)} | {"steps": steps})
    except (KeyError, TypeError) as error:
        raise TrajectoryFileError(f"{where}: a step is incomplete ({error!r})") from None
    if not steps:
        raise TrajectoryFileError(f"{where}: the episode has no steps")
    if any(not isinstance(text, str) for step in steps for text in (step.observation, step.action)):
        raise TrajectoryFileError(f"{where}: an observation or action is not text")
    return trajectory


def tasks_of(trajectories: Sequence[Trajectory]) -> list[str]:
    """Return the task of every trajectory.

    Raises:
        TrajectoryFileError: one of them does not say which task it played, so that nobody can play it again.
    """
    for number, trajectory in enumerate(trajectories):
        if trajectory.task_id is None:
            raise TrajectoryFileError(
                f"trajectory {number} ({trajectory.source}) has no task id, so RL cannot play its task: "
                "use imported text for SFT and the probe only"
            )
    return [trajectory.task_id for trajectory in trajectories if trajectory.task_id is not None]
