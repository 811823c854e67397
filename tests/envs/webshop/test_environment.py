"""WebShop keeps the contract with either source, and refuses options that it does not have."""

import json
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import gymnasium
import pytest

from envs.webshop.pages import THANKS
from prism_bench.environments.check import check_environment
from prism_bench.environments.contract import INFO_KEYS, UnknownTaskError
from prism_bench.errors import InputError

ID = "envs.webshop:prism_bench/WebShop-v0"
OFFICIAL = Path(__file__).resolve().parents[4] / "shared" / "data" / "webshop"


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {"products": 300, "cache": tmp_path_factory.mktemp("generated")}


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    if not (OFFICIAL / "items_shuffle_1000.json").exists():
        pytest.skip(f"needs the official catalogue; there is no {OFFICIAL / 'items_shuffle_1000.json'}")
    return {"source": "official", "data": OFFICIAL, "cache": tmp_path_factory.mktemp("official")}


@pytest.mark.parametrize(
    "options", [{}, {"split": "valid", "observation": "text_rich"}, {"split": "test", "goals": "human"}], ids=str
)
def test_a_generated_shop_keeps_the_contract(generated: dict[str, Any], options: dict[str, Any]) -> None:
    check_environment(ID, **generated | options, expert="search", expert_success=0.5, tasks=4)


@pytest.mark.parametrize("options", [{}, {"split": "valid", "observation": "text_rich"}], ids=str)
def test_the_official_shop_keeps_the_contract(official: dict[str, Any], options: dict[str, Any]) -> None:
    check_environment(ID, **official | options, expert="search", expert_success=0.5, tasks=4)


def test_buying_ends_the_episode_with_the_reward(generated: dict[str, Any]) -> None:
    env = gymnasium.make(ID, **generated)
    _, info = env.reset(options={"task_id": env.unwrapped.task_ids[0]})
    assert info["admissible_actions"] == ["search[<keywords>]"]
    goal = env.unwrapped.goal(info["task_id"])
    # The title finds the product that the goal was made from, or one that is called the same.
    env.step(f"search[{goal.name}]")
    observation, reward, terminated, truncated, info = env.step(f"click[{goal.asin}]")
    for _, value in goal.options:
        *_, info = env.step(f"click[{value}]")
        assert (info["score"], info["success"]) == (0.0, False)
    observation, reward, terminated, truncated, info = env.step("click[Buy Now]")
    assert (observation, reward, terminated, truncated) == (THANKS, 1.0, True, False)
    assert (info["score"], info["success"], info["admissible_actions"]) == (1.0, True, [])
    assert info["task_type"] == goal.category
    again = env.unwrapped.step("click[buy now]")
    assert again[:3] == (THANKS, 0.0, True)
    assert again[4] == info


def test_something_else_earns_less_and_is_no_success(generated: dict[str, Any]) -> None:
    env = gymnasium.make(ID, **generated)
    rewards = []
    for task_id in env.unwrapped.task_ids[:20]:
        _, info = env.reset(options={"task_id": task_id})
        *_, info = env.step(f"search[{env.unwrapped.goal(task_id).query}]")
        env.step(next(action for action in info["admissible_actions"] if action.startswith("click[b0")))
        _, reward, terminated, _, info = env.step("click[buy now]")
        assert terminated
        assert info["score"] == reward
        assert info["success"] == (reward == 1)
        rewards.append(reward)
    assert any(0 < reward < 1 for reward in rewards)


def test_the_fifteenth_step_truncates(generated: dict[str, Any]) -> None:
    env = gymnasium.make(ID, **generated)
    env.reset(seed=0)
    assert [env.step("search[lamp]")[3] for _ in range(15)] == [False] * 14 + [True]


def test_info_holds_nothing_that_a_policy_may_not_know(generated: dict[str, Any]) -> None:
    env = gymnasium.make(ID, **generated)
    _, info = env.reset(seed=0)
    assert set(info) == set(INFO_KEYS)
    assert set(env.step("search[lamp]")[4]) == set(INFO_KEYS)


def test_no_goal_of_one_split_is_in_another(generated: dict[str, Any]) -> None:
    splits = {name: gymnasium.make(ID, **generated, split=name).unwrapped for name in ("train", "valid", "test")}
    ids = [task_id for env in splits.values() for task_id in env.task_ids]
    assert len(set(ids)) == len(ids)
    goals = {name: {(goal.asin, goal.options) for goal in map(env.goal, env.task_ids)} for name, env in splits.items()}
    assert len(goals["train"]) > len(goals["valid"]) > len(goals["test"]) > 0
    for one, other in (("train", "valid"), ("train", "test"), ("valid", "test")):
        assert not goals[one] & goals[other]


@pytest.mark.parametrize("goals", ["synthetic", "human"])
def test_task_types_are_known_before_a_reset(generated: dict[str, Any], goals: str) -> None:
    env = gymnasium.make(ID, **generated, split="test", goals=goals)
    resets = [env.reset(options={"task_id": task_id})[1] for task_id in env.unwrapped.task_ids]
    assert env.unwrapped.task_types() == [info["task_type"] for info in resets]
    assert len(set(env.unwrapped.task_types())) > 2


