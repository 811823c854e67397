import dataclasses
import json

import datasets
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prism_bench.data.trajectory import Step, Trajectory, load_trajectories, save_trajectories, tasks_of
from prism_bench.errors import InputError

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
STEPS = st.builds(
    Step,
    st.text(),
    st.text(),
    NUMBERS,
    st.none() | st.text(),
    st.lists(st.text(), max_size=3).map(tuple),
    st.booleans(),
)
TRAJECTORIES = st.builds(
    Trajectory,
    task_id=st.none() | st.text(),
    task_type=st.none() | st.text(),
    source=st.text(),
    steps=st.lists(STEPS, min_size=1, max_size=4).map(tuple),
    score=NUMBERS,
    success=st.booleans(),
    context_tokens=st.none() | st.integers(0, 2**40),
    agent_tokens=st.none() | st.integers(0, 2**40),
)
ONE = Trajectory("task-1", "pick", "expert:search", (Step("You see a mug.", "take mug 1", 1.0),), 1.0, True)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(TRAJECTORIES, max_size=5))
def test_what_is_written_is_read_back(tmp_path, trajectories):
    path = tmp_path / "new" / "episodes.parquet"
    save_trajectories(trajectories, path)
    assert load_trajectories(path) == trajectories
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_the_file_is_one_that_datasets_loads(tmp_path):
    path = tmp_path / "episodes.parquet"
    save_trajectories([ONE, ONE], path)
    loaded = datasets.Dataset.from_parquet(str(path), cache_dir=str(tmp_path / "cache"))
    assert loaded[1]["steps"][0]["action"] == "take mug 1"
    assert loaded.num_rows == 2


def test_trajectories_do_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ONE.score = 0.0


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "episodes.parquet"
    save_trajectories([ONE], path)
    broken = dataclasses.replace(ONE, source="\ud800")
    with pytest.raises(InputError, match=r"episodes\.parquet: cannot be written, a text is not valid Unicode"):
        save_trajectories([ONE, broken], path)
    assert load_trajectories(path) == [ONE]

    def interrupted():
        yield ONE
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_trajectories(interrupted(), path)
    assert load_trajectories(path) == [ONE]
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(datasets.Dataset, "to_parquet", full)
    with pytest.raises(InputError, match=r"cannot be written \(No space left"):
        save_trajectories([ONE], tmp_path / "episodes.parquet")
    assert not list(tmp_path.iterdir())


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.parquet: there is no such file of trajectories"):
        load_trajectories(tmp_path / "nowhere.parquet")


def test_damaged_files_are_named(tmp_path):
    path = tmp_path / "episodes.parquet"
    save_trajectories([ONE] * 50, path)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"PAR1", b"[]" * 100, whole[:-8] + b"\xff\xff\xff\x7fPAR1"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"episodes\.parquet: not a readable Parquet file \(.+\)$"):
            load_trajectories(path)


def test_a_damaged_page_is_noticed(tmp_path):
    path = tmp_path / "episodes.parquet"
    save_trajectories([ONE] * 50, path)
    content = bytearray(path.read_bytes())
    content[4:60] = b"\x00" * 56
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match=r"episodes\.parquet: "):
        load_trajectories(path)


def test_text_that_is_not_utf8_is_noticed(tmp_path):
    path = tmp_path / "episodes.parquet"
    rows = pyarrow.Table.from_pylist([ROW])
    broken = pyarrow.array([b"\xff"]).view(pyarrow.string())
    pyarrow.parquet.write_table(rows.set_column(rows.column_names.index("source"), "source", broken), path)
    with pytest.raises(InputError, match=r"episodes\.parquet: not a readable Parquet file \('utf-8'.*\)$"):
        load_trajectories(path)


