"""Episodes that the page shows, collected from run folders of a corridor that nobody has walked."""

import base64
import gzip
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import example_runs
import pytest
from corridor import Corridor

from prism_bench.comparison.counterparts import Wanted
from prism_bench.comparison.episodes import Episodes, collect_episodes
from prism_bench.comparison.gather import gather
from prism_bench.comparison.packing import TEXT_LENGTH, packed_episodes
from prism_bench.comparison.record import Comparison
from prism_bench.data.trajectory import Step, Trajectory, save_trajectories
from prism_bench.results.outcomes import Outcome
from prism_bench.results.result import write_result
from prism_bench.routing.allocation import save_allocation
from prism_bench.routing.router import split

TASKS = Corridor.task_ids
STAGES = ("base", "sft", "rl")
WON = {"base": 0.2, "sft": 0.5, "rl": 0.8}


class East(Corridor):
    """The corridor as one split of an environment."""

    def __init__(self, split: str) -> None:
        super().__init__()
        self.split = split


ENVIRONMENT = {"make": {"_target_": f"{__name__}.East"}, "expert": "straight"}


def kind(task: str) -> str:
    return "east" if task[0] < task[2] else "west"


def episode(task: str, won: bool, action: str = "go east") -> Trajectory:
    return Trajectory(task, kind(task), "policy", (Step("You are in a room.", action, float(won)),), float(won), won)


def wins(stage: str, task: str, name: str) -> bool:
    """Return a made-up outcome; the base model's is the same in all runs."""
    return (TASKS.index(task) * 7 + (len(name) if stage != "base" else 0)) % 10 < 10 * WON[stage]


def write_run(folder: Path, name: str, seed: int, environment: dict[str, Any] = ENVIRONMENT) -> None:
    """Write a run folder with its result, allocation and files of episodes."""
    folder.mkdir(parents=True)
    files, outcomes = {}, []
    for stage in STAGES:
        path = folder.parent / f"{'base' if stage == 'base' else folder.name + stage}-{seed}.parquet"
        save_trajectories([episode(task, wins(stage, task, name), f"{stage} of {name}") for task in TASKS], path)
        files[f"episodes {stage} test"] = str(path)
        outcomes += [
            Outcome(stage, "test", task, kind(task), wins(stage, task, name), float(wins(stage, task, name)), 1)
            for task in TASKS
        ]
    demonstrations = [episode(task, True) for task in TASKS]
    save_trajectories(demonstrations, folder / "demonstrations.parquet")
    save_allocation(
        folder / "allocation.json", split([float(len(name) * n % 13) for n in range(len(TASKS))]), demonstrations
    )
    result = example_runs.run(
        STAGES, name, seed, outcomes=outcomes, files=files | {"demonstrations": "demonstrations.parquet"},
        config={"env": environment, "modules": [__name__], "name": name},
    )  # fmt: skip
    write_result(folder / "result.json", result)


@pytest.fixture
def made(tmp_path: Path) -> Comparison:
    for name in ("prism", "loss"):
        for seed in (3, 1):
            write_run(tmp_path / f"{name}-{seed}", name, seed)
    return gathered(tmp_path)


def gathered(root: Path) -> Comparison:
    folders = sorted(path.parent for path in root.glob("*/result.json"))
    return gather(folders, Wanted({"router": "loss"}, {}, 0.6), root=root)


def test_policies_are_the_expert_the_base_model_they_share_and_every_final_policy(made, tmp_path):
    found = collect_episodes(made, tmp_path)
    names = [configuration.name for configuration in made.configurations]
    assert found.seed == 1 and found.notes == []
    assert [(policy.name, policy.stage) for policy in found.policies] == [
        ("expert", "expert"),
        ("base model", "base"),
        *((name, "final") for name in names),
    ]
    assert found.policies[1].configurations == names
    for task in found.evaluated:
        assert task.episodes.keys() == {0, 1, 2, 3} and task.task_type == kind(task.task_id)
        assert task.episodes[0].success and task.episodes[0].source == "expert:straight"
        assert task.episodes[1].steps[0].action.startswith("base of ")
        for number in (2, 3):
            router = next(run.routing for run in made.runs if run.configuration == names[number - 2])
            assert router is not None
            assert task.episodes[number].steps[0].action == f"rl of {names[number - 2].partition('-')[0]}"


