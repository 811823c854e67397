"""The state of one ALFWorld game: its descriptions in text, and whether the goal holds.

The commands that change it, the source and the quirks are in :mod:`envs.alfworld.engine`.
"""

from envs.alfworld.game import Game, Thing
from envs.alfworld.tables import Tables, enumeration


class State:
    """The state of a game; ``won`` tells whether the goal holds. Entities have the numbers of the tables."""

    def __init__(self, game: Game | Tables) -> None:
        self._tables = game if isinstance(game, Tables) else Tables(game)
        self.reset()

    def reset(self) -> str:
        """Restart the game and return its first observation, which states the task."""
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
        self._examined: set[int] = set()  # receptacles
        self.won = self._goal_holds()
        view = self._view() if tables.at[self._place] else tables.overview
        return f"-= Welcome to TextWorld, ALFRED! =-\n\n{view}\n\nYour task is to: {tables.game.task_sentence}"

    def _receptacle_here(self, name: str) -> int | None:
        index = self._tables.receptacle_named.get(name)
        return index if index is not None and self._tables.place_of[index] == self._place else None

    def _is_closed(self, receptacle: int) -> bool:
        return self._tables.receptacles[receptacle].openable and receptacle not in self._opened

    def _is_takeable_from(self, receptacle: int) -> bool:
        if self._tables.examine_first and receptacle not in self._examined:
            return False
        return not self._is_closed(receptacle)

    def _view(self) -> str:
        """Return the answer to ``look``."""
        tables, place = self._tables, self._place
        here = tables.at[place]
        if not here:
            return tables.sees_nothing
        beside = [t for t, r in sorted(self._taken_out) if r in here and (t, place) in self._lies_at]
        facing = enumeration([tables.receptacles[r].name for r in here])
        return (
            f"You are facing the {facing}. Next to it, you see {enumeration([tables.thing_texts[t] for t in beside])}."
        )

    def _describe(self, receptacle: int) -> str:
        tables = self._tables
        name = tables.receptacles[receptacle].name
        if self._is_closed(receptacle):
            return f"The {name} is closed."
        seen = enumeration([tables.thing_texts[t] for t in self._contents[receptacle]])
        if tables.receptacles[receptacle].openable:
            return f"The {name} is open. In it, you see {seen}."
        return f"On the {name}, you see {seen}."

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
        """Return whether this thing counts for the goal if it is in the right receptacle."""
        if index not in self._tables.goal_things:
            return False
        thing = self._tables.things[index]
        match self._tables.game.goal.task_type:
            case "pick_clean_then_place_in_recep":
                return thing.cleanable and index in self._clean
            case "pick_heat_then_place_in_recep":
                return thing.heatable and index in self._hot
            case "pick_cool_then_place_in_recep":
                return thing.coolable and index in self._cool
        return True
