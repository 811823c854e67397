"""One episode as data: what was seen, what was done, what it earned.

A :class:`Trajectory` is the only form in which episodes travel: experts and policies write them, routers score them,
SFT imitates them, RL plays their tasks, evaluation counts them. On disk they are a Parquet file, one row per episode,
that ``datasets`` writes and can load; here it is read by pyarrow directly, without the copy that ``datasets`` caches.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
from datasets import Dataset, Features, List, Value

from prism_bench.errors import InputError
from prism_bench.files import atomic_path


@dataclass(frozen=True, slots=True)
class Step:
    """One turn: the observation the agent answered, its action, the reward of that action.

    ``completion`` is all the agent wrote where that is more than the action (a thought, say); ``admissible_actions`` are
    kept only where a prompt lists them. ``truncated`` says that a policy's reply reached its longest length before its end:
    the end-of-turn token behind it is not the policy's.
    """

    observation: str
    action: str
    reward: float
    completion: str | None = None
    admissible_actions: tuple[str, ...] = ()
    truncated: bool = False


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
                "completion": Value("string"),
                "admissible_actions": List(Value("string")),
                "truncated": Value("bool"),
            }
        ),
        "score": Value("float64"),
        "success": Value("bool"),
        "context_tokens": Value("int64"),
        "agent_tokens": Value("int64"),
    }
)


def save_trajectories(trajectories: Iterable[Trajectory], path: Path) -> None:
    """Write ``trajectories`` to the Parquet file ``path``, whole or not at all.

    Raises:
        InputError: a text cannot be stored, because it holds half a surrogate pair.
    """
    rows = [asdict(trajectory) for trajectory in trajectories]
    columns = {field.name: [row[field.name] for row in rows] for field in fields(Trajectory)}
    try:
        dataset = Dataset.from_dict(columns, features=_FEATURES)
    except UnicodeEncodeError as error:
        raise InputError(f"{path}: cannot be written, a text is not valid Unicode ({error})") from None
    with atomic_path(path) as temporary:
        dataset.to_parquet(str(temporary))


def load_trajectories(path: Path) -> list[Trajectory]:
    """Read the Parquet file ``path``.

    Raises:
        InputError: the file is missing, damaged, of another kind, or a row contradicts itself.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such file of trajectories")
    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})") from None
    missing = [name for name in _FEATURES if name not in table.column_names]
    if missing:
        raise InputError(
            f"{path}: not a file of trajectories, it lacks the column(s) {', '.join(missing)}; "
            "write one with prism-bench collect or import one with prism-bench import"
        )
    return [_from_row(row, f"{path}: row {number}") for number, row in enumerate(table.to_pylist())]


_EPISODE_TYPES: dict[str, tuple[type, ...]] = {
    "task_id": (str, type(None)),
    "task_type": (str, type(None)),
    "source": (str,),
    "steps": (list,),
    "score": (int, float),
    "success": (bool,),
    "context_tokens": (int, type(None)),
    "agent_tokens": (int, type(None)),
}
_STEP_TYPES: dict[str, tuple[type, ...]] = {
    "observation": (str,),
    "action": (str,),
    "reward": (int, float),
    "completion": (str, type(None)),
    "admissible_actions": (list, type(None)),
    "truncated": (bool,),
}


def _from_row(row: dict[str, Any], where: str) -> Trajectory:
    _check(row, _EPISODE_TYPES, where)
    if not row["steps"]:
        raise InputError(f"{where}: the episode has no steps")
    for number, step in enumerate(row["steps"]):
        _check(step, _STEP_TYPES, f"{where}, step {number}")
    steps = tuple(
        Step(
            observation=step["observation"],
            action=step["action"],
            reward=float(step["reward"]),
            completion=step["completion"],
            admissible_actions=tuple(step["admissible_actions"] or ()),
            truncated=step["truncated"],
        )
        for step in row["steps"]
    )
    return Trajectory(**{field.name: row[field.name] for field in fields(Trajectory)} | {"steps": steps})


def _check(values: Any, types: dict[str, tuple[type, ...]], where: str) -> None:
    """Raise a InputError unless every value is there, of its type and, being a number, finite."""
    missing = [name for name in types if not isinstance(values, dict) or name not in values]
    if missing:
        raise InputError(f"{where}: {', '.join(missing)} missing")
    for name, expected in types.items():
        value = values[name]
        if not isinstance(value, expected) or (isinstance(value, float) and not math.isfinite(value)):
            kinds = " or ".join("None" if kind is type(None) else kind.__name__ for kind in expected)
            finite = ", and finite" if float in expected else ""
            raise InputError(f"{where}: {name} is {value!r}, expected {kinds}{finite}")


def tasks_of(trajectories: Sequence[Trajectory]) -> list[str]:
    """Return the task of every trajectory.

    Raises:
        InputError: one of them does not say which task it played, so that nobody can play it again.
    """
    for number, trajectory in enumerate(trajectories):
        if trajectory.task_id is None:
            raise InputError(
                f"trajectory {number} ({trajectory.source}) has no task id, so RL cannot play its task: "
                "use imported text for SFT and the probe only"
            )
    return [trajectory.task_id for trajectory in trajectories if trajectory.task_id is not None]
