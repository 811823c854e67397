"""The 120 floor plans and the facts about their objects, from ``layouts.json``.

The source of every fact is in :mod:`envs.alfworld.extract_layouts`.
"""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envs.alfworld.game import Receptacle
from envs.alfworld.naming import SEPARATOR, number_names

# The receptacles of lamps in official games with the goal look_at_obj_in_light, the most common first; the package does
# not list them. Floor lamps stand in no receptacle, so that no goal names one.
LAMP_STANDS = ("Desk", "SideTable", "Dresser", "Shelf", "CoffeeTable")
DESK_LAMP = "DeskLamp"


@dataclass(frozen=True)
class FloorPlan:
    """One room: its receptacles as every game in it has them, and the types of objects that it may hold."""

    number: int
    kind: str  # Kitchen, LivingRoom, Bedroom or Bathroom
    task_types: tuple[str, ...]
    receptacles: tuple[Receptacle, ...]
    holders: Mapping[str, tuple[Receptacle, ...]]  # object type -> receptacles that it fits
    lamp_stands: tuple[Receptacle, ...]  # empty if there is no desk lamp or no receptacle for it
    standing: tuple[str, ...]  # locations without a receptacle
    fits: frozenset[tuple[str, str]]  # (receptacle type, object type)

    @property
    def receptacle_types(self) -> frozenset[str]:
        """The types of receptacles in this room."""
        return frozenset(receptacle.type for receptacle in self.receptacles)


@functools.cache
def facts() -> Mapping[str, Any]:
    """Return the content of ``layouts.json``."""
    content: Mapping[str, Any] = json.loads(Path(__file__).with_name("layouts.json").read_text(encoding="utf-8"))
    return content


# Pairs of (receptacle type, object type that fits it), and the types of receptacles that are closed at the start.
FITS = frozenset((holder, held) for holder, kinds in facts()["fits"].items() for held in kinds)
OPENABLE = frozenset(facts()["openable"])


def floor_plan_numbers() -> tuple[int, ...]:
    """Return the numbers of all floor plans, ascending."""
    return tuple(int(number) for number in facts()["floor_plans"])


def kind_of(number: int) -> str:
    """Return the kind of room of a floor plan."""
    kinds: Mapping[str, list[int]] = facts()["room_kinds"]
    return next(kind for kind, (first, last) in kinds.items() if first <= number <= last)


def affords(name: str, object_type: str) -> bool:
    """Return whether objects of this type are ``cleanable``, ``heatable``, ``coolable``, ..., or a ``vessel``."""
    return object_type in facts()["affordances"][name]


@functools.cache
def floor_plan(number: int) -> FloorPlan:
    """Return one floor plan; the object is shared by all its games."""
    known = facts()
    entry = known["floor_plans"][str(number)]
    places = {
        receptacle_id(kind, rank): (kind, location_id(place))
        for kind, entries in entry["receptacles"].items()
        for rank, place in enumerate(entries, 1)
    }
    names = number_names(places)
    receptacles = tuple(
        Receptacle(identifier, names[identifier], kind, location, openable=kind in OPENABLE, opened=False)
        for identifier, (kind, location) in sorted(places.items())
    )
    holders = {
        kind: tuple(receptacle for receptacle in receptacles if (receptacle.type, kind) in FITS)
        for kind in entry["objects"]
    }
    stands: tuple[Receptacle, ...] = ()
    if DESK_LAMP in entry["objects"]:
        by_type = (tuple(found for found in receptacles if found.type == stand) for stand in LAMP_STANDS)
        stands = next(filter(None, by_type), ())
    kind = kind_of(number)
    return FloorPlan(
        number=number,
        kind=kind,
        task_types=tuple(known["tasks_of_room_kind"][kind]),
        receptacles=receptacles,
        holders={held: found for held, found in holders.items() if found},
        lamp_stands=stands,
        standing=tuple(location_id(place) for place in entry["standing"]),
        fits=frozenset((receptacle.type, held) for held, found in holders.items() for receptacle in found),
    )


def receptacle_id(kind: str, rank: int) -> str:
    """Return the PDDL id, in lower case as in TextWorld; the rank has two digits so that ids sort as upstream's."""
    lowered = kind.lower()
    basin = f"{SEPARATOR}{lowered}" if lowered.endswith("basin") else ""
    return f"{lowered.removesuffix('basin')}{SEPARATOR}{rank:02}{basin}"


def location_id(place: list[int]) -> str:
    """Return the PDDL id of a place, spelt as upstream does: ``loc_bar__minus_8_bar_3_bar_1_bar_45``."""
    return SEPARATOR.join(["loc", *(f"_minus_{-number}" if number < 0 else str(number) for number in place)])
