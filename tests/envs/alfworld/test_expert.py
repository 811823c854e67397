"""The search expert wins from the text alone; the oracle wins in the fewest possible commands."""

import json
import random
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import get_args

import pytest
from brute_force import fewest_commands, tiny_game
from kitchen import make_kitchen

from envs.alfworld.engine import NOTHING_HAPPENS, Episode
from envs.alfworld.expert import OracleExpert, SearchExpert
from envs.alfworld.game import TASK_TYPES, Game, Goal, Thing, Wording
from envs.alfworld.game_file import parse_game
from envs.alfworld.generator import GeneratedGames
from envs.alfworld.planner import shortest_plan
from prism_bench.environments.contract import Expert
from prism_bench.errors import InputError

WORDINGS: tuple[Wording, ...] = get_args(Wording)
ARCHIVES = Path(__file__).resolve().parents[4] / "shared" / "data" / "alfworld"
Example = tuple[Game, list[str] | None]  # an official game and its walkthrough, where it has one


def roll_out(game: Game, expert: Expert, steps: int = 50) -> tuple[bool, list[str], list[str]]:
    """Return whether the expert wins, who gets only texts; the texts; and its commands."""
    episode = Episode(game)
    texts, commands = [episode.reset()], list[str]()
    expert.reset(texts[0], {})
    while not episode.won and len(commands) < steps:
        commands.append(expert.act(texts[-1], {}))
        texts.append(episode.step(commands[-1]))
    return episode.won, texts, commands


@cache
def generated(wording: Wording, games: int = 300) -> tuple[Game, ...]:
    source = GeneratedGames(preset="full", wording=wording, games=games)
    return tuple(map(source.game, source.task_ids))


@pytest.fixture(scope="module")
def official() -> Callable[[str], Sequence[Example]]:
    """Return a function from a version to 300 of its official train games, read straight from the archive."""

    @cache
    def read(version: str) -> Sequence[Example]:
        archive = ARCHIVES / f"games_{version}.tar.xz"
        if not archive.exists():
            pytest.skip(f"needs the official games {version}; there is no {archive}")
        with tarfile.open(archive) as tar:
            files = [file for file in tar if "/train/" in file.name and file.name.endswith("game.tw-pddl")]
            contents = [json.load(tar.extractfile(files[i * len(files) // 300])) for i in range(300)]  # type: ignore[arg-type]
        return [(parse_game(content, str(i)), content.get("walkthrough")) for i, content in enumerate(contents)]

    return read


def rate(games: Sequence[Game]) -> float:
    return sum(roll_out(game, SearchExpert())[0] for game in games) / len(games)


@pytest.mark.parametrize("wording", WORDINGS)
def test_search_wins_generated_games(wording: Wording) -> None:
    games = generated(wording)
    assert {game.goal.task_type for game in games} == set(TASK_TYPES)
    assert rate(games) >= 0.99


@pytest.mark.parametrize(("version", "wording"), [("v2.1.1", "put"), ("v2.1.2", "move")])
def test_search_wins_official_games(
    official: Callable[[str], Sequence[Example]], version: str, wording: Wording
) -> None:
    games = [game for game, _ in official(version)]
    assert len(games) == 300
    assert {game.wording for game in games} == {wording}
    assert {game.goal.task_type for game in games} == set(TASK_TYPES)
    assert rate(games) >= 0.99


def test_search_acts_on_the_text_alone() -> None:
    for game in generated("move")[:30]:
        _, texts, commands = roll_out(game, SearchExpert())
        blind = SearchExpert()  # no game behind it: it is told again what was printed
        blind.reset(texts[0], {})
        assert [blind.act(text, {}) for text in texts[: len(commands)]] == commands


def test_search_does_not_open_what_it_need_not() -> None:
    won, _, commands = roll_out(make_kitchen(), SearchExpert())
    assert won
    assert commands == [
        "go to countertop 1",
        "take apple 1 from countertop 1",
        "go to shelf 2",
        "move apple 1 to shelf 2",
    ]


@pytest.mark.parametrize("wording", WORDINGS)
@pytest.mark.parametrize("goal_type", ["Cabinet", "Fridge"])
def test_search_puts_into_a_closed_receptacle_beside_another(wording: Wording, goal_type: str) -> None:
    """No command goes from one receptacle to another at its location, so the second is never announced as closed."""
    kitchen = make_kitchen(wording, Goal("pick_and_place_simple", "Egg", goal_type))
    beside = tuple(replace(place, location="loc_bar_6") if place.openable else place for place in kitchen.receptacles)
    game = replace(kitchen, receptacles=beside, task_sentence=f"put a egg in {goal_type.lower()}.")
    assert len({place.location for place in beside if place.name in ("shelf 2", "cabinet 1", "fridge 1")}) == 1
    assert roll_out(game, SearchExpert(), steps=20)[0]


def test_search_brings_two_things_though_one_of_them_lies_in_two_receptacles() -> None:
    kitchen = make_kitchen(goal=Goal("pick_two_obj_and_place", "Mug", "Cabinet"))
    second = Thing("mug_bar_2", "mug 2", "Mug", "shelf_bar_2", "loc_bar_7", pickupable=True)
    game = replace(kitchen, things=(*kitchen.things, second), task_sentence="put two mug in cabinet.")
    won, _, commands = roll_out(game, SearchExpert())
    assert won
    assert sum(command.startswith("take mug 1") for command in commands) == 1


def test_search_refuses_a_task_in_other_words() -> None:
    with pytest.raises(InputError, match=r"'Tidy up!'"):
        SearchExpert().reset("You see a shelf 1.\n\nYour task is to: Tidy up!", {})


@pytest.mark.parametrize("wording", WORDINGS)
def test_the_oracle_wins_and_never_takes_longer_than_search(wording: Wording) -> None:
    for game in generated(wording):
        won, _, commands = roll_out(game, OracleExpert(game))
        assert won
        found, _, searched = roll_out(game, SearchExpert())
        assert not found or len(commands) <= len(searched)


@pytest.mark.parametrize("version", ["v2.1.1", "v2.1.2"])
def test_the_oracle_wins_official_games_in_no_more_commands_than_the_walkthrough(
    official: Callable[[str], Sequence[Example]], version: str
) -> None:
    examples = official(version)
    assert sum(walkthrough is not None for _, walkthrough in examples) == (300 if version == "v2.1.2" else 0)
    for game, walkthrough in examples:
        won, _, commands = roll_out(game, OracleExpert(game))
        assert won
        assert walkthrough is None or len(commands) <= len(walkthrough)


@pytest.mark.slow
def test_a_plan_is_as_short_as_trying_everything_finds() -> None:
    lengths: dict[str, set[int]] = {task_type: set() for task_type in TASK_TYPES}
    hopeless = 0
    for seed in range(120):
        game = tiny_game(random.Random(seed))
        fewest = fewest_commands(game)
        try:
            plan = shortest_plan(game)
        except InputError:
            assert fewest is None
            hopeless += 1
            continue
        assert len(plan) == fewest if fewest is not None else len(plan) > 9, (seed, plan)
        episode = Episode(game)
        assert all(episode.step(command) != NOTHING_HAPPENS for command in plan)
        assert episode.won
        lengths[game.goal.task_type].add(len(plan))
    assert all(len(found) > 1 for found in lengths.values()), lengths
    assert hopeless > 0
