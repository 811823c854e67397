"""The lookup tables of a game, computed once and shared by all its episodes."""

from envs.alfworld.game import Game
from envs.alfworld.naming import number_names


def enumeration(items: list[str]) -> str:
    """Return a list in the form of the texts: ``a, b, and c``, or ``nothing``."""
    if len(items) < 2:
        return items[0] if items else "nothing"
    return f"{', '.join(items[:-1])}, and {items[-1]}"


class Tables:
    """Lookup tables of a game; entities are numbered in the order of their ids."""

    def __init__(self, game: Game) -> None:
        receptacles = sorted(game.receptacles, key=lambda receptacle: receptacle.id.lower())
        things = sorted(game.things, key=lambda thing: thing.id.lower())
        self.game = game
        self.receptacles = receptacles
        self.things = things
        self.receptacle_named = {receptacle.name: index for index, receptacle in enumerate(receptacles)}
        self.thing_named = {thing.name: index for index, thing in enumerate(things)}
        self.thing_texts = [f"a {thing.name}" for thing in things]

        # All locations that the game mentions are numbered, those of objects in no receptacle too.
        mentioned = [game.start, *(r.location for r in receptacles), *(t.location for t in things if t.location)]
        locations = sorted(set(mentioned))
        place = {location: index for index, location in enumerate(locations)}
        self.location_names = [name for _, name in sorted(number_names(locations).items())]
        self.start = place[game.start]
        self.place_of = [place[receptacle.location] for receptacle in receptacles]
        self.at: list[list[int]] = [[] for _ in locations]
        for index, location in enumerate(self.place_of):
            self.at[location].append(index)
        self.newer = game.wording == "move"  # has the command `help` and announces arrivals by the receptacle's name
        self.put_verb, self.put_link = ("move", " to ") if self.newer else ("put", " in/on ")
        # The commands that are admissible at a location in every state.
        steady = ["inventory", "look", *(["help"] if self.newer else [])]
        self.always = []
        for p in range(len(locations)):
            verbs = ("examine" if here == p else "go to" for here in self.place_of)
            self.always.append(sorted([*steady, *(f"{v} {r.name}" for v, r in zip(verbs, receptacles, strict=True))]))

        number = {receptacle.id: index for index, receptacle in enumerate(receptacles)}
        self.contents: list[list[int]] = [[] for _ in receptacles]
        self.lies_at: set[tuple[int, int]] = set()
        for index, thing in enumerate(things):
            for holder in (thing.receptacle, *thing.also_in):
                if holder is not None:
                    self.contents[number[holder]].append(index)
            if thing.location is not None:
                self.lies_at.add((index, place[thing.location]))
        properties = (("clean", "cleanable"), ("heat", "heatable"), ("cool", "coolable"))
        self.treatments = [{verb for verb, able in properties if getattr(thing, able)} for thing in things]
        self.sliceable = [index for index, thing in enumerate(things) if thing.sliceable]
        self.examine_first = game.rule == "examine_first"
        self.cool = {index for index, thing in enumerate(things) if thing.cool}
        self.vessel_contents = {
            index: [inner for inner, other in enumerate(things) if thing.id in other.inside_vessels]
            for index, thing in enumerate(things)
            if thing.vessel
        }

        goal = game.goal
        self.goal_receptacles = [i for i, r in enumerate(receptacles) if r.type == goal.receptacle_type]
        self.goal_things = {i for i, thing in enumerate(things) if thing.type == goal.object_type}
        self.goal_lamps = {i for i, t in enumerate(things) if t.type == goal.lamp_type and t.toggleable}

        everywhere = "You are in the middle of a room. Looking quickly around you, you see "
        self.overview = f"{everywhere}{enumeration([f'a {receptacle.name}' for receptacle in receptacles])}."
        self.sees_nothing = f"{everywhere}nothing."
