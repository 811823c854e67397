"""Experts that play ALFWorld: one that searches as a player must, one that knows where everything is.

``SearchExpert`` reads nothing but what the environment prints. It goes through the receptacles in a fixed order (those
in which the object may well lie first, of these the ones that need no opening first, then as the room lists them),
remembers what it saw, and does with the object what the task says. Upstream's hand-coded expert
(``alfworld/agents/expert/handcoded_expert_tw.py``) has the same plan; it searches in random order and does not know the
wording ``move X to Y``.

``OracleExpert`` follows a shortest plan from the game's own data; upstream calls such a plan ``walkthrough``.
"""

import re
from typing import Any

from envs.alfworld.game import Game
from envs.alfworld.layouts import FITS, OPENABLE

_ENTITY = re.compile(r"[a-z]+ \d+")
_ARRIVED = re.compile(r"You arrive at (?P<place>[a-z]+ \d+)\. ")
_APPLIANCES = {"clean": "sinkbasin", "heat": "microwave", "cool": "fridge"}
_FITS = {(receptacle.lower(), thing.lower()) for receptacle, thing in FITS}
_OPENABLE = {name.lower() for name in OPENABLE}

_TASKS = (
    (r"(?:look at (?:sliced )?|examine the (?:sliced )?)(?P<thing>\w+) (?:under|with) the (?P<lamp>\w+)", None),
    (r"(?:put two|find two) (?P<thing>\w+) (?:and put them )?in (?P<place>\w+)", None),
    (r"(?:put a clean|clean some) (?P<thing>\w+) (?:and put it )?in (?P<place>\w+)", "clean"),
    (r"(?:put a hot|heat some) (?P<thing>\w+) (?:and put it )?in (?P<place>\w+)", "heat"),
    (r"(?:put a cool|cool some) (?P<thing>\w+) (?:and put it )?in (?P<place>\w+)", "cool"),
    (r"put (?:a|some) (?P<thing>\w+) (?:in|on) (?P<place>\w+)", None),
)


class UnknownTaskSentenceError(ValueError):
    """A task sentence in words that the expert was not taught (people's own descriptions, say)."""


class SearchExpert:
    """Searches the room, fetches, treats and places, from the printed text alone."""

    def reset(self, observation: str, info: dict[str, Any]) -> None:
        """Read the room and the task.

        Raises:
            UnknownTaskSentenceError: the task is not in one of upstream's sentences.
        """
        room, _, sentence = observation.partition("Your task is to: ")
        for pattern, treatment in _TASKS:
            if match := re.match(pattern, sentence):
                break
        else:
            raise UnknownTaskSentenceError(f"the search expert does not understand the task {sentence.strip()!r}")
        named = match.groupdict()
        self.thing, self.lamp, self.goal = match["thing"], named.get("lamp"), named.get("place")
        self.treatment = treatment
        self.places = _ENTITY.findall(room)
        self.order = sorted(self.places, key=self._reluctance)
        self.here: str | None = None
        self.closed = False
        self.contents: dict[str, list[str]] = {}  # what was seen where
        self.held: str | None = None
        self.treated = False
        self.last = ""

    def act(self, observation: str, info: dict[str, Any]) -> str:
        """Return the next command."""
        self._remember(observation)
        self.last = self._decide(info["admissible_actions"])
        return self.last

    def _reluctance(self, place: str) -> tuple[bool, bool]:
        kind = place.split()[0]
        return (kind, self.thing) not in _FITS, kind in _OPENABLE

    def _remember(self, observation: str) -> None:
        """Take in what the last command led to."""
        if not self.last:
            return
        verb, *_ = self.last.split()
        if observation.startswith("Nothing happens"):
            if verb == "go":  # a receptacle at the very place where the player stands
                self.here, self.closed = self.last.removeprefix("go to "), False
            return
        if arrived := _ARRIVED.match(observation):
            self.here, observation = arrived["place"], observation[arrived.end() :]
        if verb in ("go", "open", "examine") and self.here is not None:
            self.closed = "is closed" in observation
            if not self.closed:
                seen = observation.partition("you see ")[2]
                self.contents[self.here] = _ENTITY.findall(seen)
        elif verb == "take" and self.here is not None:
            self.held = _ENTITY.findall(self.last)[0]
            self.contents[self.here].remove(self.held)
        elif verb in ("move", "put") and self.here is not None and self.held is not None:
            self.contents.setdefault(self.here, []).append(self.held)
            self.held, self.treated = None, False
        elif verb == self.treatment:
            self.treated = True

    def _decide(self, admissible: list[str]) -> str:
        if self.held is None:
            found = self._where(self.thing, apart_from=None if self.treatment else self._destination())
            if found is None:
                return self._explore()
            place, thing = found
            return self._at(place, f"take {thing} from {place}")
        if self.lamp is not None:
            found = self._where(self.lamp)
            return self._explore() if found is None else self._at(found[0], f"use {found[1]}")
        if self.treatment is not None and not self.treated:
            appliance = self._first(_APPLIANCES[self.treatment])
            return self._at(appliance, f"{self.treatment} {self.held} with {appliance}", opened=False)
        destination = self._destination()
        assert destination is not None
        new, old = f"move {self.held} to {destination}", f"put {self.held} in/on {destination}"
        return self._at(destination, old if old in admissible else new)

    def _at(self, place: str, command: str, opened: bool = True) -> str:
        """Return ``command``, or the step towards ``place`` (and into it) that has to come first."""
        if self.here != place:
            return f"go to {place}"
        return f"open {place}" if opened and self.closed else command

    def _explore(self) -> str:
        if self.here is not None and self.here not in self.contents:
            return f"open {self.here}" if self.closed else f"examine {self.here}"
        unseen = [place for place in self.order if place not in self.contents]
        return f"go to {unseen[0]}" if unseen else "look"

    def _where(self, kind: str, apart_from: str | None = None) -> tuple[str, str] | None:
        """Return the nearest place, this one first, where something of ``kind`` was seen, and the thing itself."""
        places = [*([self.here] if self.here in self.contents else []), *self.contents]
        for place in places:
            if place is not None and place != apart_from:
                for thing in self.contents[place]:
                    if thing.split()[0] == kind:
                        return place, thing
        return None

    def _first(self, kind: str) -> str:
        return next((place for place in self.places if place.split()[0] == kind), f"{kind} 1")

    def _destination(self) -> str | None:
        """Return the receptacle to fill: the one that already holds such a thing, else the first of its kind."""
        if self.goal is None:
            return None
        kind = [place for place in self.places if place.split()[0] == self.goal]
        holding = [
            place for place in kind if any(thing.split()[0] == self.thing for thing in self.contents.get(place, ()))
        ]
        return (holding or kind or [f"{self.goal} 1"])[0]


class OracleExpert:
    """Follows a shortest plan computed from the game itself.

    It sees what no player sees, so its episodes show what is possible, not how to find it.
    """

    def __init__(self, game: Game) -> None:
        self.game = game

    def reset(self, observation: str, info: dict[str, Any]) -> None:
        self.plan = iter(shortest_plan(self.game))

    def act(self, observation: str, info: dict[str, Any]) -> str:
        return next(self.plan, "look")
