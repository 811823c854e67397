"""One episode as data: observations, actions and rewards.

Every part of the program exchanges episodes as :class:`Trajectory`: experts and policies write them, routers score
them, SFT trains on them, RL takes their tasks, evaluation counts them. On disk they are a Parquet file with one row per
episode. ``datasets`` writes it and can load it; here pyarrow reads it, without the copy that ``datasets`` caches, and
pydantic checks every value.
"""

from collections.abc import Iterable, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Annotated

import pyarrow
import pyarrow.parquet
from datasets import Dataset, Features, List, Value
from pydantic import Field, Strict, TypeAdapter, ValidationError

from prism_bench.errors import InputError, first_mistake
from prism_bench.files import atomic_path

# Nothing is converted: pydantic would read "1" as a number and 1 as true. Dicts and lists stand for objects and tuples.
Text = Annotated[str, Strict()]
Flag = Annotated[bool, Strict()]
Count = Annotated[int, Field(strict=True, ge=0)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class Step:
    """One turn: an observation, the agent's action, the reward of that action.

    Attributes:
        observation: the text that the agent answered.
        action: the text that the environment got.
        reward: of this action.
        completion: everything the agent wrote, if it is more than the action (a thought, say).
        admissible_actions: kept only where a prompt lists them.
        truncated: the completion reached its maximum length before its end; the end-of-turn token after it is not the
            policy's.
    """

    observation: Text
    action: Text
    reward: Number
    completion: Text | None = None
    admissible_actions: tuple[Text, ...] = ()
    truncated: Flag = False


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One finished episode.

    Attributes:
        task_id: the task; None for imported text without it. Such text serves SFT and the probe, not RL.
        task_type: the environment's name for this kind of task, where it is known.
        source: who acted: ``expert:<name>``, ``policy:<checkpoint digest>``, ``import:<file>``.
        steps: one or more.
        score: the environment's, 0 to 1.
        success: True if the task was solved.
        context_tokens, agent_tokens: tokens that a policy read and wrote; None without a model.
        regime: how the task departs from what models are taught, where the environment knows it.
    """

    task_id: Text | None
    task_type: Text | None
    source: Text
    steps: Annotated[tuple[Step, ...], Field(min_length=1)]
    score: Number
    success: Flag
    context_tokens: Count | None = None
    agent_tokens: Count | None = None
    regime: Text | None = None


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
        "regime": Value("string"),
    }
)
_OPTIONAL = {field.name for field in fields(Trajectory) if field.default is not MISSING}
_ROWS = TypeAdapter(list[Trajectory])


def save_trajectories(trajectories: Iterable[Trajectory], path: Path) -> None:
    """Write ``trajectories`` to the Parquet file ``path``, whole or not at all.

    Raises:
        InputError: a text cannot be stored, because it holds one code point of a surrogate pair without the other.
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
    """Read the Parquet file ``path``; other columns are ignored.

    Raises:
        InputError: the file is missing, damaged or of another kind, or a value is missing or of another type.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such file of trajectories")
    try:
        table = pyarrow.parquet.read_table(path)
        missing = [name for name in _FEATURES if name not in {*table.column_names, *_OPTIONAL}]
        rows = [] if missing else table.select([n for n in _FEATURES if n in table.column_names]).to_pylist()
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})") from None
    if missing:
        raise InputError(
            f"{path}: not a file of trajectories, it lacks the column(s) {', '.join(missing)}; "
            "write one with prism-bench collect or import one with prism-bench import"
        )
    try:
        return _ROWS.validate_python(rows)
    except ValidationError as error:
        raise InputError(f"{path}: {first_mistake(error, 'row')}") from None


def count_trajectories(path: Path) -> int:
    """Return how many trajectories a file of :func:`save_trajectories` has, without reading them.

    Raises:
        InputError: the file is missing or no Parquet file.
    """
    try:
        rows: int = pyarrow.parquet.read_metadata(path).num_rows
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})") from None
    return rows


def tasks_of(trajectories: Sequence[Trajectory]) -> list[str]:
    """Return the task of every trajectory.

    Raises:
        InputError: a trajectory has no task id, so its task cannot be rolled out.
    """
    for number, trajectory in enumerate(trajectories):
        if trajectory.task_id is None:
            raise InputError(
                f"trajectory {number} ({trajectory.source}) has no task id, so RL cannot roll out its task: "
                "use imported text for SFT and the probe only"
            )
    return [trajectory.task_id for trajectory in trajectories if trajectory.task_id is not None]
