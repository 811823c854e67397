"""The goals that a floor plan can offer, of each task type."""

import functools

from envs.alfworld.game import Goal
from envs.alfworld.layouts import DESK_LAMP, FloorPlan, affords, floor_plan

# Receptacles that are no target of an official goal, and no target for two objects, because they hold only one.
NO_TARGETS = frozenset({"BathtubBasin", "HandTowelHolder", "LaundryHamper", "SinkBasin", "TVStand", "TowelHolder"})
NO_TARGETS_FOR_TWO = NO_TARGETS | {"CoffeeMachine", "StoveBurner", "ToiletPaperHanger"}
# The property that a task needs of its object, and the appliance, which is no target of the same task.
TREATMENTS = {
    "pick_clean_then_place_in_recep": ("cleanable", "SinkBasin"),
    "pick_heat_then_place_in_recep": ("heatable", "Microwave"),
    "pick_cool_then_place_in_recep": ("coolable", "Fridge"),
}


@functools.cache
def goals_of(number: int, task_type: str) -> tuple[tuple[Goal, ...], ...]:
    """Return the goals of a task type that a floor plan can offer, grouped by the type of the object."""
    plan = floor_plan(number)
    if task_type not in plan.task_types:
        return ()
    if task_type == "look_at_obj_in_light":
        kinds = sorted(plan.holders) if plan.lamp_stands else []
        return tuple((Goal(task_type, kind, lamp_type=DESK_LAMP),) for kind in kinds)
    grouped = ([Goal(task_type, kind, target) for target in _targets(plan, task_type, kind)] for kind in plan.holders)
    return tuple(tuple(goals) for goals in grouped if goals)


def _targets(plan: FloorPlan, task_type: str, kind: str) -> list[str]:
    """Return the types of receptacles to which a task can ask to bring an object of type ``kind``."""
    types = {holder.type for holder in plan.holders[kind]}
    if task_type in TREATMENTS:
        affordance, appliance = TREATMENTS[task_type]
        if not affords(affordance, kind) or appliance not in plan.receptacle_types:
            return []
        return sorted(types - NO_TARGETS - {appliance})
    if len(types) < 2:
        return []  # the object could only start at its target
    return sorted(types - (NO_TARGETS_FOR_TWO if task_type == "pick_two_obj_and_place" else NO_TARGETS))