def test_task_types_of_very_many_goals_are_not_read(generated: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envs.webshop.environment.MOST_TYPED", 5)
    assert gymnasium.make(ID, **generated, split="test").unwrapped.task_types() is None


def first_pages(tasks: list[str], options: dict[str, Any]) -> list[tuple[str, Any]]:
    env = gymnasium.make(ID, **options)
    return [(env.reset(seed=None, options={"task_id": task})[0], env.unwrapped.goal(task)) for task in tasks]


def test_processes_and_folders_show_the_same_goal_for_the_same_index(generated: dict[str, Any], tmp_path: Path) -> None:
    tasks = list(gymnasium.make(ID, **generated).unwrapped.task_ids[::100])
    expected = first_pages(tasks, generated)
    folders = [generated | {"cache": cache} for cache in (generated["cache"], tmp_path)]
    with ProcessPoolExecutor(max_workers=2, mp_context=get_context("spawn")) as pool:
        assert list(pool.map(partial(first_pages, tasks), folders)) == [expected, expected]


def test_price_limits_and_prices_have_seeds_of_their_own(generated: dict[str, Any]) -> None:
    tasks = gymnasium.make(ID, **generated).unwrapped.task_ids[:50]
    before = [goal for _, goal in first_pages(tasks, generated)]
    limits = [goal for _, goal in first_pages(tasks, generated | {"goal_seed": 1})]
    assert [goal.asin for goal in limits] == [goal.asin for goal in before]
    assert [goal.price_upper for goal in limits] != [goal.price_upper for goal in before]


def test_the_official_first_pages_come_in_the_official_order(official: dict[str, Any]) -> None:
    """All but the price limits, which upstream draws anew in every process."""
    splits = [gymnasium.make(ID, **official, split=split).unwrapped for split in ("train", "valid", "test")]
    recorded = json.loads((OFFICIAL / "official_initial_observations.json").read_text(encoding="utf-8"))
    for page in recorded:
        task = str(page["goal_index"])
        env = next(env for env in splits if task in env.task_ids)
        mine, _ = env.reset(options={"task_id": task})
        texts = [text.partition(", and price lower than")[0] for text in (mine, page["observation"])]
        assert texts[0] == texts[1]


def test_an_unknown_task_is_refused_with_the_nearest(generated: dict[str, Any]) -> None:
    env = gymnasium.make(ID, **generated, split="valid")
    known = env.unwrapped.task_ids
    with pytest.raises(UnknownTaskError, match=f"the nearest are .*{known[0]}"):
        env.reset(options={"task_id": str(int(known[0]) - 1)})
    for strange in (int(known[0]), [known[0]], f"0{known[0]}", "", "x" * 10**6):
        with pytest.raises(UnknownTaskError, match="there is no task"):
            env.reset(options={"task_id": strange})


def test_the_protocol_says_what_results_depend_on(generated: dict[str, Any]) -> None:
    env = gymnasium.make(ID, **generated, seed=3, goal_seed=5, split="valid", tagger="tokens").unwrapped
    protocol = env.protocol()
    assert (
        protocol.items()
        >= {
            "source": "generated",
            "products": 300,
            "seed": 3,
            "price_seed": 0,
            "goal_seed": 5,
            "goals": "synthetic",
            "split": "valid",
            "tasks": len(env.task_ids),
            "observation": "text",
        }.items()
    )
    assert protocol["tagger"].startswith("tokens")
    first, last, count = protocol["goal_indices"].replace(" to ", " of ").split(" of ")
    assert (first, last) == (env.task_ids[0], env.task_ids[-1])
    assert int(count) > int(last)
    other = gymnasium.make(ID, **generated, seed=4, split="valid").unwrapped.protocol()
    assert other["catalogue"] != protocol["catalogue"]
    assert json.loads(json.dumps(protocol)) == protocol


def test_environments_made_alike_share_their_shop(generated: dict[str, Any]) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: gymnasium.make(ID, **generated, seed=8).unwrapped, range(32)))
    goals = [env.goal(env.task_ids[3]) for env in made]
    assert all(goal is goals[0] for goal in goals)
    sessions = [env.reset(options={"task_id": env.task_ids[3]}) and env._session for env in made]
    assert len({id(session.storefront) for session in sessions}) == 1


def test_sharing_keeps_episodes_apart(generated: dict[str, Any]) -> None:
    first, second = (gymnasium.make(ID, **generated) for _ in range(2))
    task = {"task_id": first.unwrapped.task_ids[0]}
    begun = [env.reset(options=task) for env in (first, second)]
    assert begun[0] == begun[1]
    assert first.step("search[lamp]")[0] != begun[0][0]
    assert second.step("nothing")[0] == begun[1][0]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"source": "offical"}, "no WebShop source 'offical'"),
        ({"source": "official"}, "needs data=DIR"),
        ({"source": "official", "data": "nowhere", "products": None}, r"prism-bench download webshop"),
        ({"data": "somewhere"}, "source=official only"),
        ({"goals": "robotic"}, "no 'robotic' goals"),
        ({"split": "dev"}, "no split 'dev'"),
        ({"observation": "html"}, "no WebShop observation 'html'"),
        ({"tagger": "psychic"}, "no tagger 'psychic'"),
        ({"products": "all"}, "source=official only"),
    ],
    ids=str,
)
def test_wrong_options_are_refused_in_one_sentence(
    generated: dict[str, Any], options: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(InputError, match=complaint) as refusal:
        gymnasium.make(ID, **generated | options)
    assert "\n" not in str(refusal.value)


def test_step_before_reset_is_refused(generated: dict[str, Any]) -> None:
    with pytest.raises(gymnasium.error.ResetNeeded):
        gymnasium.make(ID, **generated).unwrapped.step("search[lamp]")


def test_an_unknown_expert_is_refused(generated: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="no expert 'psychic'; choose search"):
        gymnasium.make(ID, **generated).unwrapped.expert("psychic")
