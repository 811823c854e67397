"""Plays one ALFWorld game, word for word as upstream's TextWorld does, some thousand times faster.

Source: the PDDL domain ``alfred.pddl`` and the text grammar ``alfred.twl2`` of ALFWorld (package 0.4.2 and the games
v2.1.1 and v2.1.2, MIT), as TextWorld 1.7 executes them (``textworld/envs/pddl``). What follows from their letter rather
than from their intention is kept, because a policy sees it:

* a slip in the domain (a type called ``location,``) leaves ``examine`` to objects in the hand;
* going to a receptacle where the player already stands changes nothing, so the planner drops it: "Nothing happens.";
* ``look`` away from every receptacle sees nothing, although the first observation lists the room;
* having been taken out of a receptacle is remembered: an object that is put back at the same location, but into
  another receptacle, lies from then on also "next to" the place;
* official objects may be in several receptacles at once, and one that was taken out of the first stays in the second;
* an object remembers every location where it was put and not taken again, so that it can be sliced there, even in the
  hand or in a closed receptacle; slicing and cleaning may be repeated, heating undoes cooling and the reverse;
* a lamp that was used once is on for good, can be used inside a closed receptacle, and shines while someone holds it if
  it is still in a second receptacle;
* games up to v2.1.1 have no ``help`` and announce an arrival by the name of the location: "You arrive at loc 12."

Lists in the text come in the order of the PDDL ids. :class:`~envs.alfworld.tables.Tables` hold what never changes in a
game and may be shared by threads; an :class:`Episode` belongs to one player.
"""

from bisect import insort
from collections.abc import Callable
from typing import ClassVar

from envs.alfworld.game import Game, Thing
from envs.alfworld.tables import Tables, enumeration

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


