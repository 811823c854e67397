"""Regimes: every game of each can be won, its expert wins it, and it departs from clean games as it says."""

from collections import Counter
from statistics import mean
from typing import Any

import gymnasium
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.alfworld.engine import NOTHING_HAPPENS, Episode
from envs.alfworld.environment import ALFWorldEnvironment
from envs.alfworld.expert import OracleExpert, SearchExpert
from envs.alfworld.generator import PRESETS, SPLIT_SIZES, GeneratedGames, content_hash
from envs.alfworld.layouts import FITS
from envs.alfworld.regimes import DISPLACED, REGIMES
from prism_bench.environments.check import check_environment
from prism_bench.environments.contract import CLEAN
from prism_bench.errors import InputError

ID = "envs.alfworld:prism_bench/ALFWorld-v0"
OTHERS = [name for name in REGIMES if name != CLEAN]


def games_of(regime: str, count: int = 40, **options: Any) -> GeneratedGames:
    return GeneratedGames(games=count, regimes=[regime], **options)


def play(games: GeneratedGames, task_id: str, expert: Any) -> tuple[bool, list[str], list[str]]:
    episode = Episode(games.game(task_id))
    texts, commands = [episode.reset()], []
    info = {"task_id": task_id, "regime": games.regime(task_id)}
    expert.reset(texts[0], info)
    while not episode.won and len(commands) < 50:
        commands.append(expert.act(texts[-1], info))
        texts.append(episode.step(commands[-1]))
    return episode.won, texts, commands


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("split", SPLIT_SIZES)
def test_its_experts_win_the_games_of_every_regime(regime: str, split: str) -> None:
    games = games_of(regime, split=split)
    assert all(play(games, task_id, OracleExpert(games.game(task_id)))[0] for task_id in games.task_ids)
    assert mean(play(games, task_id, SearchExpert())[0] for task_id in games.task_ids) >= 0.95


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(list(REGIMES)), min_size=1, max_size=12), st.integers(0, 99))
def test_shares_are_kept_and_an_id_is_one_game_whatever_else_is_mixed(regimes: list[str], seed: int) -> None:
    games = GeneratedGames(seed=seed, games=400, regimes=regimes)
    found = Counter(map(games.regime, games.task_ids))
    assert len(set(games.task_ids)) == len(games.task_ids)
    for name in set(regimes):
        assert abs(found[name] - 400 * regimes.count(name) / len(regimes)) <= 0.5
        first = next(task_id for task_id in games.task_ids if games.regime(task_id) == name)
        assert games_of(name, 1, seed=seed).game(first) == games.game(first)


def test_clean_games_are_those_without_regimes() -> None:
    plain, clean = GeneratedGames(games=30), games_of(CLEAN, 30)
    assert plain.task_ids == clean.task_ids
    assert [plain.game(task_id) for task_id in plain.task_ids] == [clean.game(task_id) for task_id in clean.task_ids]


@pytest.mark.parametrize("regime", REGIMES)
def test_no_game_is_in_two_splits(regime: str) -> None:
    found = {}
    for split in ("train", "valid_seen"):
        games = games_of(regime, 60, split=split)
        plans = {task_id: int(task_id.partition("/")[0].rpartition("-")[2]) for task_id in games.task_ids}
        found[split] = {content_hash(plans[task_id], games.game(task_id)) for task_id in games.task_ids}
    assert not found["train"] & found["valid_seen"]


def test_the_other_splits_may_have_other_shares() -> None:
    shares: Any = {"regimes": ["rules"], "eval_regimes": [CLEAN, "rules"], "games": 10}
    assert GeneratedGames("train", **shares).sizes == {"rules": 10}
    assert GeneratedGames("valid_seen", **shares).sizes == {CLEAN: 5, "rules": 5}


