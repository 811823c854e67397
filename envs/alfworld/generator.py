"""Games generated from a seed, without a network: real floor plans, sampled goals and placements.

    games = GeneratedGames(split="train", seed=0, preset="small")
    game = games.game(games.task_ids[0])

A task id such as ``look_at_obj_in_light-Mug-None-DeskLamp-302/train-0-000123`` is spelt like an official one and ends
in split, seed and index, which determine the whole game. A game of another regime than the clean one
(:mod:`envs.alfworld.regimes`) has its name there too: ``train-0-wording-000123``.

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
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from envs.alfworld.game import TASK_TYPES, Game, Goal, Wording
from envs.alfworld.goals import goals_of
from envs.alfworld.layouts import floor_plan, floor_plan_numbers, kind_of
from envs.alfworld.placement import make_game
from envs.alfworld.regimes import REGIMES, Regime
from prism_bench.environments.contract import CLEAN
from prism_bench.errors import InputError

# From the names of the official games v2.1.2: valid_unseen has these four floor plans, the next eight occur in no
# public game, train has the 108 others, and valid_seen 76 of those 108.
UNSEEN_PLANS = frozenset({10, 219, 308, 424})
UNUSED_PLANS = frozenset({9, 29, 215, 226, 315, 325, 404, 425})

SPLIT_SIZES = {"train": 20_000, "valid_seen": 500, "valid_unseen": 500}
GAMES_KEPT = 256
_PARITY = {"train": 0, "valid_seen": 1}
_MOST_TRIES = 1000


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
        regimes: names in ``REGIMES``, whose games have equal shares; one that stands there twice has twice the share.
            None for clean games only.
        eval_regimes: those of the splits other than ``train``; None for the same.

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
        regimes: Sequence[str] | None = None,
        eval_regimes: Sequence[str] | None = None,
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
        taught = regimes or (CLEAN,)
        self.evaluated = tuple(eval_regimes or taught)
        """The regimes of the splits other than ``train``."""
        self.sizes = _sizes(taught if split == "train" else self.evaluated, size)
        """The number of games of each regime."""
        self._drawn = {name: self._draw_all(name, count) for name, count in self.sizes.items()}
        self.task_ids = tuple(
            _task_id(number, goal, self._stem(regime), i)
            for regime, drawn in self._drawn.items()
            for i, (number, goal) in enumerate(drawn)
        )
        self._make = functools.lru_cache(maxsize=GAMES_KEPT)(self._generate)

    def game(self, task_id: str) -> Game:
        """Return the game of that id; KeyError when it is not one of ``task_ids``."""
        return self._make(*self._parse(task_id))

    def regime(self, task_id: str) -> str:
        """Return the regime of a task; KeyError when it is not one of ``task_ids``."""
        return self._parse(task_id)[0]

    def _parse(self, task_id: str) -> tuple[str, int]:
        stem, _, tail = task_id.rpartition("/")[2].rpartition("-")
        regime = next((name for name in self._drawn if self._stem(name) == stem), None)
        index = int(tail) if tail.isdecimal() else -1
        if regime is None or not 0 <= index < len(self._drawn[regime]):
            raise KeyError(task_id)
        if _task_id(*self._drawn[regime][index], stem, index) != task_id:
            raise KeyError(task_id)
        return regime, index

    def _stem(self, regime: str) -> str:
        return f"{self.split}-{self.seed}" + ("" if regime == CLEAN else f"-{regime}")

    def _draw_all(self, regime: str, size: int) -> list[tuple[int, Goal]]:
        """Return the floor plan and the goal of every game of a regime.

        They are drawn by a hash, because seeding a random generator for every listed id takes 20 times longer.
        """
        plans, types = self._choice(REGIMES[regime])
        goals = {kind: [(number, goals_of(number, kind)) for number in plans] for kind in types}
        possible = {kind: found for kind in types if (found := [(n, offers) for n, offers in goals[kind] if offers])}
        turns = list(possible)
        if not turns:
            raise InputError(
                f"no game of the split {self.split} can be made in the regime {regime} with the floor plans "
                f"{_numbers(plans)} and the task types {', '.join(types) or 'that are left, of which there are none'}; "
                f"the floor plans of valid_unseen are {_numbers(UNSEEN_PLANS)}, and the other splits have none of these"
            )
        drawn = []
        for index in range(size):
            bits = int.from_bytes(_digest(self._name(regime, index)))
            bits, at = divmod(bits, len(possible[turns[index % len(turns)]]))
            number, offers = possible[turns[index % len(turns)]][at]
            bits, at = divmod(bits, len(offers))
            drawn.append((number, offers[at][bits % len(offers[at])]))
        return drawn

    def _choice(self, regime: Regime) -> tuple[list[int], list[str]]:
        """Return the floor plans and the task types from which the games of a regime are drawn."""
        types = [kind for kind in TASK_TYPES if kind not in self.task_types] if regime.other_types else self.task_types
        if not regime.other_rooms:
            return [number for number in self.floor_plans if _in_split(number, self.split)], list(types)
        kinds = {kind_of(number) for number in self.floor_plans}
        others = [number for number in floor_plan_numbers() if number not in self.floor_plans]
        others = [number for number in others if kind_of(number) in kinds and number not in UNSEEN_PLANS]
        unseen = others[3::4]
        return [number for number in others if (number in unseen) == (self.split == "valid_unseen")], list(types)

    def _name(self, regime: str, index: int) -> str:
        """Return what a game's random choices are seeded with."""
        return "/".join([str(self.seed), self.split, *([] if regime == CLEAN else [regime]), str(index)])

    def _generate(self, regime: str, index: int) -> Game:
        number, goal = self._drawn[regime][index]
        task_id, how = _task_id(number, goal, self._stem(regime), index), REGIMES[regime]
        wording = self.wording if not how.other_wording else next(w for w in get_args(Wording) if w != self.wording)
        for attempt in range(_MOST_TRIES):
            rng = random.Random(f"{self._name(regime, index)}/{attempt}")
            plan = floor_plan(number)
            game = make_game(task_id, plan, goal, self.objects, wording, rng, displaced=how.displaced, rule=how.rule)
            if self.split not in _PARITY or content_hash(number, game) % 2 == _PARITY[self.split]:
                return game
        raise InputError(f"{task_id}: no placement of this split was found in {_MOST_TRIES} tries; allow more objects")


