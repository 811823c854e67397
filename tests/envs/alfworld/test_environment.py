"""ALFWorld keeps the contract with either source and engine, and refuses options that it does not have."""

import importlib.util
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gymnasium
import pytest

from envs.alfworld.game import TASK_TYPES
from prism_bench.environments.check import check_environment
from prism_bench.environments.contract import INFO_KEYS, UnknownTaskError
from prism_bench.errors import InputError

OfficialData = Callable[[str], Path]

ID = "envs.alfworld:prism_bench/ALFWorld-v0"
FEW: dict[str, Any] = {"split": "train", "games": 30}
needs_textworld = pytest.mark.skipif(
    importlib.util.find_spec("textworld") is None or importlib.util.find_spec("alfworld") is None,
    reason="needs the extra `textworld`: pip install 'prism-bench[textworld]'",
)


@pytest.mark.parametrize("options", [{}, {"preset": "full"}, {"preset": "full", "split": "valid_unseen"}], ids=str)
@pytest.mark.parametrize("expert", ["search", "oracle"])
def test_generated_games_keep_the_contract(options: dict[str, Any], expert: str) -> None:
    check_environment(ID, **FEW | options, expert=expert, tasks=4)


@pytest.mark.parametrize("version", ["v2.1.1", "v2.1.2"])
@pytest.mark.parametrize("expert", ["search", "oracle"])
def test_official_games_keep_the_contract(official_data: OfficialData, version: str, expert: str) -> None:
    data = official_data(version)
    check_environment(ID, source="official", data=data, split="valid_seen", expert=expert, tasks=4)


def test_a_won_episode_terminates_with_reward_one() -> None:
    env = gymnasium.make(ID, **FEW)
    observation, info = env.reset(seed=0)
    expert = env.unwrapped.expert("search")
    expert.reset(observation, info)
    rewards, over = [], False
    while not over:
        observation, reward, terminated, truncated, info = env.step(expert.act(observation, info))
        rewards.append(reward)
        over = terminated or truncated
    assert terminated and not truncated
    assert rewards == [0.0] * (len(rewards) - 1) + [1.0]
    assert (info["score"], info["success"]) == (1.0, True)


def test_the_fiftieth_step_truncates() -> None:
    env = gymnasium.make(ID, **FEW)
    env.reset(seed=0)
    cut = [env.step("look")[3] for _ in range(50)]
    assert cut == [False] * 49 + [True]


def test_info_holds_nothing_that_a_policy_may_not_know() -> None:
    env = gymnasium.make(ID, **FEW)
    _, info = env.reset(seed=0)
    assert set(info) == {*INFO_KEYS, "regime"}
    _, _, _, _, info = env.step("look")
    assert set(info) == {*INFO_KEYS, "regime"}


def test_the_task_type_is_the_games() -> None:
    env = gymnasium.make(ID, split="train", preset="full", games=12)
    types = {env.reset(options={"task_id": task_id})[1]["task_type"] for task_id in env.unwrapped.task_ids}
    assert types == set(TASK_TYPES)


def types_after_reset(env: gymnasium.Env[str, str]) -> list[str]:
    return [env.reset(options={"task_id": task_id})[1]["task_type"] for task_id in env.unwrapped.task_ids]


def test_task_types_are_known_before_a_reset() -> None:
    env = gymnasium.make(ID, split="train", preset="full", games=24)
    assert list(env.unwrapped.task_types()) == types_after_reset(env)


def test_official_task_types_are_known_before_a_reset(official_data: OfficialData) -> None:
    env = gymnasium.make(ID, source="official", data=official_data("v2.1.2"), split="valid_seen")
    assert list(env.unwrapped.task_types()) == types_after_reset(env)


def test_an_unknown_task_is_refused_with_the_nearest() -> None:
    env = gymnasium.make(ID, **FEW)
    known = env.unwrapped.task_ids[3]
    with pytest.raises(UnknownTaskError, match=known):
        env.reset(options={"task_id": known[:-1]})
    for strange in (7, [known]):
        with pytest.raises(UnknownTaskError, match="there is no task"):
            env.reset(options={"task_id": strange})


