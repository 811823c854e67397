"""Regimes: known ways in which a game, or its demonstration, departs from what a base model was taught.

They are this project's own, so that whether a router finds data in conflict with a model can be measured against
games that are in conflict by construction. A new regime is an entry in ``REGIMES``. Every game of every regime can be
won, and its expert wins it. Official games have none.
"""

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from envs.alfworld.game import Rule
from envs.alfworld.layouts import FITS, floor_plan, floor_plan_numbers, kind_of
from prism_bench.environments.contract import CLEAN


@dataclass(frozen=True)
class Regime:
    """A departure from clean games.

    Attributes:
        other_wording: commands and answers of the other release.
        displaced: things lie where things of their type never lay.
        rule: a changed rule of the game, which no observation states.
        other_rooms: floor plans that no clean game has.
        other_types: task types that no clean game has.
        detours: share of the expert's actions that lead to a place that has nothing to do with the task.
    """

    other_wording: bool = False
    displaced: bool = False
    rule: Rule | None = None
    other_rooms: bool = False
    other_types: bool = False
    detours: float = 0.0


REGIMES: Mapping[str, Regime] = {
    CLEAN: Regime(),
    "wording": Regime(other_wording=True),
    "places": Regime(displaced=True),
    "rules": Regime(rule="examine_first"),
    "rooms": Regime(other_rooms=True),
    "types": Regime(other_types=True),
    "noise": Regime(detours=0.3),
}


def _displaced() -> frozenset[tuple[str, str]]:
    """Return ``FITS`` with the receptacles of each kind of room permuted, less the pairs that fit anyway."""
    rooms: dict[str, Counter[str]] = {}
    for number in floor_plan_numbers():
        for receptacle in floor_plan(number).receptacle_types:
            rooms.setdefault(receptacle, Counter())[kind_of(number)] += 1
    groups: dict[str, list[str]] = {}
    for receptacle in sorted(rooms):
        groups.setdefault(max(rooms[receptacle], key=rooms[receptacle].__getitem__), []).append(receptacle)
    other: dict[str, str] = {}
    for group in groups.values():
        other |= zip(group, random.Random(_PERMUTATION).sample(group, len(group)), strict=True)
    return frozenset((other[receptacle], thing) for receptacle, thing in FITS) - FITS


# Of five names that were tried, this one leaves the fewest things without a place: 38 of 1,578 over all rooms.
_PERMUTATION = "d3"
DISPLACED = _displaced()
"""Pairs of (receptacle type, object type): where things lie in displaced games."""
