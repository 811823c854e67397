"""The native ALFWorld engine: the commands of a game, answered word for word as by upstream's TextWorld.

A step takes about a thousandth of TextWorld's time.

Source: the PDDL domain ``alfred.pddl`` and the text grammar ``alfred.twl2`` of ALFWorld (package 0.4.2 and the games
v2.1.1 and v2.1.2, MIT), as TextWorld 1.7 executes them (``textworld/envs/pddl``). Quirks of these files are kept,
because a policy sees them:

* a typo in the domain (a type called ``location,``) restricts ``examine`` to objects in the hand;
* going to a receptacle at the agent's own location changes nothing, so that the planner drops it: "Nothing happens.";
* ``look`` away from every receptacle sees nothing, although the first observation lists the room;
* an object that was taken out of one receptacle and put into another at the same location is from then on also listed
  "next to" the location;
* official objects may be in several receptacles at once, and one that was taken out of the first stays in the second;
* an object stays at every location where it was put and not taken again: it can be sliced there, even while it is in
  the hand or in a closed receptacle; slicing and cleaning may be repeated, heating undoes cooling and the reverse;
* a lamp that was used once stays on, can be used inside a closed receptacle, and gives light while it is held if it is
  still in a second receptacle;
* games up to v2.1.1 have no ``help`` and announce an arrival by the name of the location: "You arrive at loc 12."

One rule is this project's own (:data:`envs.alfworld.game.Rule`), and off in every official game.

Lists in texts are in the order of the PDDL ids. :class:`~envs.alfworld.tables.Tables` never change and may be shared by
threads; an :class:`Episode` may not.
"""

from bisect import insort
from collections.abc import Callable
from typing import ClassVar

from envs.alfworld.state import State

NOTHING_HAPPENS = "Nothing happens."
KNIVES = ("Knife", "ButterKnife")
APPLIANCES = {"SinkBasin": "clean", "Microwave": "heat", "Fridge": "cool"}

_HELP = """\
Available commands:
  look:                             look around your current location
  inventory:                        check your current inventory
  go to (receptacle):               move to a receptacle
  open (receptacle):                open a receptacle
  close (receptacle):               close a receptacle
  take (object) from (receptacle):  take an object from a receptacle
  move (object) to (receptacle):  place an object in or on a receptacle
  examine (something):              examine a receptacle or an object
  use (object):                     use an object
  heat (object) with (receptacle):  heat an object using a receptacle
  clean (object) with (receptacle): clean an object using a receptacle
  cool (object) with (receptacle):  cool an object using a receptacle
  slice (object) with (object):     slice an object using a sharp object
"""


