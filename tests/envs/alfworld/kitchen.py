"""A small kitchen, made by hand, in which every quirk of the engine can be shown."""

from envs.alfworld.game import Game, Goal, Receptacle, Thing, Wording
from envs.alfworld.naming import number_names

# id, type, location, openable
RECEPTACLES = (
    ("Cabinet_bar_1", "Cabinet", "loc_bar_1", True),
    ("CoffeeMachine_bar_1", "CoffeeMachine", "loc_bar_2", False),
    ("CounterTop_bar_1", "CounterTop", "loc_bar_2", False),
    ("Fridge_bar_1", "Fridge", "loc_bar_3", True),
    ("Microwave_bar_1", "Microwave", "loc_bar_4", True),
    ("Shelf_bar_1", "Shelf", "loc_bar_6", False),
    ("Shelf_bar_2", "Shelf", "loc_bar_7", False),
    ("Sink_bar_1_bar_SinkBasin", "SinkBasin", "loc_bar_5", False),
)
FOOD = {"pickupable": True, "heatable": True, "coolable": True, "cleanable": True, "sliceable": True}
DISH = {"pickupable": True, "heatable": True, "coolable": True, "cleanable": True}


def make_kitchen(wording: Wording = "move", goal: Goal | None = None, start: str = "loc_bar_0") -> Game:
    """Return the kitchen in a wording, with a goal and a place to start."""
    things = (
        ("Apple_bar_1", "Apple", "Fridge_bar_1", "loc_bar_3", FOOD | {"cool": True}),
        ("Apple_bar_2", "Apple", "CounterTop_bar_1", "loc_bar_2", FOOD),
        ("Bowl_bar_1", "Bowl", "Shelf_bar_1", "loc_bar_6", DISH | {"vessel": True}),
        ("DeskLamp_bar_1", "DeskLamp", "Shelf_bar_1", "loc_bar_6", {"toggleable": True}),
        ("Egg_bar_1", "Egg", "Shelf_bar_1", "loc_bar_6", FOOD | {"inside_vessels": ("Bowl_bar_1",)}),
        ("Knife_bar_1", "Knife", "CounterTop_bar_1", "loc_bar_2", {"pickupable": True, "cleanable": True}),
        ("Mug_bar_1", "Mug", "CoffeeMachine_bar_1", "loc_bar_2", DISH | {"also_in": ("CounterTop_bar_1",)}),
        ("Sink_bar_1", "Sink", None, "loc_bar_5", {}),
    )
    names = number_names([entry[0] for entry in (*RECEPTACLES, *things)])
    return Game(
        task_id="kitchen",
        task_sentence="put some apple on shelf.",
        wording=wording,
        start=start,
        receptacles=tuple(
            Receptacle(id, names[id], type, location, openable, opened=False)
            for id, type, location, openable in RECEPTACLES
        ),
        things=tuple(
            Thing(id, names[id], type, receptacle, location, **properties)
            for id, type, receptacle, location, properties in things
        ),
        fits=frozenset(
            (receptacle, thing)
            for receptacle in ("Cabinet", "CounterTop", "Fridge", "Microwave", "Shelf", "SinkBasin")
            for thing in ("Apple", "Bowl", "Egg", "Knife", "Mug")
        )
        | {("CoffeeMachine", "Mug")},
        goal=goal or Goal("pick_and_place_simple", "Apple", "Shelf"),
    )
