"""Shortest plans: the fewest commands that win a game, found by exact search with full knowledge of the game.

    plan = shortest_plan(game)   # ["go to fridge 1", "open fridge 1", "take apple 2 from fridge 1", ...]

The search is A* (Hart, Nilsson and Raphael 1968, doi 10.1109/TSSC.1968.300136). Its moves are those that the goal
depends on: take an object of the goal's type, put it into a receptacle of the goal's type, treat it, or turn on the
lamp. Each costs one command, one more to go there, one more to open a closed receptacle, and one more to examine it
where the game's rule asks for that. No shorter plan is missed: going, opening and examining only prepare the next such
move, so that a plan with other commands can be rearranged into one of these at no cost; a hand need not be freed
elsewhere, because no goal asks for two types of object; and the lamp may be turned on last. The heuristic of A* is one
command for every object still to take, put or treat.

Upstream's ``walkthrough``, from the planner Fast Downward, is as long in every official game that has one. The rules,
with their quirks, are those of :mod:`envs.alfworld.engine`.
"""

import itertools
from collections.abc import Iterator
from heapq import heappop, heappush
from typing import NamedTuple

from envs.alfworld.engine import APPLIANCES
from envs.alfworld.game import Game
from envs.alfworld.tables import Tables
from prism_bench.errors import InputError

_TREATMENT_OF = {f"pick_{verb}_then_place_in_recep": verb for verb in APPLIANCES.values()}


class _State(NamedTuple):
    """The state as far as the goal depends on it; entities have the numbers of the game's tables."""

    place: int
    held: int | None
    lies: frozenset[tuple[int, int]]  # (thing, receptacle), for things of the goal's type
    opened: frozenset[int]
    examined: frozenset[int]  # empty where no rule asks for it
    treated: frozenset[int]
    lit: bool


def shortest_plan(game: Game) -> list[str]:
    """Return the fewest commands that win ``game`` from its start, in its own wording; none if it is won already.

    Raises:
        InputError: nothing wins the game.
    """
    tables = Tables(game)
    problem = _Problem(tables)
    start = problem.start()
    order = itertools.count()  # of equal costs the first one found comes first, so that the plan is unique
    waiting = [(problem.least_to_go(start), next(order), 0, start)]
    reached: dict[_State, tuple[int, _State | None, list[str]]] = {start: (0, None, [])}
    while waiting:
        _, _, spent, state = heappop(waiting)
        if spent > reached[state][0]:
            continue
        if problem.won(state):
            return _commands(reached, state)
        for after, commands in problem.moves(state):
            cost = spent + len(commands)
            if after not in reached or cost < reached[after][0]:
                reached[after] = cost, state, commands
                heappush(waiting, (cost + problem.least_to_go(after), next(order), cost, after))
    raise InputError(f"{game.task_id}: nothing wins this game; leave it out")


def _commands(reached: dict[_State, tuple[int, _State | None, list[str]]], last: _State) -> list[str]:
    legs, state = [], last
    while True:
        _, before, commands = reached[state]
        legs.append(commands)
        if before is None:
            return list(itertools.chain(*reversed(legs)))
        state = before


class _Problem:
    """The moves of one game and its goal."""

    def __init__(self, tables: Tables) -> None:
        goal = tables.game.goal
        self.tables = tables
        self.treatment = _TREATMENT_OF.get(goal.task_type)
        self.looking = goal.task_type == "look_at_obj_in_light"
        self.needed = 2 if goal.task_type == "pick_two_obj_and_place" else 1
        fits = tables.game.fits
        self.targets = [r for r in tables.goal_receptacles if (tables.receptacles[r].type, goal.object_type) in fits]
        self.appliances = [r for r, receptacle in enumerate(tables.receptacles) if self._treats(receptacle.type)]
        self.lamps = [(t, r) for r, contents in enumerate(tables.contents) for t in contents if t in tables.goal_lamps]

    def _treats(self, receptacle_type: str) -> bool:
        return self.treatment is not None and APPLIANCES.get(receptacle_type) == self.treatment

    def start(self) -> _State:
        tables = self.tables
        lies = ((t, r) for r, contents in enumerate(tables.contents) for t in contents if t in tables.goal_things)
        opened = (r for r, receptacle in enumerate(tables.receptacles) if receptacle.opened or not receptacle.openable)
        treated = tables.cool & tables.goal_things if self.treatment == "cool" else frozenset[int]()
        return _State(
            place=tables.start,
            held=None,
            lies=frozenset(lies),
            opened=frozenset(opened),
            examined=frozenset(),
            treated=frozenset(treated),
            lit=False,
        )

    def won(self, state: _State) -> bool:
        return state.lit if self.looking else self._missing(state) == 0

    def least_to_go(self, state: _State) -> int:
        """Return a lower bound of the commands to the goal."""
        if self.looking:
            return 0 if state.lit else 2 - (state.held is not None)
        missing = self._missing(state)
        return 2 * missing - (missing > 0 and state.held is not None)

    def _missing(self, state: _State) -> int:
        """Return the number of objects that the fullest receptacle of the goal still lacks."""
        counts = dict.fromkeys(self.tables.goal_receptacles, 0)
        for t, r in state.lies:
            if r in counts and self._is_as_asked(t, state):
                counts[r] += 1
        return max(0, self.needed - max(counts.values(), default=0))

    def _is_as_asked(self, thing: int, state: _State) -> bool:
        if self.treatment is None:
            return True
        return thing in state.treated and self.treatment in self.tables.treatments[thing]

    def moves(self, state: _State) -> Iterator[tuple[_State, list[str]]]:
        """Yield the states after one move, with its commands."""
        tables, held = self.tables, state.held
        if held is None:
            for t, r in sorted(state.lies):
                if tables.things[t].pickupable:
                    after = self._reach(state, r)._replace(held=t, lies=state.lies - {(t, r)})
                    if tables.examine_first:
                        after = after._replace(examined=state.examined | {r})
                    yield self._move(state, after, r, f"take {tables.things[t].name} from {tables.receptacles[r].name}")
            return
        name = tables.things[held].name
        for r in self.targets:
            after = self._reach(state, r)._replace(held=None, lies=state.lies | {(held, r)})
            yield self._move(state, after, r, f"{tables.put_verb} {name}{tables.put_link}{tables.receptacles[r].name}")
        if self.treatment in tables.treatments[held]:
            for r in self.appliances:  # which need not be open
                after = state._replace(place=tables.place_of[r], treated=state.treated | {held})
                yield self._move(state, after, r, f"{self.treatment} {name} with {tables.receptacles[r].name}")
        for t, r in self.lamps:
            after = state._replace(place=tables.place_of[r], lit=True)
            yield self._move(state, after, r, f"use {tables.things[t].name}")

    def _reach(self, state: _State, receptacle: int) -> _State:
        return state._replace(place=self.tables.place_of[receptacle], opened=state.opened | {receptacle})

    def _move(self, before: _State, after: _State, receptacle: int, command: str) -> tuple[_State, list[str]]:
        """Return ``after``, and ``command`` after the commands that it needs before it."""
        name = self.tables.receptacles[receptacle].name
        going = [f"go to {name}"] if before.place != after.place else []
        opening = [f"open {name}"] if before.opened != after.opened else []
        examining = [f"examine {name}"] if before.examined != after.examined else []
        return after, [*going, *opening, *examining, command]
