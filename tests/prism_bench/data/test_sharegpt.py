import json
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prism_bench.commands.sharegpt import export_main, import_main
from prism_bench.data.sharegpt import export_conversations, import_conversations
from prism_bench.data.trajectory import Step, Trajectory, load_trajectories, tasks_of
from prism_bench.errors import InputError

ARCHIVE = Path(__file__).resolve().parents[4] / "shared" / "data" / "alfworld" / "expert_text_v2.1.1.tar.xz"


def conversation(*values: str) -> list[dict[str, str]]:
    return [{"from": ("human", "gpt")[number % 2], "value": value} for number, value in enumerate(values)]


def read(tmp_path: Path, content: object, name: str = "data.json") -> list[Trajectory]:
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return import_conversations(path)


PLAIN = conversation("You see a mug.", "take mug 1", "You pick up the mug.", "go to shelf 1")


def test_a_bare_conversation_is_an_expert_episode(tmp_path):
    assert read(tmp_path, PLAIN) == [
        Trajectory(
            task_id=None,
            task_type=None,
            source="import:data.json",
            steps=(Step("You see a mug.", "take mug 1", 0.0), Step("You pick up the mug.", "go to shelf 1", 1.0)),
            score=1.0,
            success=True,
        )
    ]


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ([PLAIN, PLAIN], "list.json"),
        ([{"conversations": PLAIN, "item_id": "alfworld_7"}, {"conversations": PLAIN}], "records.json"),
        (f"{json.dumps(PLAIN)}\n\n{json.dumps({'conversations': PLAIN})}\n", "lines.jsonl"),
        ("\ufeff" + json.dumps([PLAIN, PLAIN]), "marked.json"),
    ],
)
def test_lists_records_and_lines_are_read(tmp_path, content, name):
    trajectories = read(tmp_path, content, name)
    assert [trajectory.steps for trajectory in trajectories] == [read(tmp_path, PLAIN)[0].steps] * 2
    assert [trajectory.task_id for trajectory in trajectories] == [None, None]