def _sizes(regimes: Sequence[str], size: int) -> dict[str, int]:
    """Return the number of games of each regime."""
    for name in regimes:
        _require(name, "regime", REGIMES)
    sizes = {name: round(size * times / len(regimes)) for name, times in Counter(regimes).items()}
    if not all(sizes.values()):
        raise InputError(f"{size} games are too few for the regimes {', '.join(regimes)}")
    return sizes


def content_hash(number: int, game: Game) -> int:
    """Return the hash that decides a game's split; it ignores names, start and wording."""
    placement = sorted(f"{thing.receptacle} {thing.type}" for thing in game.things)
    goal = game.goal
    return int.from_bytes(
        _digest(f"{number}/{goal.task_type}/{goal.object_type}/{goal.receptacle_type}/{';'.join(placement)}")
    )


def _in_split(number: int, split: str) -> bool:
    if split == "valid_unseen":
        return number in UNSEEN_PLANS
    return number not in UNSEEN_PLANS | UNUSED_PLANS


def _task_id(number: int, goal: Goal, stem: str, index: int) -> str:
    target = goal.receptacle_type or goal.lamp_type
    return f"{goal.task_type}-{goal.object_type}-None-{target}-{number}/{stem}-{index:06}"


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _require(value: object, what: str, choices: Collection[object]) -> None:
    if value not in choices:
        raise InputError(f"there is no {what} {value!r}; choose from {', '.join(map(str, choices))}")


def _numbers(numbers: Collection[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))
