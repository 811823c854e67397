"""Small games, and the fewest commands that win them by trying all: a reference for the planner."""

import copy
import random
from dataclasses import replace
from typing import Any, get_args

from envs.alfworld.engine import APPLIANCES, Episode
from envs.alfworld.game import TASK_TYPES, Game, Goal, Receptacle, Rule, Thing, Wording
from envs.alfworld.naming import number_names


def tiny_game(rng: random.Random) -> Game:
    """Return a game of few receptacles, which may share locations and be open, with two or three apples."""
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
        wording=rng.choice(get_args(Wording)),
        start=f"loc_bar_{rng.choice([0, 0, 1])}",
        receptacles=receptacles,
        things=tuple(things),
        fits=frozenset((kind, "Apple") for kind in kinds if rng.random() < 0.9),
        goal=goal,
        rule=rng.choice([None, None, *get_args(Rule)]),
    )


def fewest_commands(game: Game) -> int | None:
    """Return the fewest commands that win, by breadth-first search over those with an effect; None above nine."""
    start = Episode(game)
    seen, layer = {state(start)}, [start]
    for depth in range(10):
        if any(episode.won for episode in layer):
            return depth
        following = []
        for episode in layer:
            for command in episode.admissible_commands:
                if command.partition(" ")[0] not in ("help", "inventory", "look", *([] if game.rule else ["examine"])):
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
    """Return the state of an episode, without the parts that only texts and slicing depend on."""
    e = episode
    sets = (e._opened, e._clean, e._hot, e._cool, e._used, e._examined if e._tables.game.rule else set())
    return (e._place, e._held, e.won, *map(tuple, e._contents), *map(frozenset, sets))