class Episode(State):
    """One episode of a game. ``won`` and ``admissible_commands`` describe the state after the last call."""

    def step(self, command: str) -> str:
        """Carry out ``command`` and return the answer; a command that is not admissible changes nothing."""
        verb, _, rest = command.strip().partition(" ")
        act = self._VERBS.get(verb)
        feedback = act(self, rest) if act else None
        return NOTHING_HAPPENS if feedback is None else feedback

    @property
    def admissible_commands(self) -> list[str]:
        """The commands with an effect in this state, sorted; a new list at each call."""
        tables, held, place = self._tables, self._held, self._place
        commands = tables.always[place].copy()
        for r in tables.at[place]:
            receptacle, contents = tables.receptacles[r], self._contents[r]
            name = receptacle.name
            closed = self._is_closed(r)
            if receptacle.openable:
                commands.append(f"open {name}" if closed else f"close {name}")
            commands += [f"use {tables.things[t].name}" for t in contents if tables.things[t].toggleable]
            if held is None:
                if self._is_takeable_from(r):
                    commands += [
                        f"take {tables.things[t].name} from {name}" for t in contents if tables.things[t].pickupable
                    ]
                continue
            thing = tables.things[held]
            if not closed and (receptacle.type, thing.type) in tables.game.fits:
                commands.append(f"{tables.put_verb} {thing.name}{tables.put_link}{name}")
            treatment = APPLIANCES.get(receptacle.type)
            if treatment in tables.treatments[held]:
                commands.append(f"{treatment} {thing.name} with {name}")
        if held is not None:
            name = tables.things[held].name
            commands.append(f"examine {name}")
            if tables.things[held].type in KNIVES:
                here = [t for t in tables.sliceable if (t, place) in self._lies_at]
                commands += [f"slice {tables.things[t].name} with {name}" for t in here]
        commands.sort()
        if len(tables.at[place]) > 1:
            # A lamp that stands in two receptacles of this place is used by one command.
            return list(dict.fromkeys(commands))
        return commands

    def _look(self, rest: str) -> str | None:
        return None if rest else self._view()

    def _inventory(self, rest: str) -> str | None:
        if rest:
            return None
        if self._held is None:
            return "You are not carrying anything."
        return f"You are carrying: {self._tables.thing_texts[self._held]}."

    def _help(self, rest: str) -> str | None:
        return _HELP if self._tables.newer and not rest else None

    def _examine(self, rest: str) -> str | None:
        receptacle = self._receptacle_here(rest)
        if receptacle is not None:
            self._examined.add(receptacle)
            return self._describe(receptacle)
        if self._held is None or self._tables.things[self._held].name != rest:
            return None
        return self._describe_held(self._held, self._tables.things[self._held])

    def _go(self, rest: str) -> str | None:
        tables = self._tables
        receptacle = tables.receptacle_named.get(rest[3:]) if rest.startswith("to ") else None
        if receptacle is None or tables.place_of[receptacle] == self._place:
            return None
        self._place = tables.place_of[receptacle]
        self.won = self._goal_holds()
        arrived = tables.receptacles[receptacle].name if tables.newer else tables.location_names[self._place]
        return f"You arrive at {arrived}. {self._describe(receptacle)}"

    def _open(self, rest: str) -> str | None:
        receptacle = self._receptacle_here(rest)
        if receptacle is None or not self._is_closed(receptacle):
            return None
        self._opened.add(receptacle)
        return f"You open the {rest}. {self._describe(receptacle)}"

    def _close(self, rest: str) -> str | None:
        receptacle = self._receptacle_here(rest)
        if receptacle is None or receptacle not in self._opened or not self._tables.receptacles[receptacle].openable:
            return None
        self._opened.remove(receptacle)
        return f"You close the {rest}."

    def _take(self, rest: str) -> str | None:
        if self._held is not None:
            return None
        name, _, holder = rest.partition(" from ")
        thing, receptacle = self._tables.thing_named.get(name), self._receptacle_here(holder)
        if thing is None or receptacle is None or not self._is_takeable_from(receptacle):
            return None
        contents = self._contents[receptacle]
        if thing not in contents or not self._tables.things[thing].pickupable:
            return None
        contents.remove(thing)
        self._held = thing
        self._lies_at.discard((thing, self._place))
        self._taken_out.add((thing, receptacle))
        self.won = self._goal_holds()
        return f"You pick up the {name} from the {holder}."

    def _put(self, verb: str, rest: str) -> str | None:
        tables, held = self._tables, self._held
        if verb != tables.put_verb:
            return None
        name, _, holder = rest.partition(tables.put_link)
        receptacle = self._receptacle_here(holder)
        if held is None or receptacle is None or tables.things[held].name != name or self._is_closed(receptacle):
            return None
        if (tables.receptacles[receptacle].type, tables.things[held].type) not in tables.game.fits:
            return None
        if held not in self._contents[receptacle]:
            insort(self._contents[receptacle], held)
        self._held = None
        self._lies_at.add((held, self._place))
        self._taken_out.discard((held, receptacle))
        self.won = self._goal_holds()
        return f"You {verb} the {name}{tables.put_link}the {holder}."

    def _treat(self, verb: str, rest: str) -> str | None:
        tables, held = self._tables, self._held
        name, _, holder = rest.partition(" with ")
        receptacle = self._receptacle_here(holder)
        if held is None or receptacle is None or tables.things[held].name != name:
            return None
        if APPLIANCES.get(tables.receptacles[receptacle].type) != verb or verb not in tables.treatments[held]:
            return None
        match verb:
            case "clean":
                self._clean.add(held)
            case "heat":
                self._hot.add(held)
                self._cool.discard(held)
            case "cool":
                self._cool.add(held)
                self._hot.discard(held)
        self.won = self._goal_holds()
        return f"You {verb} the {name} using the {holder}."

    def _use(self, rest: str) -> str | None:
        tables = self._tables
        thing = tables.thing_named.get(rest)
        if thing is None or not tables.things[thing].toggleable:
            return None
        if not any(thing in self._contents[r] for r in tables.at[self._place]):
            return None
        self._used.add(thing)
        self.won = self._goal_holds()
        return f"You turn on the {rest}."

    def _slice(self, rest: str) -> str | None:
        tables, held = self._tables, self._held
        name, _, knife = rest.partition(" with ")
        thing = tables.thing_named.get(name)
        if thing is None or held is None or tables.things[held].name != knife:
            return None
        if tables.things[held].type not in KNIVES or not tables.things[thing].sliceable:
            return None
        if (thing, self._place) not in self._lies_at:
            return None
        self._sliced.add(thing)
        self.won = self._goal_holds()
        return f"You sliced the {name} with the {knife}."

    _VERBS: ClassVar[dict[str, Callable[["Episode", str], str | None]]] = {
        "look": _look,
        "inventory": _inventory,
        "help": _help,
        "examine": _examine,
        "go": _go,
        "open": _open,
        "close": _close,
        "take": _take,
        "move": lambda self, rest: self._put("move", rest),
        "put": lambda self, rest: self._put("put", rest),
        "heat": lambda self, rest: self._treat("heat", rest),
        "cool": lambda self, rest: self._treat("cool", rest),
        "clean": lambda self, rest: self._treat("clean", rest),
        "use": _use,
        "slice": _slice,
    }
