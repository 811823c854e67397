"""Generation of one game: objects are placed in a floor plan so that a goal is open and can be reached.

Upstream lets the simulator AI2-THOR place the objects. Here each object goes to a receptacle that it fits, drawn with a
weight, and the numbers follow official games: every type up to three times, the type of the goal up to four times, on
tables and counters more often than in drawers and cabinets. No object starts heated, cooled or sliced.
"""

import random
from collections import Counter
from collections.abc import Sequence

from envs.alfworld.game import Game, Goal, Receptacle, Rule, Thing, Wording
from envs.alfworld.layouts import DESK_LAMP, FloorPlan, affords, facts
from envs.alfworld.naming import SEPARATOR, number_names
from envs.alfworld.regimes import DISPLACED

# Receptacles that hold at most as many objects as their share of the room; in official games (900 counted) the others
# hold two to six times as many as these.
SPARSE = frozenset(
    {
        *("ArmChair", "Cabinet", "Drawer", "GarbageCan", "Microwave", "Ottoman", "Safe", "Shelf", "SideTable"),
        *("SinkBasin", "ToiletPaperHanger", "TowelHolder"),
    }
)
CROWD = 4  # weight of a receptacle of another type
MOST_INSTANCES = 3  # of a type that the goal does not name (upstream's MAX_NUM_OF_OBJ_INSTANCES)
MOST_TARGETS = 4  # of the type that the goal names (upstream's PICKUP_REPEAT_MAX)

# Least and most objects to pick up, as in official rooms of a kind.
OFFICIAL_OBJECTS = {"Kitchen": (30, 60), "LivingRoom": (8, 32), "Bedroom": (13, 32), "Bathroom": (10, 23)}


def make_game(
    task_id: str,
    plan: FloorPlan,
    goal: Goal,
    objects: tuple[int, int] | None,
    wording: Wording,
    rng: random.Random,
    *,
    displaced: bool = False,
    rule: Rule | None = None,
) -> Game:
    """Return a game of ``goal`` in ``plan`` with ``objects`` (least, most) things to pick up; None: as official rooms.

    In a displaced game things lie where none of their type fits, as long as the room has such a place.
    The goal must be one that the plan can offer, see :func:`envs.alfworld.goals.goals_of`.
    """
    amount = rng.randint(*(objects or OFFICIAL_OBJECTS[plan.kind]))
    placed: list[tuple[str, Receptacle]] = []
    for kind, count in _choose_objects(plan, goal, amount, rng).items():
        holders = _displaced_holders(plan, kind) if displaced else plan.holders[kind]
        if kind == goal.object_type and goal.task_type in ("pick_and_place_simple", "pick_two_obj_and_place"):
            # As upstream, so that no part of the goal is reached before the first step.
            holders = tuple(holder for holder in holders if holder.type != goal.receptacle_type)
        weights = [1 if holder.type in SPARSE else CROWD for holder in holders]
        placed += [(kind, holder) for holder in rng.choices(holders, weights, k=count)]
    if plan.lamp_stands:
        placed.append((DESK_LAMP, rng.choice(plan.lamp_stands)))
    return Game(
        task_id=task_id,
        task_sentence=_sentence(goal, rng),
        wording=wording,
        start=rng.choice(plan.standing),
        receptacles=plan.receptacles,
        things=_things(placed),
        fits=plan.fits,
        goal=goal,
        rule=rule,
    )


def _displaced_holders(plan: FloorPlan, kind: str) -> tuple[Receptacle, ...]:
    others = [place for place in plan.receptacles if place not in plan.holders[kind]]
    found = [place for place in others if (place.type, kind) in DISPLACED]
    return tuple(found or others) or plan.holders[kind]


def _choose_objects(plan: FloorPlan, goal: Goal, amount: int, rng: random.Random) -> Counter[str]:
    """Return the number of objects of each type: every type gets one before any gets two."""
    least = 2 if goal.task_type == "pick_two_obj_and_place" else 1
    counts = Counter({goal.object_type: rng.randint(least, max(least, min(MOST_TARGETS, amount)))})
    others = sorted(plan.holders.keys() - {goal.object_type})
    rng.shuffle(others)
    for kind in others[: max(0, amount - counts.total())]:
        counts[kind] = 1
    while counts.total() < amount:
        more = [kind for kind in others if counts[kind] < MOST_INSTANCES]
        if not more:
            break
        counts[rng.choice(more)] += 1
    return counts


def _things(placed: Sequence[tuple[str, Receptacle]]) -> tuple[Thing, ...]:
    ranks: Counter[str] = Counter()
    where: dict[str, tuple[str, Receptacle]] = {}
    for kind, holder in placed:
        ranks[kind] += 1
        where[f"{kind.lower()}{SEPARATOR}{ranks[kind]}"] = (kind, holder)
    names = number_names(where)
    return tuple(
        Thing(
            id=identifier,
            name=names[identifier],
            type=kind,
            receptacle=holder.id,
            location=holder.location,
            pickupable=kind != DESK_LAMP,
            cleanable=affords("cleanable", kind),
            heatable=affords("heatable", kind),
            coolable=affords("coolable", kind),
            toggleable=affords("toggleable", kind),
            sliceable=affords("sliceable", kind),
            vessel=affords("vessel", kind),
        )
        for identifier, (kind, holder) in sorted(where.items())
    )


def _sentence(goal: Goal, rng: random.Random) -> str:
    template: str = rng.choice(facts()["task_sentences"][goal.task_type])
    target, lamp = (goal.receptacle_type or "").lower(), (goal.lamp_type or "").lower()
    return template.format(obj=goal.object_type.lower(), recep=target, toggle=lamp) + "."
