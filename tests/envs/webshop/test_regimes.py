"""Regimes: each goal belongs to one, its expert solves it, and it departs from clean goals as it says."""

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import gymnasium
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.webshop.expert import SearchExpert
from envs.webshop.regimes import OTHER_CATEGORIES, REGIMES, mixed, regimes_of
from envs.webshop.splits import SPLITS
from prism_bench.environments.check import check_environment
from prism_bench.environments.contract import CLEAN
from prism_bench.errors import InputError

ID = "envs.webshop:prism_bench/WebShop-v0"
CATEGORIES = ("beauty", "electronics", "fashion", "garden", "grocery")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {"products": 300, "cache": tmp_path_factory.mktemp("shop")}


def play(env: Any, task_id: str, expert: Any) -> tuple[list[str], dict[str, Any]]:
    observation, info = env.reset(options={"task_id": task_id})
    expert.reset(observation, info)
    actions, over = list[str](), False
    while not over:
        actions.append(expert.act(observation, info))
        observation, _, terminated, truncated, info = env.step(actions[-1])
        over = terminated or truncated
    return actions, info


@given(st.lists(st.sampled_from(CATEGORIES), max_size=80), st.lists(st.sampled_from(list(REGIMES)), min_size=1))
def test_shares_are_kept_and_a_goal_has_one_regime_whatever_is_mixed(goals: list[str], regimes: list[str]) -> None:
    indices, categories = np.arange(len(goals)), np.array(goals, dtype="<U11")
    found = regimes_of(indices, categories)
    for category, regime in zip(goals, found, strict=True):
        assert REGIMES[regime].other_categories == (category in OTHER_CATEGORIES)
    possible = {name: int((found == name).sum()) // regimes.count(name) for name in set(regimes)}
    if not min(possible.values()):
        with pytest.raises(InputError, match="too few goals for the regimes"):
            mixed(indices, found, regimes)
        return
    ids = mixed(indices, found, regimes)
    assert len(set(ids)) == len(ids) == len(regimes) * min(possible.values())
    shares = Counter(task_id.partition("-")[0] for task_id in ids)
    assert shares == {name: regimes.count(name) * min(possible.values()) for name in set(regimes)}
    assert all(found[int(task_id.partition("-")[2])] == task_id.partition("-")[0] for task_id in ids)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("regime", REGIMES)
def test_its_expert_solves_the_goals_of_every_regime(shop: dict[str, Any], regime: str, split: str) -> None:
    env: Any = gymnasium.make(ID, **shop, split=split, regimes=[regime])
    played = [play(env, task_id, SearchExpert())[1] for task_id in env.unwrapped.task_ids[:60]]
    assert mean(info["success"] for info in played) >= 0.85
    assert {info["regime"] for info in played} == {regime}


def test_the_categories_of_the_catalogue_regime_are_in_no_other(shop: dict[str, Any]) -> None:
    asked: dict[str, set[str]] = {}
    for regime in REGIMES:
        env: Any = gymnasium.make(ID, **shop, regimes=[regime]).unwrapped
        asked[regime] = {env.goal(task_id).category for task_id in env.task_ids}
    assert asked["catalogue"] == set(OTHER_CATEGORIES)
    assert asked["rules"] == asked[CLEAN] == set(CATEGORIES) - set(OTHER_CATEGORIES)


def test_nothing_is_bought_before_its_own_description_was_opened(shop: dict[str, Any]) -> None:
    env: Any = gymnasium.make(ID, **shop, regimes=["rules"])
    for task_id in env.unwrapped.task_ids[:20]:
        env.reset(options={"task_id": task_id})
        *_, info = env.step(f"search[{env.unwrapped.goal(task_id).query}]")
        first, second = [action for action in info["admissible_actions"] if action.startswith("click[b0")][:2]
        env.step(first)
        for opened in ("features", "description"):
            before, _, terminated, _, info = env.step("click[buy now]")
            assert not terminated
            assert "click[buy now]" in info["admissible_actions"]  # it is on the page, which says nothing of the rule
            assert "Buy Now" in before
            env.step(f"click[{opened}]")
            env.step("click[< prev]")
        for action in ("click[< prev]", second, "click[buy now]"):
            _, _, terminated, _, _ = env.step(action)
            assert not terminated  # the description of another product was opened
        for action in ("click[< prev]", first):
            env.step(action)
        assert env.step("click[buy now]")[2]


def test_the_expert_opens_a_description_where_the_rule_asks_for_it(shop: dict[str, Any]) -> None:
    for regime in REGIMES:
        env: Any = gymnasium.make(ID, **shop, regimes=[regime])
        actions = play(env, env.unwrapped.task_ids[0], SearchExpert())[0]
        assert actions[-1] == "click[buy now]"
        assert (actions[-3:-1] == ["click[description]", "click[< prev]"]) == (regime == "rules")


def test_a_mixed_environment_keeps_the_contract_and_names_regimes(shop: dict[str, Any]) -> None:
    options = shop | {"regimes": [CLEAN, *REGIMES], "eval_regimes": ["rules"]}
    check_environment(ID, **options, expert="search", expert_success=0.5)
    env: Any = gymnasium.make(ID, **options)
    for task_id, kind in zip(env.unwrapped.task_ids[:40], env.unwrapped.task_types(), strict=False):
        info = env.reset(options={"task_id": task_id})[1]
        assert info["task_type"] == kind
        assert kind.startswith(f"{info['regime']} ") == (info["regime"] != CLEAN)
    assert env.unwrapped.protocol()["regimes"] == ", ".join(options["regimes"])
    assert env.unwrapped.protocol()["regimes of evaluation"] == "rules"
    evaluated: Any = gymnasium.make(ID, **options, split="valid").unwrapped
    assert {task_id.partition("-")[0] for task_id in evaluated.task_ids} == {"rules"}


def test_price_limits_change_few_clicks(shop: dict[str, Any]) -> None:
    """A limit turned around is therefore no regime."""

    class Spender(SearchExpert):
        def reset(self, observation: str, info: dict[str, Any]) -> None:
            super().reset(observation, info)
            self.request = replace(self.request, limit=math.inf)

    env: Any = gymnasium.make(ID, **shop, split="valid")
    played = [(play(env, i, SearchExpert()), play(env, i, Spender())[0]) for i in env.unwrapped.task_ids[:200]]
    others = [actions != spent for (actions, info), spent in played if info["success"]]
    assert len(others) > 150
    assert 0 < mean(others) < 0.1


def test_without_regimes_nothing_is_other_than_upstream(shop: dict[str, Any]) -> None:
    env: Any = gymnasium.make(ID, **shop)
    assert all(task_id.isdecimal() for task_id in env.unwrapped.task_ids)
    assert "regime" not in env.reset(seed=0)[1]
    assert "regimes" not in env.unwrapped.protocol()


def test_regimes_that_make_no_sense_are_refused(shop: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no regime 'dirty'; choose from clean, catalogue"):
        gymnasium.make(ID, **shop, regimes=["dirty"])
    with pytest.raises(InputError, match="too few goals for the regimes rules, "):
        gymnasium.make(ID, **shop, regimes=["rules"] * 5000)
    with pytest.raises(InputError, match="official goals have no regimes"):
        gymnasium.make(ID, source="official", data=tmp_path, regimes=["rules"])
