"""A small kitchen, made by hand, that shows every quirk of the engine; ids are those of a game file."""

from envs.alfworld.game import Game, Goal, Receptacle, Thing, Wording
from envs.alfworld.naming import number_names

# id, type, location, openable
RECEPTACLES = (
    ("cabinet_bar_1", "Cabinet", "loc_bar_1", True),
    ("coffeemachine_bar_1", "CoffeeMachine", "loc_bar_2", False),
    ("countertop_bar_1", "CounterTop", "loc_bar_2", False),
    ("fridge_bar_1", "Fridge", "loc_bar_3", True),
    ("microwave_bar_1", "Microwave", "loc_bar_4", True),
    ("shelf_bar_1", "Shelf", "loc_bar_6", False),
    ("shelf_bar_2", "Shelf", "loc_bar_7", False),
    ("sink_bar_1_bar_sinkbasin", "SinkBasin", "loc_bar_5", False),
)
FOOD = {"pickupable": True, "heatable": True, "coolable": True, "cleanable": True, "sliceable": True}
DISH = {"pickupable": True, "heatable": True, "coolable": True, "cleanable": True}


def make_kitchen(wording: Wording = "move", goal: Goal | None = None, start: str = "loc_bar_0") -> Game:
    """Return the kitchen in a wording, with a goal and a place to start."""
    things = (
        ("apple_bar_1", "Apple", "fridge_bar_1", "loc_bar_3", FOOD | {"cool": True}),
        ("apple_bar_2", "Apple", "countertop_bar_1", "loc_bar_2", FOOD),
        ("bowl_bar_1", "Bowl", "shelf_bar_1", "loc_bar_6", DISH | {"vessel": True}),
        ("desklamp_bar_1", "DeskLamp", "shelf_bar_1", "loc_bar_6", {"toggleable": True}),
        ("egg_bar_1", "Egg", "shelf_bar_1", "loc_bar_6", FOOD | {"inside_vessels": ("bowl_bar_1",)}),
        ("knife_bar_1", "Knife", "countertop_bar_1", "loc_bar_2", {"pickupable": True, "cleanable": True}),
        ("mug_bar_1", "Mug", "coffeemachine_bar_1", "loc_bar_2", DISH | {"also_in": ("countertop_bar_1",)}),
        ("sink_bar_1", "Sink", None, "loc_bar_5", {}),
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