def test_folders_are_read_in_the_order_of_their_paths(tmp_path):
    for name in ("b/gt_traj.json", "a/2/gt_traj.json", "a/1/gt_traj.json"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(json.dumps(PLAIN))
    (tmp_path / "README.md").write_text("not data")
    sources = [trajectory.source for trajectory in import_conversations(tmp_path)]
    assert sources == ["import:a/1/gt_traj.json", "import:a/2/gt_traj.json", "import:b/gt_traj.json"]


@pytest.mark.parametrize(
    "acknowledgement", ["OK", "Ok.", "OK. I'll follow your instructions and try my best to solve the task.", "Okay!"]
)
def test_an_instruction_and_its_acknowledgement_are_left_out(tmp_path, acknowledgement):
    (trajectory,) = read(tmp_path, conversation("Play a game.", acknowledgement, "You see a mug.", "take mug 1"))
    assert trajectory.steps == (Step("You see a mug.", "take mug 1", 1.0),)


def test_a_system_message_is_left_out(tmp_path):
    (trajectory,) = read(tmp_path, [{"from": "system", "value": "Play."}, *PLAIN])
    assert trajectory.steps == read(tmp_path, PLAIN)[0].steps


def test_a_completion_with_a_thought_is_kept_beside_its_action(tmp_path):
    completion = "Thought: it may be on Action: look shelf.\nAction: go to shelf 1\n"
    (trajectory,) = read(
        tmp_path, conversation("Observation: You see a mug.", completion, "Observation: Done.", "look")
    )
    assert trajectory.steps == (
        Step("You see a mug.", "go to shelf 1", 0.0, completion),
        Step("Done.", "look", 1.0),
    )


def test_a_last_observation_without_a_completion_is_no_step(tmp_path):
    assert read(tmp_path, [*PLAIN, {"from": "human", "value": "You won."}]) == read(tmp_path, PLAIN)


def test_facts_of_a_record_are_kept(tmp_path):
    record = {"conversations": PLAIN, "task_id": "7", "task_type": "pick", "score": 0.5, "success": False}
    (trajectory,) = read(tmp_path, [record])
    assert (trajectory.task_id, trajectory.task_type) == ("7", "pick")
    assert (trajectory.score, trajectory.success, trajectory.steps[-1].reward) == (0.5, False, 0.5)


@pytest.mark.parametrize(
    ("content", "name", "reason"),
    [
        ('[\n{"from": "human",\n "value" 3}]', "d.json", r"d\.json: line 3, column 10: not JSON \(Expecting ':'"),
        ("", "d.json", r"d\.json: line 1, column 1: not JSON"),
        (json.dumps(PLAIN) + "\n{", "d.jsonl", r"d\.jsonl: line 2, column 2: not JSON"),
        (
            json.dumps(PLAIN) + '\n{"a": 1}',
            "d.jsonl",
            r"d\.jsonl: line 2: conversations: field required; expected a conv.* list",
        ),
        ([], "d.json", r"d\.json: there are no conversations in it"),
        ([PLAIN, []], "d.json", r"d\.json: conversation 1: the conversation has no completion"),
        ([PLAIN, PLAIN[:1]], "d.json", r"d\.json: conversation 1: the conversation has no completion"),
        ([PLAIN, {"text": "hello"}], "d.json", r"d\.json: conversation 1: conversations: field required; "),
        ([PLAIN, 3], "d.json", r"d\.json: conversation 1: found 3, expected a conversation, a list of"),
        (
            {"conversations": "hello"},
            "d.json",
            r"d\.json: conversations: .*valid tuple, found 'hello'; expected a conversation",
        ),
        (
            [[*PLAIN, 3]],
            "d.json",
            r"conversation 0: conversations 4: input should be .*, found 3; expected a conversation",
        ),
        (PLAIN[1:], "d.json", r"d\.json, message 0: from is 'gpt', expected 'human'"),
        ([PLAIN + PLAIN[1:]], "d.json", r"conversation 0, message 4: from is 'gpt', expected 'human', since .*turns"),
        ([[*PLAIN, {"from": "human"}]], "d.json", r"conversation 0: conversations 4, value: field required"),
        ([[*PLAIN, {"from": "human", "value": 3}]], "d.json", r"conversations 4, value: .*valid string, found 3"),
        ([{"conversations": PLAIN, "score": "high"}], "d.json", r"conversation 0: score: .*number, found 'high'"),
        ([{"conversations": PLAIN, "score": True}], "d.json", r"conversation 0: score: .*number, found True"),
        ([{"conversations": PLAIN, "score": float("nan")}], "d.json", r"conversation 0: score: .*finite.*, found nan"),
        ([{"conversations": PLAIN, "success": 1}], "d.json", r"conversation 0: success: .*boolean, found 1"),
        ([{"conversations": PLAIN, "task_id": 7}], "d.json", r"conversation 0: task_id: .*string, found 7"),
    ],
)
def test_what_is_no_conversation_is_named_by_file_place_and_reason(tmp_path, content, name, reason):
    with pytest.raises(InputError, match=reason) as caught:
        read(tmp_path, content, name)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_text_or_not_there_are_named(tmp_path):
    (tmp_path / "d.json").write_bytes(b"[\xff\xfe]")
    with pytest.raises(InputError, match=r"d\.json: not UTF-8 text \(invalid start byte at byte 1\)"):
        import_conversations(tmp_path / "d.json")
    with pytest.raises(InputError, match=r"e\.json: cannot be read \(No such file or directory\)"):
        import_conversations(tmp_path / "e.json")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: there are no conversations in it"):
        import_conversations(tmp_path / "empty")


LINES = st.text(min_size=1).filter(lambda text: "Action:" not in text and not text.startswith("Observation:"))
STEPS = st.builds(Step, LINES, LINES.map(str.strip), st.just(0.0))
THOUGHTS = st.builds(
    lambda step, thought: replace(step, action="go to shelf 1", completion=f"{thought}\nAction: go to shelf 1"),
    STEPS,
    LINES,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(STEPS | THOUGHTS, min_size=1, max_size=4),
    task=st.none() | st.text(),
    success=st.booleans(),
    suffix=st.sampled_from([".json", ".jsonl"]),
)
def test_what_is_exported_is_imported_again(tmp_path, steps, task, success, suffix):
    if steps[0].action.lower().startswith("ok"):
        return  # taken for the acknowledgement of an instruction
    last = replace(steps[-1], reward=0.25)
    trajectory = Trajectory(task, "pick", "expert:search", (*steps[:-1], last), 0.25, success)
    path = tmp_path / f"out{suffix}"
    export_conversations([trajectory, trajectory], path)
    assert import_conversations(path) == [trajectory, trajectory]


def test_an_export_is_the_published_layout(tmp_path):
    steps = (Step("You see a mug.", "take mug 1", 1.0, "Thought: mine.\nAction: take mug 1", ("look", "take mug 1")),)
    export_conversations([Trajectory("t", None, "expert:search", steps, 1.0, True, 10, 3)], tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text()) == [
        {
            "conversations": [
                {"from": "human", "value": "You see a mug."},
                {"from": "gpt", "value": "Thought: mine.\nAction: take mug 1"},
            ],
            "task_id": "t",
            "source": "expert:search",
            "score": 1.0,
            "success": True,
        }
    ]


def test_imports_serve_sft_but_not_rl(tmp_path):
    with pytest.raises(InputError, match=r"trajectory 0 \(import:data\.json\) has no task id"):
        tasks_of(read(tmp_path, PLAIN))


def test_the_command_converts_there_and_back(tmp_path, capsys):
    source, table, target = tmp_path / "in.json", tmp_path / "out.parquet", tmp_path / "again.json"
    source.write_text(json.dumps([PLAIN] * 3))
    import_main([str(source), str(table)])
    export_main([str(table), str(target)])
    assert capsys.readouterr().out.count("3 episodes, 6 steps") == 2
    assert import_conversations(target) == load_trajectories(table)


def test_the_command_keeps_the_task_that_a_record_names(tmp_path):
    record = {"conversations": PLAIN, "item_id": "webshop_6"}
    (tmp_path / "in.json").write_text(json.dumps([record, {"conversations": PLAIN}]))
    for options, tasks in ((["--task", "item_id"], ["webshop_6", None]), ([], [None, None])):
        import_main([str(tmp_path / "in.json"), str(tmp_path / "out.parquet"), *options])
        assert [episode.task_id for episode in load_trajectories(tmp_path / "out.parquet")] == tasks


def test_the_command_ends_with_one_sentence_and_a_status(tmp_path, capsys):
    source = tmp_path / "in.json"
    source.write_text("[1, 2]")
    with pytest.raises(SystemExit) as refusal:
        import_main([str(source), str(tmp_path / "out.parquet")])
    assert refusal.value.code == 1
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.strip().count("\n") == 0
    assert f"{source}: conversation 0: found 1, expected a conversation" in printed.err
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.slow
def test_all_published_expert_episodes_are_read(tmp_path):
    if not ARCHIVE.exists():
        pytest.skip(f"needs the published expert episodes; there is no {ARCHIVE}")
    with tarfile.open(ARCHIVE) as tar:
        tar.extractall(tmp_path / "data", filter="data")
    trajectories = import_conversations(tmp_path / "data")
    assert len(trajectories) == 3554
    assert sum(len(trajectory.steps) for trajectory in trajectories) == 60628
    verbs = {step.action.split()[0] for trajectory in trajectories for step in trajectory.steps}
    assert verbs == {"go", "open", "close", "take", "put", "clean", "cool", "heat", "use", "examine"}
    assert all("Your task is to: " in trajectory.steps[0].observation for trajectory in trajectories)
    export_conversations(trajectories, tmp_path / "all.json")
    assert import_conversations(tmp_path / "all.json") == trajectories
