"""Games generated from a seed, without a network: real floor plans, sampled goals and placements.

    games = GeneratedGames(split="train", seed=0, preset="small")
    game = games.game(games.task_ids[0])

A task id such as ``look_at_obj_in_light-Mug-None-DeskLamp-302/train-0-000123`` is spelt like an official one and ends
in split, seed and index, which determine the whole game.

The splits never share a game. ``valid_unseen`` has its own floor plans, the four official ones. ``train`` and
``valid_seen`` share floor plans and differ in the content of their games (floor plan, goal, types in each receptacle;
not the start, the wording or the numbers of the objects): a hash of it is even in ``train`` and odd in ``valid_seen``,
for all seeds, and a placement of the wrong parity is drawn again.

Objects are placed by :mod:`envs.alfworld.placement`, so results on generated games do not compare with results on
official ones.
"""

import functools
import hashlib
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from envs.alfworld.game import TASK_TYPES, Game, Goal, Wording
from envs.alfworld.layouts import DESK_LAMP, FloorPlan, affords, floor_plan, floor_plan_numbers
from envs.alfworld.placement import make_game
from prism_bench.errors import InputError

# From the names of the official games v2.1.2: valid_unseen has these four floor plans, the next eight occur in no
# public game, train has the 108 others, and valid_seen 76 of those 108.
UNSEEN_PLANS = frozenset({10, 219, 308, 424})
UNUSED_PLANS = frozenset({9, 29, 215, 226, 315, 325, 404, 425})

SPLIT_SIZES = {"train": 20_000, "valid_seen": 500, "valid_unseen": 500}
GAMES_KEPT = 256
_PARITY = {"train": 0, "valid_seen": 1}
_MOST_TRIES = 1000

# Receptacles that are no target of an official goal, and no target for two objects, because they hold only one.
NO_TARGETS = frozenset({"BathtubBasin", "HandTowelHolder", "LaundryHamper", "SinkBasin", "TVStand", "TowelHolder"})
NO_TARGETS_FOR_TWO = NO_TARGETS | {"CoffeeMachine", "StoveBurner", "ToiletPaperHanger"}
# The property that a task needs of its object, and the appliance, which is no target of the same task.
TREATMENTS = {
    "pick_clean_then_place_in_recep": ("cleanable", "SinkBasin"),
    "pick_heat_then_place_in_recep": ("heatable", "Microwave"),
    "pick_cool_then_place_in_recep": ("coolable", "Fridge"),
}


@dataclass(frozen=True)
class Preset:
    """A choice of games; ``objects`` are the least and most things to pick up, None: as in official rooms."""

    floor_plans: tuple[int, ...]
    task_types: tuple[str, ...]
    objects: tuple[int, int] | None


PRESETS: Mapping[str, Preset] = {
    "full": Preset(
        floor_plans=tuple(number for number in floor_plan_numbers() if number not in UNUSED_PLANS),
        task_types=TASK_TYPES,
        objects=None,
    ),
    # Bedrooms with at most 14 receptacles: short texts, and few places to search.
    "small": Preset(
        floor_plans=(302, 304, 305, 306, 307, 308, 309, 310, 311, 312, 313, 314, 316, 320, 321, 322, 328, 329),
        task_types=("pick_and_place_simple", "look_at_obj_in_light"),
        objects=(10, 14),
    ),
}