def test_tasks_are_bounded_and_first_those_on_which_policies_differ(made, tmp_path):
    found = collect_episodes(made, tmp_path, tasks=12, demonstrations=10)
    assert len(found.evaluated) == 12 and len(found.demonstrations) == 10
    assert Counter(each.trajectory.task_type for each in found.demonstrations) == {"east": 5, "west": 5}
    differing = [len({task.episodes[number].success for number in (1, 2, 3)}) > 1 for task in found.evaluated]
    assert all(differing)
    everything = collect_episodes(made, tmp_path, tasks=1000).evaluated
    assert len({task.task_id for task in everything}) == len(TASKS)


def test_demonstrations_have_what_every_router_decided(made, tmp_path):
    found = collect_episodes(made, tmp_path, demonstrations=1000)
    assert len(found.demonstrations) == len(TASKS)
    for run in made.runs:
        if run.seed == found.seed and run.routing is not None:
            shown = {each.trajectory.task_id: each.decisions[run.configuration] for each in found.demonstrations}
            wanted = zip(TASKS, zip(run.routing.to_rl, run.routing.scores, strict=True), strict=True)
            assert shown == {task: (flag == "1", score) for task, (flag, score) in wanted}


def test_what_is_gone_is_a_note_and_the_rest_is_shown(made, tmp_path):
    (tmp_path / "prism-1rl-1.parquet").unlink()
    found = collect_episodes(made, tmp_path)
    assert len(found.notes) == 1 and "there is no such file" in found.notes[0] and "prism" in found.notes[0]
    assert all(len(task.episodes) == 3 for task in found.evaluated)
    (tmp_path / "loss-1" / "result.json").unlink()
    found = collect_episodes(made, tmp_path)
    assert any("the folder of this run is gone" in note for note in found.notes)
    assert collect_episodes(made, tmp_path / "elsewhere").evaluated == []


def test_results_that_do_not_name_their_episodes_leave_one_note_each(made, tmp_path):
    for name in ("prism-1", "loss-1"):
        path = tmp_path / name / "result.json"
        content = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps(content | {"files": {}}), encoding="utf-8")
    found = collect_episodes(made, tmp_path)
    assert [note.partition(":")[0] for note in found.notes] == ["loss-1", "prism-1"]
    assert all(task.episodes.keys() == {0} for task in found.evaluated)


def test_an_expert_that_cannot_be_asked_is_a_note(tmp_path):
    write_run(tmp_path / "prism-1", "prism", 1, ENVIRONMENT | {"expert": "nobody"})
    found = collect_episodes(gathered(tmp_path), tmp_path)
    assert len(found.notes) == 1 and "no expert called 'nobody'" in found.notes[0]
    assert all(0 not in task.episodes and len(task.episodes) == 2 for task in found.evaluated)


def test_packed_episodes_have_every_text_once_and_shorten_long_ones(made, tmp_path):
    found = collect_episodes(made, tmp_path)
    long = episode("1-2", True, "x" * (TEXT_LENGTH + 7))
    found = replace(found, demonstrations=[replace(found.demonstrations[0], trajectory=long)])
    packed, shown = packed_episodes(found)
    content = json.loads(gzip.decompress(base64.b64decode(packed)))
    assert shown == found and len(content["texts"]) == len(set(content["texts"]))
    assert [len(content["evaluated"]), len(content["demonstrations"])] == [len(found.evaluated), 1]
    assert content["texts"][content["demonstrations"][0]["episodes"]["0"]["steps"][0][1]].endswith(
        "x… (7 more characters)"
    )


def test_too_many_episodes_are_thinned_out_with_a_note(made, tmp_path, monkeypatch):
    found: Episodes = collect_episodes(made, tmp_path)
    monkeypatch.setattr("prism_bench.comparison.packing.PACKED_BYTES", 900)
    _, shown = packed_episodes(found)
    assert 0 < len(shown.evaluated) < len(found.evaluated)
    assert shown.notes == ["Some tasks are left out, so that the page stays small."]