def test_the_protocol_says_what_results_depend_on() -> None:
    protocol = gymnasium.make(ID, **FEW, seed=5, wording="put").unwrapped.protocol()
    expected = {"source": "generated", "split": "train", "tasks": 30, "engine": "native", "seed": 5, "wording": "put"}
    assert protocol.items() >= expected.items()
    assert json.loads(json.dumps(protocol)) == protocol


def test_the_protocol_says_what_the_default_leaves_out() -> None:
    protocol = gymnasium.make(ID).unwrapped.protocol()
    types = protocol["task_types"].split(", ")
    assert len(types) >= 2
    assert protocol["floor_plans"] >= 8
    assert protocol["restricted"].startswith(
        f"to {protocol['floor_plans']} of 108 floor plans, {len(types)} of 6 task types"
    )
    assert protocol["restricted"].endswith("; env.preset=full has no restriction")
    full = gymnasium.make(ID, preset="full").unwrapped.protocol()
    assert "restricted" not in full
    assert (full["floor_plans"], full["task_types"]) == (108, ", ".join(TASK_TYPES))
    one = gymnasium.make(ID, preset="full", task_types=[TASK_TYPES[0]]).unwrapped.protocol()
    assert one["restricted"].endswith("1 of 6 task types")


@pytest.mark.parametrize(
    ("version", "wording", "releases"), [("v2.1.1", "put", "up to v2.1.1"), ("v2.1.2", "move", "v2.1.2 or later")]
)
def test_the_protocol_of_official_games_says_which_release_they_are_from(
    official_data: OfficialData, version: str, wording: str, releases: str
) -> None:
    data = official_data(version)
    protocol = gymnasium.make(ID, source="official", data=data, split="valid_seen", preset="small", seed=0).unwrapped
    assert protocol.protocol() == {
        "source": "official",
        "split": "valid_seen",
        "tasks": 140,
        "floor_plans": 76,
        "task_types": ", ".join(TASK_TYPES),
        "engine": "native",
        "wording": wording,
        "data_version": releases,
    }


def test_the_protocol_of_official_games_counts_those_left_out_as_upstream_leaves_them_out(tmp_path: Path) -> None:
    folder = tmp_path / "json_2.1.1" / "train"
    for trial, solvable in {"trial_1": True, "trial_2": None, "trial_3": False}.items():
        for task in ("pick_and_place_simple-Mug-None-Desk-302", "pick_and_place_simple-PotatoSliced-None-Fridge-2"):
            (folder / task / trial).mkdir(parents=True)
            (folder / task / trial / "traj_data.json").write_text('{"task_type": "pick_and_place_simple"}')
            (folder / task / trial / "game.tw-pddl").write_text(json.dumps({"solvable": solvable}))
    protocol = gymnasium.make(ID, source="official", data=tmp_path, engine="textworld").unwrapped.protocol()
    assert (protocol["tasks"], protocol["left_out"]) == (
        1,
        "2 not marked as solvable, 3 with movable receptacles or slices",
    )


def test_environments_made_alike_share_their_games() -> None:
    options = FEW | {"task_types": [TASK_TYPES[0]], "floor_plans": [401, 402]}
    first, second = (gymnasium.make(ID, **options).unwrapped for _ in range(2))
    assert first.task_ids is second.task_ids
    assert first.game(first.task_ids[3]) is second.game(first.task_ids[3])
    assert gymnasium.make(ID, **options | {"seed": 1}).unwrapped.task_ids[3] not in first.task_ids


def test_threads_share_them_too() -> None:
    options = FEW | {"seed": 8}
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: gymnasium.make(ID, **options).unwrapped.task_ids, range(32)))
    assert all(task_ids is made[0] for task_ids in made)


def test_sharing_keeps_episodes_apart() -> None:
    first, second = (gymnasium.make(ID, **FEW) for _ in range(2))
    task = {"task_id": first.unwrapped.task_ids[0]}
    begun = [environment.reset(options=task) for environment in (first, second)]
    assert begun[0] == begun[1]
    going = next(action for action in begun[0][1]["admissible_actions"] if action.startswith("go to"))
    first.step(going)
    assert second.step("look")[4]["admissible_actions"] == begun[1][1]["admissible_actions"]


