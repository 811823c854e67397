"""Properties of every state: no string raises, only admissible commands act, nothing is shared, nothing grows."""

import copy
import gc
import itertools
import random
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from kitchen import make_kitchen

from envs.alfworld.engine import NOTHING_HAPPENS, Episode
from envs.alfworld.game import Game
from envs.alfworld.tables import Tables

WALKS = st.lists(st.integers(min_value=0, max_value=10_000), max_size=40)
WORDS = "go to open close take from move put in/on heat cool clean with use slice examine look inventory help"
SENTENCES = st.lists(
    st.sampled_from([*WORDS.split(), "apple 1", "apple 2", "knife 1", "fridge 1", "countertop 1", ""]), max_size=7
).map(" ".join)


def state(episode: Episode) -> dict[str, Any]:
    return copy.deepcopy({name: value for name, value in vars(episode).items() if name != "_tables"})


def walk(episode: Episode, choices: list[int]) -> None:
    for choice in choices:
        # The first words of commands are drawn evenly, because most commands go somewhere.
        verbs = itertools.groupby(episode.admissible_commands, key=lambda command: command.partition(" ")[0])
        groups = [list(commands) for _, commands in verbs]
        commands = groups[choice % len(groups)]
        episode.step(commands[choice // len(groups) % len(commands)])


def every_command(game: Game) -> Iterator[str]:
    """Return all commands that the grammar can form with the names of a game, in both wordings."""
    places = [receptacle.name for receptacle in game.receptacles]
    things = [thing.name for thing in game.things]
    yield from ("look", "inventory", "help")
    yield from (f"{verb} {name}" for verb in ("go to", "open", "close", "examine", "use") for name in places + things)
    for first, second in itertools.product(things, places + things):
        yield from (f"{verb} {first} with {second}" for verb in ("heat", "cool", "clean", "slice"))
        yield from (f"take {first} from {second}", f"move {first} to {second}", f"put {first} in/on {second}")


@settings(deadline=None)
@given(choices=WALKS, wording=st.sampled_from(["move", "put"]))
def test_exactly_the_admissible_commands_act(choices: list[int], wording: str) -> None:
    game = make_kitchen(wording)
    episode = Episode(game)
    walk(episode, choices)
    admissible = episode.admissible_commands
    assert admissible == sorted(set(admissible))
    acting = set()
    for command in every_command(game):
        if episode.step(command) != NOTHING_HAPPENS:
            acting.add(command)
            episode.reset()
            walk(episode, choices)
    assert acting == set(admissible)


@settings(deadline=None)
@given(choices=WALKS, text=st.one_of(st.text(), SENTENCES))
def test_no_text_raises_and_what_is_not_admissible_changes_nothing(choices: list[int], text: str) -> None:
    game = make_kitchen()
    episode = Episode(game)
    walk(episode, choices)
    before = state(episode)
    answer = episode.step(text)
    if text.strip() not in set(every_command(game)):
        assert answer == NOTHING_HAPPENS
    if answer == NOTHING_HAPPENS:
        assert state(episode) == before


@settings(deadline=None)
@given(choices=WALKS)
def test_reset_forgets_everything(choices: list[int]) -> None:
    episode = Episode(make_kitchen())
    first, fresh = episode.reset(), state(episode)
    walk(episode, choices)
    assert episode.reset() == first
    assert state(episode) == fresh


def transcript(game: Game | Tables, seed: int) -> list[str]:
    """Return all answers to 200 random commands."""
    rng, episode = random.Random(seed), Episode(game)
    said = [episode.reset()]
    for _ in range(200):
        said.append(episode.step(rng.choice(episode.admissible_commands)))
        said += episode.admissible_commands
    return said


def test_threads_may_share_tables() -> None:
    tables = Tables(make_kitchen())
    expected = [transcript(tables, seed) for seed in range(16)]
    with ThreadPoolExecutor(max_workers=8) as pool:
        assert list(pool.map(partial(transcript, tables), range(16))) == expected


def test_processes_play_the_same_game() -> None:
    game = make_kitchen()
    with ProcessPoolExecutor(max_workers=2, mp_context=get_context("spawn")) as pool:
        played = list(pool.map(partial(transcript, game), range(4)))
    assert played == [transcript(game, seed) for seed in range(4)]


def test_memory_stays_flat_over_ten_thousand_resets() -> None:
    tables = Tables(make_kitchen())
    episode = Episode(tables)

    def resets(count: int) -> None:
        for _ in range(count):
            episode.reset()
            episode.step(episode.admissible_commands[0])

    resets(100)
    tracemalloc.start()
    try:
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        resets(10_000)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 20_000
