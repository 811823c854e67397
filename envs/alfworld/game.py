"""One ALFWorld game as plain data, from the generator or from an official file.

Source: the PDDL problems inside ``game.tw-pddl`` (ALFWorld, https://github.com/alfworld/alfworld, MIT). A problem lists
the receptacles and their locations, their contents, the types that fit into each, and a goal of one of six forms.
Everything else in it (distances, object classes that do not occur) never shows in the text of a game and is left out.
"""

from dataclasses import dataclass
from typing import Literal

TASK_TYPES = (
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
)

Wording = Literal["move", "put"]
"""``move X to Y`` (games from v2.1.2 on) or ``put X in/on Y`` (up to v2.1.1)."""

Rule = Literal["examine_first"]
"""A rule that no official game has: nothing can be taken from a receptacle before it was examined."""


@dataclass(frozen=True, slots=True)
class Receptacle:
    """A place that holds objects and never moves. ``id`` is its PDDL name, ``name`` the one in texts."""

    id: str
    name: str
    type: str  # as the layouts spell it, without the PDDL suffix: "CounterTop"
    location: str  # several receptacles may share one
    openable: bool
    opened: bool


@dataclass(frozen=True, slots=True)
class Thing:
    """An object. ``receptacle`` is the id of the receptacle that holds it at the start, None if none does.

    Official games have objects that upstream's geometry finds in several receptacles at once (a coffee machine and the
    counter under it); ``also_in`` holds the others. A ``vessel`` is an object that others can lie in, such as a bowl;
    its contents show when it is examined and never change.
    """

    id: str
    name: str
    type: str
    receptacle: str | None
    location: str | None
    pickupable: bool = False
    cleanable: bool = False
    heatable: bool = False
    coolable: bool = False
    toggleable: bool = False
    sliceable: bool = False
    also_in: tuple[str, ...] = ()  # ids of further receptacles
    vessel: bool = False
    inside_vessels: tuple[str, ...] = ()  # ids of the vessels that hold it
    cool: bool = False  # already cold at the start


@dataclass(frozen=True, slots=True)
class Goal:
    """The winning condition: one of the six task types and the types it names."""

    task_type: str
    object_type: str
    receptacle_type: str | None = None  # None for look_at_obj_in_light
    lamp_type: str | None = None  # look_at_obj_in_light only


@dataclass(frozen=True, slots=True)
class Game:
    """A whole game, immutable and shared by all its episodes."""

    task_id: str
    task_sentence: str  # after "Your task is to: "
    wording: Wording
    start: str  # the location of the agent
    receptacles: tuple[Receptacle, ...]
    things: tuple[Thing, ...]
    fits: frozenset[tuple[str, str]]  # (receptacle type, object type)
    goal: Goal
    rule: Rule | None = None