def test_two_hundred_environments_open_their_split_once() -> None:
    gymnasium.make(ID, preset="full")
    before = time.perf_counter()
    for _ in range(200):
        gymnasium.make(ID, preset="full")
    assert time.perf_counter() - before < 1  # a tenth of that if all is well; twenty times as much if each lists it


def test_a_game_added_to_official_data_is_seen(official_data: OfficialData, tmp_path: Path) -> None:
    tasks = sorted((official_data("v2.1.2") / "json_2.1.1" / "valid_seen").iterdir())[:2]
    split = tmp_path / "json_2.1.1" / "valid_seen"
    counts = []
    for second, task in enumerate(tasks):
        shutil.copytree(task, split / task.name)
        os.utime(split, (second, second))  # clocks of file systems tick slowly
        counts.append(len(gymnasium.make(ID, source="official", data=tmp_path, split="valid_seen").unwrapped.task_ids))
    assert counts[1] > counts[0]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"source": "offical"}, "no ALFWorld source 'offical'"),
        ({"engine": "fast"}, "no ALFWorld engine 'fast'"),
        ({"engine": "textworld"}, "source=official"),
        ({"source": "official"}, "needs data=DIR"),
        ({"data": "somewhere"}, "source=official only"),
        ({"presett": "full"}, "no option 'presett'.*preset"),
        ({"source": "official", "data": "nowhere", "presett": "full"}, "no option 'presett'"),
        ({"preset": "huge"}, "no preset 'huge'"),
        ({"split": "test"}, "no split 'test'"),
        ({"source": "official", "data": "nowhere"}, "nowhere"),
    ],
    ids=str,
)
def test_wrong_options_are_refused_in_one_sentence(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint) as refusal:
        gymnasium.make(ID, **options)
    assert "\n" not in str(refusal.value)


def test_step_before_reset_is_refused() -> None:
    with pytest.raises(gymnasium.error.ResetNeeded):
        gymnasium.make(ID, **FEW).unwrapped.step("look")


def test_an_unknown_expert_is_refused() -> None:
    with pytest.raises(InputError, match="no expert 'psychic'; choose search or oracle"):
        gymnasium.make(ID, **FEW).unwrapped.expert("psychic")


@pytest.mark.parametrize("option", [{"preset": "full"}, {"seed": 3}, {"floor_plans": [301]}])
def test_options_without_effect_on_official_games_are_refused(tmp_path: Path, option: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="has no effect on official games; leave it out"):
        gymnasium.make(ID, source="official", data=tmp_path, **option)


def test_official_games_take_the_task_types_and_defaults_of_the_other_options(official_data: OfficialData) -> None:
    options = {"preset": "small", "seed": 0, "task_types": ["look_at_obj_in_light"]}
    env = gymnasium.make(ID, source="official", data=official_data("v2.1.2"), split="valid_seen", **options)
    assert env.unwrapped.task_ids == tuple(sorted(env.unwrapped.task_ids))
    assert {task_id.split("-")[0] for task_id in env.unwrapped.task_ids} == {"look_at_obj_in_light"}


@needs_textworld
def test_both_engines_play_the_same_environment(official_data: OfficialData) -> None:
    options = {"source": "official", "data": official_data("v2.1.2"), "split": "valid_seen"}
    native, reference = (gymnasium.make(ID, engine=engine, **options) for engine in ("native", "textworld"))
    for task_id in (native.unwrapped.task_ids[0], native.unwrapped.task_ids[-1]):
        assert native.reset(options={"task_id": task_id}) == reference.reset(options={"task_id": task_id})
        assert native.step("look") == reference.step("look")
        assert native.step("go to nowhere") == reference.step("go to nowhere")


def test_a_missing_extra_is_named(official_data: OfficialData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "textworld", None)
    options = {"source": "official", "data": official_data("v2.1.2"), "split": "valid_seen"}
    env = gymnasium.make(ID, engine="textworld", **options)
    with pytest.raises(InputError, match=r"pip install 'prism-bench\[textworld\]'"):
        env.reset(seed=0)
