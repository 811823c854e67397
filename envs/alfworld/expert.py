"""Experts for ALFWorld: one that searches the room as a policy must, one that knows the whole game.

``SearchExpert`` reads only the observations. It goes through the receptacles in a fixed order (first those that the
object fits, first of these the ones that are never closed, otherwise in the order of the room's list), remembers their
contents, and treats and places the object as the task asks. It knows the regime of the game (``info["regime"]``): where
things lie, the rule, and whether it is to go astray. Upstream's hand-coded expert
(``alfworld/agents/expert/handcoded_expert_tw.py``) has the same plan; it searches in random order and does not know the
wording ``move X to Y``.

``OracleExpert`` follows a shortest plan from the game's own data; upstream calls such a plan ``walkthrough``.
"""

import random
import re
from typing import Any

from envs.alfworld.engine import APPLIANCES, NOTHING_HAPPENS
from envs.alfworld.game import Game
from envs.alfworld.layouts import FITS, OPENABLE
from envs.alfworld.planner import shortest_plan
from envs.alfworld.regimes import DISPLACED, REGIMES
from prism_bench.environments.contract import CLEAN
from prism_bench.errors import InputError

_ENTITY = re.compile(r"[a-z]+ \d+")
_APPLIANCE_FOR = {verb: receptacle.lower() for receptacle, verb in APPLIANCES.items()}
_FITS = {(receptacle.lower(), thing.lower()) for receptacle, thing in FITS}
_DISPLACED = {(receptacle.lower(), thing.lower()) for receptacle, thing in DISPLACED}
_OPENABLE = {receptacle.lower() for receptacle in OPENABLE}

# Upstream's task sentences, and the treatment of the object that they ask for.
_TASKS = (
    (r"(?:look at|examine the) (?P<thing>\w+) (?:under|with) the (?P<lamp>\w+)", None),
    (r"(?:put two|find two) (?P<thing>\w+) (?:and put them )?in (?P<goal>\w+)", None),
    (r"(?:put a clean|clean some) (?P<thing>\w+) (?:and put it )?in (?P<goal>\w+)", "clean"),
    (r"(?:put a hot|heat some) (?P<thing>\w+) (?:and put it )?in (?P<goal>\w+)", "heat"),
    (r"(?:put a cool|cool some) (?P<thing>\w+) (?:and put it )?in (?P<goal>\w+)", "cool"),
    (r"put (?:a|some) (?P<thing>\w+) (?:in|on) (?P<goal>\w+)", None),
)


