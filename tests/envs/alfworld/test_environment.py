"""ALFWorld keeps the contract of the harness with either source and engine, and refuses options it does not have."""

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from gymnasium.utils.env_checker import check_env

from envs.alfworld.game import TASK_TYPES
from envs.alfworld.textworld_engine import MissingTextWorldError
from prism_bench.environment import INFO_KEYS, UnknownTaskError
from prism_bench.environment_check import check_environment

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


def test_gymnasiums_own_check_passes() -> None:
    check_env(gymnasium.make(ID, **FEW).unwrapped, skip_render_check=True)


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


def test_info_holds_nothing_that_a_player_may_not_know() -> None:
    env = gymnasium.make(ID, **FEW)
    _, info = env.reset(seed=0)
    assert set(info) == set(INFO_KEYS)
    _, _, _, _, info = env.step("look")
    assert set(info) == set(INFO_KEYS)


def test_the_task_type_is_the_games() -> None:
    env = gymnasium.make(ID, split="train", preset="full", games=12)
    types = {env.reset(options={"task_id": task_id})[1]["task_type"] for task_id in env.unwrapped.task_ids}
    assert types == set(TASK_TYPES)


def test_an_unknown_task_is_refused_with_the_nearest() -> None:
    env = gymnasium.make(ID, **FEW)
    known = env.unwrapped.task_ids[3]
    with pytest.raises(UnknownTaskError, match=known):
        env.reset(options={"task_id": known[:-1]})


def test_the_protocol_says_what_results_depend_on(official_data: OfficialData) -> None:
    protocol = gymnasium.make(ID, **FEW, seed=5, wording="put").unwrapped.protocol()
    expected = {"source": "generated", "split": "train", "tasks": 30, "engine": "native", "seed": 5, "wording": "put"}
    assert protocol.items() >= expected.items()
    assert len(protocol["floor_plans"]) >= 8
    assert json.loads(json.dumps(protocol)) == protocol
    official = gymnasium.make(ID, source="official", data=official_data("v2.1.1"), split="valid_seen").unwrapped
    assert official.protocol() == {
        **{"source": "official", "split": "valid_seen", "tasks": 140},
        **{"engine": "native", "wording": "put"},
    }


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
    with pytest.raises(ValueError, match=complaint) as refusal:
        gymnasium.make(ID, **options)
    assert "\n" not in str(refusal.value)


def test_step_before_reset_is_refused() -> None:
    with pytest.raises(gymnasium.error.ResetNeeded):
        gymnasium.make(ID, **FEW).unwrapped.step("look")


def test_an_unknown_expert_is_refused() -> None:
    with pytest.raises(ValueError, match="no expert 'psychic'; choose search or oracle"):
        gymnasium.make(ID, **FEW).unwrapped.expert("psychic")


def test_official_games_take_the_task_types_and_leave_the_generators_options_aside(official_data: OfficialData) -> None:
    options = {"preset": "full", "seed": 3, "task_types": ["look_at_obj_in_light"]}
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
    with pytest.raises(MissingTextWorldError, match=r"pip install 'prism-bench\[textworld\]'"):
        env.reset(seed=0)