def test_things_lie_where_none_of_their_type_lay() -> None:
    games = games_of("places")
    kinds = {r.id: r.type for task_id in games.task_ids for r in games.game(task_id).receptacles}
    pairs = [
        (kinds[str(thing.receptacle)], thing.type)
        for task_id in games.task_ids
        for thing in games.game(task_id).things
        if thing.pickupable
    ]
    assert not any(pair in FITS for pair in pairs)
    assert mean(pair in DISPLACED for pair in pairs) > 0.9


def test_nothing_is_taken_from_a_receptacle_before_it_was_examined() -> None:
    games = games_of("rules")
    for task_id in games.task_ids:
        game = games.game(task_id)
        episode, taken = Episode(game), 0
        episode.reset()
        for command in play(games, task_id, OracleExpert(game))[2]:
            if command.startswith("examine"):
                place = command.removeprefix("examine ")
                held = [thing.name for thing in game.things if thing.pickupable]
                assert not any(option.startswith("take") for option in episode.admissible_commands)
                assert {episode.step(f"take {name} from {place}") for name in held} == {NOTHING_HAPPENS}
            episode.step(command)
            taken += command.startswith("take")
        assert episode.won and taken


def test_the_wording_is_the_other_one() -> None:
    assert {games_of("wording").game(i).wording for i in games_of("wording").task_ids} == {"put"}
    old = games_of("wording", wording="put")
    assert {old.game(i).wording for i in old.task_ids} == {"move"}


@pytest.mark.parametrize("preset", PRESETS)
def test_other_rooms_and_types_are_those_that_clean_games_lack(preset: str) -> None:
    def rooms(regime: str) -> set[str]:
        splits = (games_of(regime, 200, preset=preset, split=split) for split in SPLIT_SIZES)
        return {task_id.partition("/")[0].rpartition("-")[2] for games in splits for task_id in games.task_ids}

    assert len(rooms("rooms")) >= 8
    assert not rooms("rooms") & rooms(CLEAN)
    if preset == "small":
        kinds = {task_id.partition("-")[0] for task_id in games_of("types").task_ids}
        assert kinds == {"pick_two_obj_and_place"}
    else:
        with pytest.raises(InputError, match=r"the regime types with .* of which there are none"):
            games_of("types", preset=preset)


def test_the_expert_goes_astray_and_a_policy_need_not() -> None:
    noisy, straight = games_of("noise", 200), games_of(CLEAN, 200)
    length = {g: mean(len(play(g, t, SearchExpert())[2]) for t in g.task_ids) for g in (noisy, straight)}
    assert 1.25 * length[straight] < length[noisy] < 3 * length[straight]
    first = noisy.task_ids[0]
    assert play(noisy, first, SearchExpert()) == play(noisy, first, SearchExpert())
    oracle = {g: mean(len(play(g, t, OracleExpert(g.game(t)))[2]) for t in g.task_ids) for g in (noisy, straight)}
    assert abs(oracle[noisy] - oracle[straight]) < 0.5


def test_a_mixed_environment_keeps_the_contract_and_names_regimes() -> None:
    env = gymnasium.make(ID, games=28, regimes=list(REGIMES))
    check_environment(lambda: gymnasium.make(ID, games=14, regimes=list(REGIMES)))
    base = env.unwrapped
    assert isinstance(base, ALFWorldEnvironment)
    for task_id, kind in zip(base.task_ids, base.task_types(), strict=True):
        info = env.reset(options={"task_id": task_id})[1]
        assert info["task_type"] == kind
        assert kind.startswith(f"{info['regime']} ") == (info["regime"] != CLEAN)
    assert base.protocol()["regimes"] == ", ".join(REGIMES)
    assert "regimes" not in gymnasium.make(ID, games=9, regimes=["rules"], eval_regimes=[CLEAN]).unwrapped.protocol()


@pytest.mark.parametrize(
    ("regimes", "message"),
    [
        (["dirty"], "there is no regime 'dirty'; choose from clean, wording"),
        (["clean"] * 300 + ["rules"], "100 games are too few for the regimes clean"),
    ],
)
def test_regimes_that_make_no_sense_are_refused(regimes: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        GeneratedGames(games=100, regimes=regimes)