class SearchExpert:
    """Expert that searches the room for the object, then treats and places it; it reads only the observations."""

    def reset(self, observation: str, info: dict[str, Any]) -> None:
        """Read the room and the task.

        Raises:
            InputError: the task is none of upstream's sentences.
        """
        room, _, sentence = observation.partition("Your task is to: ")
        named, self.treatment = _read_task(sentence)
        self.thing, self.lamp, self.goal = named["thing"], named.get("lamp"), named.get("goal")
        self.regime = REGIMES[info.get("regime") or CLEAN]
        self.detours = random.Random(info.get("task_id"))
        self.likely = _DISPLACED if self.regime.displaced else _FITS
        self.places: list[str] = _ENTITY.findall(room)
        self.search_order = sorted(self.places, key=self._reluctance)
        self.contents: dict[str, list[str]] = {}  # of the places seen inside, which are open
        self.closed: set[str] = set()
        self.here: str | None = None
        self.held: str | None = None
        self.treated = False
        self.examined: set[str] = set()
        self.put = "move {thing} to {place}"
        self.last = ""

    def act(self, observation: str, info: dict[str, Any]) -> str:
        """Return the next command; ``info`` is not used."""
        self._remember(self.last, observation)
        self.last = self._decide()
        if self.detours.random() < self.regime.detours:
            self.last = f"go to {self.detours.choice([place for place in self.places if place != self.here])}"
        return self.last

    def _reluctance(self, place: str) -> tuple[bool, bool]:
        kind = _kind(place)
        return (kind, self.thing) not in self.likely, kind in _OPENABLE

    def _remember(self, command: str, answer: str) -> None:
        """Update the memory with the answer to ``command``."""
        verb = command.partition(" ")[0]
        if verb == "go":
            # After "Nothing happens." too: two receptacles may share a location, and no command goes from one to the
            # other. The second has to be examined.
            self.here = command.removeprefix("go to ")
        if answer == NOTHING_HAPPENS or self.here is None:
            return
        if verb == "examine":
            self.examined.add(self.here)
        match verb:
            case "go" | "open" | "examine":
                self._see(self.here, answer)
            case "take":
                self.held = _ENTITY.findall(command)[0]
                self.contents[self.here].remove(self.held)
            case "move" | "put":
                self.contents[self.here].append(_ENTITY.findall(command)[0])
                self.held, self.treated = None, False
            case self.treatment:
                self.treated = True

    def _see(self, place: str, answer: str) -> None:
        """Update the memory with a sentence such as ``You arrive at fridge 1. The fridge 1 is closed.``"""
        if answer.startswith("You arrive at loc "):  # only games with the older wording print the location
            self.put = "put {thing} in/on {place}"
        if answer.endswith("is closed."):
            self.closed.add(place)
        else:
            self.closed.discard(place)
            self.contents[place] = _ENTITY.findall(answer.partition("you see ")[2])

    def _decide(self) -> str:
        if self.held is None:
            found = self._find(self.thing)
            return self._take(*found) if found else self._explore()
        if self.lamp is not None:
            found = self._find(self.lamp)
            return self._inside(found[1], f"use {found[0]}") if found else self._explore()
        if self.treatment is not None and not self.treated:
            appliance = self._first(_APPLIANCE_FOR[self.treatment])
            return self._beside(appliance, f"{self.treatment} {self.held} with {appliance}")
        place = self._destination()
        return self._inside(place, self.put.format(thing=self.held, place=place))

    def _take(self, thing: str, place: str) -> str:
        unexamined = self.regime.rule == "examine_first" and place not in self.examined
        return self._inside(place, f"examine {place}" if unexamined else f"take {thing} from {place}")

    def _beside(self, place: str, command: str) -> str:
        """Return ``command``, or the command to go to ``place`` first."""
        return command if self.here == place else f"go to {place}"

    def _inside(self, place: str, command: str) -> str:
        """Return ``command``, or a command that must come first: go to ``place``, examine it, open it."""
        if self.here == place and place not in self.contents:
            command = f"open {place}" if place in self.closed else f"examine {place}"
        return self._beside(place, command)

    def _explore(self) -> str:
        """Return the next command to see the inside of the first place not seen yet."""
        unseen = [place for place in self.search_order if place not in self.contents]
        if self.here in unseen:
            unseen.insert(0, self.here)
        return self._inside(unseen[0], "look") if unseen else "look"

    def _find(self, kind: str) -> tuple[str, str] | None:
        """Return a thing of ``kind`` to take and its place: here if possible, else the place seen first.

        Of two things to bring to one place, the first stays where it was put.
        """
        stays = self.contents.get(self._destination(), []) if self.goal and self.treatment is None else []
        for place in sorted(self.contents, key=lambda place: place != self.here):
            for thing in self.contents[place]:
                if _kind(thing) == kind and thing not in stays:
                    return thing, place
        return None

    def _destination(self) -> str:
        """Return the receptacle to fill: the first of its kind that holds such a thing already, else the first."""
        assert self.goal is not None
        for place in self.places:
            if _kind(place) == self.goal and self.thing in map(_kind, self.contents.get(place, ())):
                return place
        return self._first(self.goal)

    def _first(self, kind: str) -> str:
        return next((place for place in self.places if _kind(place) == kind), f"{kind} 1")


class OracleExpert:
    """Expert that follows a shortest plan computed from the game itself.

    It uses facts that no observation shows. Its episodes show the shortest solutions, not how to find them.
    """

    def __init__(self, game: Game) -> None:
        self.game = game

    def reset(self, observation: str, info: dict[str, Any]) -> None:
        """Compute the plan.

        Raises:
            InputError: nothing wins the game.
        """
        self.plan = iter(shortest_plan(self.game))

    def act(self, observation: str, info: dict[str, Any]) -> str:
        """Return the next command of the plan."""
        return next(self.plan, "look")


def _read_task(sentence: str) -> tuple[dict[str, str], str | None]:
    for pattern, treatment in _TASKS:
        if match := re.match(pattern, sentence):
            return match.groupdict(), treatment
    raise InputError(f"the search expert does not understand the task {sentence.strip()!r}")


def _kind(name: str) -> str:
    return name.partition(" ")[0]