STEP = {
    "observation": "o",
    "action": "a",
    "reward": 1.0,
    "completion": None,
    "admissible_actions": [],
    "truncated": False,
}
ROW = {
    "task_id": None,
    "task_type": None,
    "source": "import:x",
    "steps": [STEP],
    "score": 1.0,
    "success": True,
    "context_tokens": None,
    "agent_tokens": None,
}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"steps": []}, r"row 0, steps: tuple should have at least 1 item"),
        ({"steps": None}, r"row 0, steps: input should be a valid tuple, found None"),
        ({"steps": "go"}, r"row 0, steps: input should be a valid tuple, found 'go'"),
        ({"steps": [STEP, STEP | {"action": None}]}, r"row 0, steps 1, action: input should be a valid string, .*None"),
        ({"steps": [STEP | {"observation": 3}]}, r"row 0, steps 0, observation: .*string, found 3$"),
        ({"steps": [STEP | {"reward": float("nan")}]}, r"row 0, steps 0, reward: .*finite number, found nan"),
        ({"steps": [{"action": "a"}]}, r"row 0, steps 0, observation: field required$"),
        ({"steps": [STEP | {"admissible_actions": [None]}]}, r"row 0, steps 0, admissible_actions 0: .*string"),
        ({"steps": [STEP | {"truncated": None}]}, r"row 0, steps 0, truncated: input should be a valid boolean"),
        ({"score": None}, r"row 0, score: input should be a valid number, found None"),
        ({"score": float("inf")}, r"row 0, score: .*finite number, found inf"),
        ({"score": "1.0"}, r"row 0, score: input should be a valid number, found '1.0'"),
        ({"success": None}, r"row 0, success: input should be a valid boolean, found None"),
        ({"success": 1}, r"row 0, success: input should be a valid boolean, found 1"),
        ({"source": None}, r"row 0, source: input should be a valid string"),
        ({"source": b"bytes"}, r"row 0, source: input should be a valid string"),
        ({"task_id": 7}, r"row 0, task_id: input should be a valid string, found 7"),
        ({"agent_tokens": "many"}, r"row 0, agent_tokens: input should be a valid integer, found 'many'"),
        ({"agent_tokens": 2.0}, r"row 0, agent_tokens: input should be a valid integer, found 2.0"),
        ({"context_tokens": -1}, r"row 0, context_tokens: input should be greater than or equal to 0, found -1"),
    ],
)
def test_rows_that_contradict_themselves_are_named(tmp_path, change, reason):
    path = tmp_path / "episodes.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([ROW | change]), path)
    with pytest.raises(InputError, match=rf"episodes\.parquet: {reason}"):
        load_trajectories(path)


def test_the_row_is_counted_from_the_start_of_the_file(tmp_path):
    path = tmp_path / "episodes.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([ROW, ROW, ROW | {"success": None}]), path)
    with pytest.raises(InputError, match=r"episodes\.parquet: row 2, success: .*, found None"):
        load_trajectories(path)


def test_files_of_another_kind_are_refused_with_advice(tmp_path):
    path = tmp_path / "table.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"task_id": ["1"], "text": ["hello"]}), path)
    with pytest.raises(InputError, match=r"lacks the column\(s\) task_type, source, .*prism-bench import"):
        load_trajectories(path)
    path.write_text(json.dumps([ROW]))
    with pytest.raises(InputError, match="not a readable Parquet file"):
        load_trajectories(path)


def test_columns_that_we_do_not_know_are_no_harm(tmp_path):
    path = tmp_path / "episodes.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([ROW | {"comment": "a note"}]), path)
    (trajectory,) = load_trajectories(path)
    assert trajectory == Trajectory(None, None, "import:x", (Step("o", "a", 1.0),), 1.0, True)


def test_tasks_of_trajectories_without_one_are_refused_in_one_sentence():
    assert tasks_of([ONE, ONE]) == ["task-1", "task-1"]
    imported = dataclasses.replace(ONE, task_id=None, source="import:old.json")
    with pytest.raises(
        InputError, match=r"trajectory 1 \(import:old\.json\) has no task id, so RL cannot roll out its task"
    ):
        tasks_of([ONE, imported])