class Episode:
    """One play of a game. ``won`` and ``admissible_commands`` are those of the state after the last call."""

    def __init__(self, game: Game | Tables) -> None:
        self._tables = game if isinstance(game, Tables) else Tables(game)
        self.reset()

    @property
    def game(self) -> Game:
        """The game that is played."""
        return self._tables.game

    def reset(self) -> str:
        """Begin the game anew and return its first observation, which holds the task."""
        tables = self._tables
        self._place = tables.start
        self._held: int | None = None
        self._opened = {index for index, receptacle in enumerate(tables.receptacles) if receptacle.opened}
        self._contents = [contents.copy() for contents in tables.contents]
        self._lies_at = tables.lies_at.copy()  # (thing, location)
        self._taken_out: set[tuple[int, int]] = set()  # (thing, receptacle)
        self._clean: set[int] = set()
        self._hot: set[int] = set()
        self._cool = tables.cool.copy()
        self._used: set[int] = set()
        self._sliced: set[int] = set()
        self.won = self._goal_holds()
        view = self._look("") if tables.at[self._place] else tables.overview
        return f"-= Welcome to TextWorld, ALFRED! =-\n\n{view}\n\nYour task is to: {tables.game.task_sentence}"

    def step(self, command: str) -> str:
        """Carry out ``command`` and return what the game answers; a command that is not admissible changes nothing."""
        verb, _, rest = command.strip().partition(" ")
        act = self._VERBS.get(verb)
        feedback = act(self, rest) if act else None
        return NOTHING_HAPPENS if feedback is None else feedback

    @property
    def admissible_commands(self) -> list[str]:
        """The commands that do something in this state, sorted; the list is the caller's own."""
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
                if not closed:
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
                cut = [t for t in tables.sliceable if (t, place) in self._lies_at]
                commands += [f"slice {tables.things[t].name} with {name}" for t in cut]
        commands.sort()
        if len(tables.at[place]) > 1:
            # A lamp that stands in two receptacles of this place is used by one command.
            return list(dict.fromkeys(commands))
        return commands

    def _receptacle_here(self, name: str) -> int | None:
        index = self._tables.receptacle_named.get(name)
        return index if index is not None and self._tables.place_of[index] == self._place else None

    def _is_closed(self, receptacle: int) -> bool:
        return self._tables.receptacles[receptacle].openable and receptacle not in self._opened

    def _look(self, rest: str) -> str | None:
        if rest:
            return None
        tables, place = self._tables, self._place
        here = tables.at[place]
        if not here:
            return tables.sees_nothing
        beside = [t for t, r in sorted(self._taken_out) if r in here and (t, place) in self._lies_at]
        facing = enumeration([tables.receptacles[r].name for r in here])
        return (
            f"You are facing the {facing}. Next to it, you see {enumeration([tables.thing_texts[t] for t in beside])}."
        )

    def _inventory(self, rest: str) -> str | None:
        if rest:
            return None
        if self._held is None:
            return "You are not carrying anything."
        return f"You are carrying: {self._tables.thing_texts[self._held]}."

    def _help(self, rest: str) -> str | None:
        return _HELP if self._tables.newer and not rest else None

    def _describe(self, receptacle: int) -> str:
        tables = self._tables
        name = tables.receptacles[receptacle].name
        if self._is_closed(receptacle):
            return f"The {name} is closed."
        seen = enumeration([tables.thing_texts[t] for t in self._contents[receptacle]])
        if tables.receptacles[receptacle].openable:
            return f"The {name} is open. In it, you see {seen}."
        return f"On the {name}, you see {seen}."

    def _examine(self, rest: str) -> str | None:
        receptacle = self._receptacle_here(rest)
        if receptacle is not None:
            return self._describe(receptacle)
        if self._held is None or self._tables.things[self._held].name != rest:
            return None
        return self._describe_held(self._held, self._tables.things[self._held])

    def _describe_held(self, index: int, thing: Thing) -> str:
        tables, name = self._tables, thing.name
        if thing.vessel:
            inside = [tables.thing_texts[t] for t in tables.vessel_contents[index]]
            return f"This is a normal {name}. In it, you see {enumeration(inside)}."
        clean, sliced = index in self._clean, " sliced" if index in self._sliced else ""
        heat = "hot" if index in self._hot else "cool" if index in self._cool else ""
        if heat and clean:
            return f"This is a {heat} and clean{sliced} {name}."
        if clean:
            return f"This is a clean{sliced} {name}."
        if heat == "cool" and not sliced:
            return f"This is a cold {name}."
        if heat:
            return f"This is a {heat}{sliced} {name}."
        if thing.toggleable and index in self._used:
            return f"This {name} is on."
        return f"This is a sliced {name}." if sliced else f"There's nothing special about {name}."

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
        if thing is None or receptacle is None or self._is_closed(receptacle):
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

    def _put(self, rest: str) -> str | None:
        tables, held = self._tables, self._held
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
        return f"You {tables.put_verb} the {name}{tables.put_link}the {holder}."

    def _move(self, rest: str) -> str | None:
        return self._put(rest) if self._tables.put_verb == "move" else None

    def _put_in(self, rest: str) -> str | None:
        return self._put(rest) if self._tables.put_verb == "put" else None

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

    def _wash(self, rest: str) -> str | None:
        return self._treat("clean", rest)

    def _heat(self, rest: str) -> str | None:
        return self._treat("heat", rest)

    def _chill(self, rest: str) -> str | None:
        return self._treat("cool", rest)

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

    def _goal_holds(self) -> bool:
        tables, goal = self._tables, self._tables.game.goal
        if goal.task_type == "look_at_obj_in_light":
            return self._held in tables.goal_things and any(
                thing in tables.goal_lamps and thing in self._used
                for r in tables.at[self._place]
                for thing in self._contents[r]
            )
        needed = 2 if goal.task_type == "pick_two_obj_and_place" else 1
        return any(sum(self._counts(thing) for thing in self._contents[r]) >= needed for r in tables.goal_receptacles)

    def _counts(self, index: int) -> bool:
        """Return whether this thing, in the right receptacle, is one that the goal asks for."""
        if index not in self._tables.goal_things:
            return False
        goal, thing = self._tables.game.goal, self._tables.things[index]
        if goal.sliced and index not in self._sliced:
            return False
        match goal.task_type:
            case "pick_clean_then_place_in_recep":
                return thing.cleanable and index in self._clean
            case "pick_heat_then_place_in_recep":
                return thing.heatable and index in self._hot
            case "pick_cool_then_place_in_recep":
                return thing.coolable and index in self._cool
        return True

    _VERBS: ClassVar[dict[str, Callable[["Episode", str], str | None]]] = {
        "look": _look,
        "inventory": _inventory,
        "help": _help,
        "examine": _examine,
        "go": _go,
        "open": _open,
        "close": _close,
        "take": _take,
        "move": _move,
        "put": _put_in,
        "heat": _heat,
        "cool": _chill,
        "clean": _wash,
        "use": _use,
        "slice": _slice,
    }