class GeneratedGames:
    """The generated games of one split, a :class:`envs.alfworld.source.GameSource`.

    Args:
        split: ``train``, ``valid_seen`` or ``valid_unseen``.
        seed: other seeds give other games; the splits are disjoint across all seeds.
        preset: a name in ``PRESETS``, the defaults of the next three arguments.
        floor_plans: numbers of floor plans.
        task_types: names in ``TASK_TYPES``; the tasks take turns.
        objects: the least and the most things to pick up in a room.
        games: number of games of the split; None takes ``SPLIT_SIZES``. Any number is cheap.
        wording: ``move`` (games from v2.1.2 on) or ``put`` (up to v2.1.1).

    Raises:
        InputError: an option does not exist, or the options leave no game.
    """

    def __init__(
        self,
        split: str = "train",
        seed: int = 0,
        preset: Literal["full", "small"] = "small",
        floor_plans: Sequence[int] | None = None,
        task_types: Sequence[str] | None = None,
        objects: tuple[int, int] | None = None,
        games: int | None = None,
        wording: Wording = "move",
    ) -> None:
        _require(split, "split", SPLIT_SIZES)
        _require(preset, "preset", PRESETS)
        _require(wording, "wording", get_args(Wording))
        chosen = PRESETS[preset]
        self.split, self.seed, self.wording = split, seed, wording
        self.floor_plans = tuple(chosen.floor_plans if floor_plans is None else floor_plans)
        self.task_types = tuple(chosen.task_types if task_types is None else task_types)
        self.objects = chosen.objects if objects is None else (int(objects[0]), int(objects[1]))
        size = SPLIT_SIZES[split] if games is None else games
        for task_type in self.task_types:
            _require(task_type, "task type", TASK_TYPES)
        for number in self.floor_plans:
            _require(number, "floor plan", floor_plan_numbers())
        if size < 1:
            raise InputError(f"games={size} leaves no game; ask for 1 or more")
        if self.objects is not None and not 2 <= self.objects[0] <= self.objects[1]:
            raise InputError(f"objects={self.objects} is no range; give the least (2 or more) and the most")
        playable = [number for number in self.floor_plans if _in_split(number, split)]
        goals = {kind: [(number, goals_of(number, kind)) for number in playable] for kind in self.task_types}
        self._goals = {kind: [(number, found) for number, found in plans if found] for kind, plans in goals.items()}
        self._turns = [kind for kind in self.task_types if self._goals[kind]]
        if not self._turns:
            raise InputError(
                f"no game of the split {split} can be made in the floor plans {_numbers(self.floor_plans)} with the "
                f"task types {', '.join(self.task_types)}; the floor plans of valid_unseen are "
                f"{_numbers(UNSEEN_PLANS)}, and the other splits have none of these"
            )
        self._drawn = [self._draw(index) for index in range(size)]
        self.task_ids = tuple(_task_id(number, goal, split, seed, i) for i, (number, goal) in enumerate(self._drawn))
        self._make = functools.lru_cache(maxsize=GAMES_KEPT)(self._generate)

    def game(self, task_id: str) -> Game:
        """Return the game of that id; KeyError when it is not one of ``task_ids``."""
        tail = task_id.rpartition("-")[2]
        index = int(tail) if tail.isdecimal() else -1
        if not 0 <= index < len(self.task_ids) or self.task_ids[index] != task_id:
            raise KeyError(task_id)
        return self._make(index)

    def _draw(self, index: int) -> tuple[int, Goal]:
        # Drawn by a hash, because seeding a random generator for every listed id takes 20 times longer.
        kind = self._turns[index % len(self._turns)]
        bits = int.from_bytes(_digest(f"{self.seed}/{self.split}/{index}"))
        bits, at = divmod(bits, len(self._goals[kind]))
        number, goals = self._goals[kind][at]
        bits, at = divmod(bits, len(goals))
        targets = goals[at]
        return number, targets[bits % len(targets)]

    def _generate(self, index: int) -> Game:
        number, goal = self._drawn[index]
        for attempt in range(_MOST_TRIES):
            rng = random.Random(f"{self.seed}/{self.split}/{index}/{attempt}")
            game = make_game(self.task_ids[index], floor_plan(number), goal, self.objects, self.wording, rng)
            if self.split not in _PARITY or content_hash(number, game) % 2 == _PARITY[self.split]:
                return game
        raise InputError(
            f"{self.task_ids[index]}: no placement of this split was found in {_MOST_TRIES} tries; allow more objects"
        )


def content_hash(number: int, game: Game) -> int:
    """Return the hash that decides a game's split; it ignores names, start and wording."""
    placement = sorted(f"{thing.receptacle} {thing.type}" for thing in game.things)
    goal = game.goal
    return int.from_bytes(
        _digest(f"{number}/{goal.task_type}/{goal.object_type}/{goal.receptacle_type}/{';'.join(placement)}")
    )


@functools.cache
def goals_of(number: int, task_type: str) -> tuple[tuple[Goal, ...], ...]:
    """Return the goals of a task type that a floor plan can offer, grouped by the type of the object."""
    plan = floor_plan(number)
    if task_type not in plan.task_types:
        return ()
    if task_type == "look_at_obj_in_light":
        kinds = sorted(plan.holders) if plan.lamp_stands else []
        return tuple((Goal(task_type, kind, lamp_type=DESK_LAMP),) for kind in kinds)
    grouped = ([Goal(task_type, kind, target) for target in _targets(plan, task_type, kind)] for kind in plan.holders)
    return tuple(tuple(goals) for goals in grouped if goals)


def _targets(plan: FloorPlan, task_type: str, kind: str) -> list[str]:
    """Return the types of receptacles to which a task can ask to bring an object of type ``kind``."""
    types = {holder.type for holder in plan.holders[kind]}
    if task_type in TREATMENTS:
        affordance, appliance = TREATMENTS[task_type]
        if not affords(affordance, kind) or appliance not in plan.receptacle_types:
            return []
        return sorted(types - NO_TARGETS - {appliance})
    if len(types) < 2:
        return []  # the object could only start at its target
    return sorted(types - (NO_TARGETS_FOR_TWO if task_type == "pick_two_obj_and_place" else NO_TARGETS))


def _in_split(number: int, split: str) -> bool:
    if split == "valid_unseen":
        return number in UNSEEN_PLANS
    return number not in UNSEEN_PLANS | UNUSED_PLANS


def _task_id(number: int, goal: Goal, split: str, seed: int, index: int) -> str:
    target = goal.receptacle_type or goal.lamp_type
    return f"{goal.task_type}-{goal.object_type}-None-{target}-{number}/{split}-{seed}-{index:06}"


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _require(value: object, what: str, choices: Collection[object]) -> None:
    if value not in choices:
        raise InputError(f"there is no {what} {value!r}; choose from {', '.join(map(str, choices))}")


def _numbers(numbers: Collection[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))
