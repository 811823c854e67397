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

Lists in the text come in the order of the PDDL ids. :class:`Tables` holds what never changes in a game and may be
shared by threads; an :class:`Episode` belongs to one player.
"""

from bisect import insort
from collections.abc import Callable, Iterable
from typing import ClassVar

from envs.alfworld.game import Game, Thing
from envs.alfworld.naming import number_names

NOTHING_HAPPENS = "Nothing happens."
KNIVES = ("Knife", "ButterKnife")
BASINS = ("SinkBasin",)

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


def _enumeration(items: list[str]) -> str:
    if len(items) < 2:
        return items[0] if items else "nothing"
    return f"{', '.join(items[:-1])}, and {items[-1]}"


class Tables:
    """What an engine looks up while it plays a game; entities are numbered in the order of their ids."""

    def __init__(self, game: Game) -> None:
        receptacles = sorted(game.receptacles, key=lambda receptacle: receptacle.id.lower())
        things = sorted(game.things, key=lambda thing: thing.id.lower())
        self.game = game
        self.receptacles = receptacles
        self.things = things
        self.receptacle_named = {receptacle.name: index for index, receptacle in enumerate(receptacles)}
        self.thing_named = {thing.name: index for index, thing in enumerate(things)}
        self.thing_texts = [f"a {thing.name}" for thing in things]

        mentioned = [game.start, *(r.location for r in receptacles), *(t.location for t in things if t.location)]
        locations = sorted(set(mentioned))
        place = {location: index for index, location in enumerate(locations)}
        self.location_names = [name for _, name in sorted(number_names(locations).items())]
        self.start = place[game.start]
        self.place_of = [place[receptacle.location] for receptacle in receptacles]
        self.at: list[list[int]] = [[] for _ in locations]
        for index, location in enumerate(self.place_of):
            self.at[location].append(index)
        commands = sorted((f"go to {receptacle.name}", index) for index, receptacle in enumerate(receptacles))
        self.go_to = [[text for text, index in commands if self.place_of[index] != p] for p in range(len(locations))]

        number = {receptacle.id: index for index, receptacle in enumerate(receptacles)}
        self.contents: list[list[int]] = [[] for _ in receptacles]
        self.lies_at: set[tuple[int, int]] = set()
        for index, thing in enumerate(things):
            for holder in (thing.receptacle, *thing.also_in):
                if holder is not None:
                    self.contents[number[holder]].append(index)
            if thing.location is not None:
                self.lies_at.add((index, place[thing.location]))
        self.sliceable = [index for index, thing in enumerate(things) if thing.sliceable]
        self.cool = {index for index, thing in enumerate(things) if thing.cool}
        vessel_number = {thing.id: index for index, thing in enumerate(things)}
        self.vessel_contents: dict[int, list[int]] = {}
        for index, thing in enumerate(things):
            for vessel in thing.inside_vessels:
                self.vessel_contents.setdefault(vessel_number[vessel], []).append(index)

        goal = game.goal
        self.goal_receptacles = [i for i, r in enumerate(receptacles) if r.type == goal.receptacle_type]
        self.goal_things = {i for i, thing in enumerate(things) if thing.type == goal.object_type}
        self.goal_lamps = {i for i, t in enumerate(things) if t.type == goal.lamp_type and t.toggleable}

        put = ("move", " to ") if game.wording == "move" else ("put", " in/on ")
        self.put_verb, self.put_link = put
        self.help = game.wording == "move"
        everywhere = "You are in the middle of a room. Looking quickly around you, you see "
        self.overview = f"{everywhere}{_enumeration([f'a {receptacle.name}' for receptacle in receptacles])}."
        self.sees_nothing = f"{everywhere}nothing."


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
        here = tables.at[place]
        receptacles, things = tables.receptacles, tables.things
        closed = [r for r in here if receptacles[r].openable and r not in self._opened]
        clean: list[str] = []
        cool: list[str] = []
        heat: list[str] = []
        put: list[str] = []
        take: list[str] = []
        cut: list[str] = []
        examine = [f"examine {receptacles[r].name}" for r in here]
        if held is None:
            for r in here:
                if r not in closed:
                    name = receptacles[r].name
                    take += [f"take {things[t].name} from {name}" for t in self._contents[r] if things[t].pickupable]
            take.sort()
        else:
            thing = things[held]
            examine.append(f"examine {thing.name}")
            for r in here:
                receptacle = receptacles[r]
                if r not in closed and (receptacle.type, thing.type) in tables.game.fits:
                    put.append(f"{tables.put_verb} {thing.name}{tables.put_link}{receptacle.name}")
                if thing.cleanable and receptacle.type in BASINS:
                    clean.append(f"clean {thing.name} with {receptacle.name}")
                elif thing.heatable and receptacle.type == "Microwave":
                    heat.append(f"heat {thing.name} with {receptacle.name}")
                elif thing.coolable and receptacle.type == "Fridge":
                    cool.append(f"cool {thing.name} with {receptacle.name}")
            if thing.type in KNIVES:
                cut = [
                    f"slice {things[t].name} with {thing.name}" for t in tables.sliceable if (t, place) in self._lies_at
                ]
                cut.sort()
            clean.sort()
            cool.sort()
            heat.sort()
            put.sort()
        examine.sort()
        close = sorted(f"close {receptacles[r].name}" for r in here if r in self._opened and receptacles[r].openable)
        use = sorted({f"use {things[t].name}" for r in here for t in self._contents[r] if things[t].toggleable})
        # Sorted as a whole, because no verb begins with another; "move" stands before "open", "put" after it.
        commands = [*clean, *close, *cool, *examine, *tables.go_to[place], *heat]
        commands += ("help", "inventory", "look") if tables.help else ("inventory", "look")
        opens = sorted(f"open {receptacles[r].name}" for r in closed)
        commands += put + opens if tables.help else opens + put
        commands += cut
        commands += take
        commands += use
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
        facing = _enumeration([tables.receptacles[r].name for r in here])
        return (
            f"You are facing the {facing}. Next to it, you see {_enumeration([tables.thing_texts[t] for t in beside])}."
        )

    def _inventory(self, rest: str) -> str | None:
        if rest:
            return None
        if self._held is None:
            return "You are not carrying anything."
        return f"You are carrying: {self._tables.thing_texts[self._held]}."

    def _help(self, rest: str) -> str | None:
        return _HELP if self._tables.help and not rest else None

    def _describe(self, receptacle: int) -> str:
        tables = self._tables
        name = tables.receptacles[receptacle].name
        if self._is_closed(receptacle):
            return f"The {name} is closed."
        seen = _enumeration([tables.thing_texts[t] for t in self._contents[receptacle]])
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
            inside = [tables.thing_texts[t] for t in tables.vessel_contents.get(index, ())]
            return f"This is a normal {name}. In it, you see {_enumeration(inside)}."
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
        arrived = tables.receptacles[receptacle].name if tables.help else tables.location_names[self._place]
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

    def _treated(self, rest: str, types: Iterable[str]) -> int | None:
        """Return the held thing, where ``rest`` names it and a receptacle of one of ``types`` at this place."""
        name, _, holder = rest.partition(" with ")
        receptacle = self._receptacle_here(holder)
        if self._held is None or receptacle is None or self._tables.things[self._held].name != name:
            return None
        return self._held if self._tables.receptacles[receptacle].type in types else None

    def _heat(self, rest: str) -> str | None:
        thing = self._treated(rest, ("Microwave",))
        if thing is None or not self._tables.things[thing].heatable:
            return None
        self._hot.add(thing)
        self._cool.discard(thing)
        return self._done("heat", rest)

    def _chill(self, rest: str) -> str | None:
        thing = self._treated(rest, ("Fridge",))
        if thing is None or not self._tables.things[thing].coolable:
            return None
        self._cool.add(thing)
        self._hot.discard(thing)
        return self._done("cool", rest)

    def _wash(self, rest: str) -> str | None:
        thing = self._treated(rest, BASINS)
        if thing is None or not self._tables.things[thing].cleanable:
            return None
        self._clean.add(thing)
        return self._done("clean", rest)

    def _done(self, verb: str, rest: str) -> str:
        self.won = self._goal_holds()
        name, _, holder = rest.partition(" with ")
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
