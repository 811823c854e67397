"""The search expert wins from the printed text alone; the oracle wins, and in as few commands as there can be."""

import copy
import json
import random
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
from kitchen import make_kitchen

from envs.alfworld.engine import APPLIANCES, NOTHING_HAPPENS, Episode
from envs.alfworld.expert import OracleExpert, SearchExpert
from envs.alfworld.game import TASK_TYPES, Game, Goal, Receptacle, Thing, Wording
from envs.alfworld.game_file import parse_game
from envs.alfworld.generator import GeneratedGames
from envs.alfworld.naming import number_names
from envs.alfworld.planner import shortest_plan
from prism_bench.environments.contract import Expert
from prism_bench.errors import InputError

WORDINGS: tuple[Wording, ...] = get_args(Wording)
ARCHIVES = Path(__file__).resolve().parents[4] / "shared" / "data" / "alfworld"
Example = tuple[Game, list[str] | None]  # an official game and its walkthrough, where it has one


def play(game: Game, expert: Expert, steps: int = 50) -> tuple[bool, list[str], list[str]]:
    """Return whether the expert, who is given nothing but text, wins; the texts, and its commands."""
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
    return sum(play(game, SearchExpert())[0] for game in games) / len(games)


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
        _, texts, commands = play(game, SearchExpert())
        blind = SearchExpert()  # no game behind it: it is told again what was printed
        blind.reset(texts[0], {})
        assert [blind.act(text, {}) for text in texts[: len(commands)]] == commands


def test_search_does_not_open_what_it_need_not() -> None:
    won, _, commands = play(make_kitchen(), SearchExpert())
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
    """Nobody can go from one receptacle to another at the same place, so the second is never announced as closed."""
    kitchen = make_kitchen(wording, Goal("pick_and_place_simple", "Egg", goal_type))
    beside = tuple(replace(place, location="loc_bar_6") if place.openable else place for place in kitchen.receptacles)
    game = replace(kitchen, receptacles=beside, task_sentence=f"put a egg in {goal_type.lower()}.")
    assert len({place.location for place in beside if place.name in ("shelf 2", "cabinet 1", "fridge 1")}) == 1
    assert play(game, SearchExpert(), steps=20)[0]


def test_search_brings_two_things_though_one_of_them_lies_in_two_receptacles() -> None:
    kitchen = make_kitchen(goal=Goal("pick_two_obj_and_place", "Mug", "Cabinet"))
    second = Thing("mug_bar_2", "mug 2", "Mug", "shelf_bar_2", "loc_bar_7", pickupable=True)
    game = replace(kitchen, things=(*kitchen.things, second), task_sentence="put two mug in cabinet.")
    won, _, commands = play(game, SearchExpert())
    assert won
    assert sum(command.startswith("take mug 1") for command in commands) == 1


def test_search_refuses_a_task_in_other_words() -> None:
    with pytest.raises(InputError, match=r"'Tidy up!'"):
        SearchExpert().reset("You see a shelf 1.\n\nYour task is to: Tidy up!", {})


@pytest.mark.parametrize("wording", WORDINGS)
def test_the_oracle_wins_and_never_takes_longer_than_search(wording: Wording) -> None:
    for game in generated(wording):
        won, _, commands = play(game, OracleExpert(game))
        assert won
        found, _, searched = play(game, SearchExpert())
        assert not found or len(commands) <= len(searched)


@pytest.mark.parametrize("version", ["v2.1.1", "v2.1.2"])
def test_the_oracle_wins_official_games_in_no_more_commands_than_the_walkthrough(
    official: Callable[[str], Sequence[Example]], version: str
) -> None:
    examples = official(version)
    assert sum(walkthrough is not None for _, walkthrough in examples) == (300 if version == "v2.1.2" else 0)
    for game, walkthrough in examples:
        won, _, commands = play(game, OracleExpert(game))
        assert won
        assert walkthrough is None or len(commands) <= len(walkthrough)


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


def tiny_game(rng: random.Random) -> Game:
    """Return a game of a few receptacles, which may share places and be open, and two or three apples in them."""
    goal = rng.choice(
        [Goal(kind, "Apple", "Cabinet") for kind in TASK_TYPES if kind != "look_at_obj_in_light"]
        + [Goal("look_at_obj_in_light", "Apple", lamp_type="DeskLamp")]
    )
    appliance = next((kind for kind, verb in APPLIANCES.items() if verb in goal.task_type), "Shelf")
    kinds = ["Cabinet", appliance, *rng.choices(["Cabinet", "Shelf", *APPLIANCES], k=rng.randint(1, 2))]
    ids = [f"{kind.lower()}_bar_{rank}" for rank, kind in enumerate(kinds)]
    places = [f"loc_bar_{rng.randint(1, 3)}" for _ in kinds]
    names = number_names(ids)
    receptacles = tuple(
        Receptacle(id, names[id], kind, place, openable=kind != "Shelf" and kind != "SinkBasin", opened=False)
        for id, kind, place in zip(ids, kinds, places, strict=True)
    )
    receptacles = tuple(replace(r, opened=r.openable and rng.random() < 0.2) for r in receptacles)
    things = []
    for number in range(rng.randint(2, 3)):
        first = rng.randrange(1, len(ids))
        second = rng.choice([place for place in range(len(ids)) if place != first])
        things.append(
            Thing(
                f"apple_bar_{number}",
                f"apple {number}",
                "Apple",
                ids[first],
                places[first],
                pickupable=rng.random() < 0.9,
                **dict.fromkeys(("cleanable", "heatable", "coolable"), rng.random() < 0.9),
                also_in=(ids[second],) if rng.random() < 0.2 else (),
                cool=rng.random() < 0.2,
            )
        )
    stand = rng.randrange(len(ids))
    things.append(Thing("desklamp_bar_1", "desklamp 1", "DeskLamp", ids[stand], places[stand], toggleable=True))
    return Game(
        task_id="tiny",
        task_sentence="put a apple in cabinet.",
        wording=rng.choice(WORDINGS),
        start=f"loc_bar_{rng.choice([0, 0, 1])}",
        receptacles=receptacles,
        things=tuple(things),
        fits=frozenset((kind, "Apple") for kind in kinds if rng.random() < 0.9),
        goal=goal,
    )


def fewest_commands(game: Game) -> int | None:
    """Try every command that is not for reading only, in every state, breadth first; None if up to nine never win."""
    start = Episode(game)
    seen, layer = {state(start)}, [start]
    for depth in range(10):
        if any(episode.won for episode in layer):
            return depth
        following = []
        for episode in layer:
            for command in episode.admissible_commands:
                if command.partition(" ")[0] not in ("examine", "help", "inventory", "look"):
                    after = twin(episode)
                    after.step(command)
                    if state(after) not in seen:
                        seen.add(state(after))
                        following.append(after)
        layer = following
    return None


def twin(episode: Episode) -> Episode:
    other = copy.copy(episode)
    vars(other).update({name: value.copy() for name, value in vars(episode).items() if isinstance(value, set)})
    other._contents = [contents.copy() for contents in episode._contents]
    return other


def state(episode: Episode) -> tuple[Any, ...]:
    """Return all that can change in an episode, but for what only reading and slicing depend on."""
    e = episode
    sets = (e._opened, e._clean, e._hot, e._cool, e._used)
    return (e._place, e._held, e.won, *map(tuple, e._contents), *map(frozenset, sets))
