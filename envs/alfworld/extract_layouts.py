"""Extraction of ``layouts.json``, the facts about rooms and objects from which games are generated.

    python -m envs.alfworld.extract_layouts

Source: the package ``alfworld`` 0.4.2 (MIT, see ``LICENSE-ALFWORLD``; ``pip install 'prism-bench[textworld]'``):

* ``gen/layouts/FloorPlanN-openable.json``: the receptacles of a floor plan and the location to use each from;
* ``gen/layouts/FloorPlanN-objects.json``: the classes of everything in it, ``-layout.npy``: the free locations;
* ``gen/constants.py``: the objects that fit each receptacle, the objects that can be cleaned, heated and so on, the
  tasks of each kind of room;
* ``gen/goal_library.py``: the task sentences.

Deviations: the package does not list every receptacle. Of a class that occurs in a plan but is not listed, such as
stove burners, we add the number that most official rooms have, at locations of their own (two to a location). An
unlisted class that could be opened is left out, because upstream found no location from which to open it. Receptacles
are identified by class and rank (``Cabinet 3``), in the order of upstream's ids, not by coordinates.
"""

import argparse
import importlib.util
import json
import runpy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from prism_bench.errors import InputError
from prism_bench.files import write_atomically

LAYOUTS = Path(__file__).with_name("layouts.json")
STANDING_PLACES = 12  # free places kept of each plan
UNLISTED_COUNTS = {"StoveBurner": 4}  # every other unlisted class: 1; counted in the official games
GRID = 0.25  # metres; upstream writes a location as grid cells, quarter turns and the camera's angle

_NOTE = (
    "Facts from the package alfworld 0.4.2 (MIT, see LICENSE-ALFWORLD), written by extract_layouts.py. "
    "A place is [x, z, quarter turn, camera angle], x and z in steps of 0.25 m."
)


def package_folder() -> Path:
    """Return the folder of the installed package ``alfworld``, without importing it.

    Raises:
        InputError: it is not installed.
    """
    found = importlib.util.find_spec("alfworld")
    if found is None or found.origin is None:
        raise InputError("this needs the package alfworld; install it with: pip install 'prism-bench[textworld]'")
    return Path(found.origin).parent


def extract(package: Path) -> dict[str, Any]:
    """Return the content of ``layouts.json``."""
    constants = runpy.run_path(str(package / "gen" / "constants.py"))
    goals = runpy.run_path(str(package / "gen" / "goal_library.py"))["gdict"]
    static = constants["RECEPTACLES"] - set(constants["MOVABLE_RECEPTACLES"])
    sliced = {kind for kind in constants["OBJECTS_WSLICED"] if kind.endswith("Sliced")}
    fits = {
        holder: sorted(held - sliced)
        for holder, held in sorted(constants["VAL_RECEPTACLE_OBJECTS"].items())
        if holder in static
    }
    affordances = {name.lower(): kinds - sliced for name, kinds in constants["VAL_ACTION_OBJECTS"].items()}
    affordances["vessel"] = set(constants["MOVABLE_RECEPTACLES"])
    openable = set(constants["OPENABLE_CLASS_LIST"]) & static
    wanted = {kind for kinds in fits.values() for kind in kinds} | affordances["toggleable"]
    task_types = [name for name in constants["GOALS"] if name != "pick_and_place_with_movable_recep"]
    return {
        "note": _NOTE,
        "task_sentences": {name: goals[name]["templates"] for name in task_types},
        "room_kinds": {kind: [numbers[0], numbers[-1]] for kind, numbers in constants["SCENE_TYPE"].items()},
        "tasks_of_room_kind": {
            kind: [name for name in task_types if kind in constants["GOALS_VALID"][name]]
            for kind in constants["SCENE_TYPE"]
        },
        "affordances": {name: sorted(kinds) for name, kinds in sorted(affordances.items())},
        "openable": sorted(openable),
        "fits": fits,
        "floor_plans": {
            str(number): _floor_plan(package / "gen" / "layouts", number, set(fits), wanted, openable)
            for number in sorted(constants["SCENE_NUMBERS"])
        },
    }


def _floor_plan(layouts: Path, number: int, holders: set[str], wanted: set[str], openable: set[str]) -> dict[str, Any]:
    listed = json.loads((layouts / f"FloorPlan{number}-openable.json").read_text(encoding="utf-8"))
    classes = set(json.loads((layouts / f"FloorPlan{number}-objects.json").read_text(encoding="utf-8")))
    receptacles: dict[str, list[list[int]]] = {}
    for identifier in sorted(listed, key=_pddl_order):
        receptacles.setdefault(_class_of(identifier), []).append(_place(*listed[identifier]))
    taken = {(place[0], place[1]) for places in receptacles.values() for place in places}
    cells = np.rint(np.load(layouts / f"FloorPlan{number}-layout.npy") / GRID).astype(int).tolist()
    standing = _spread([[x, z, 0, 30] for x, z in sorted(cells) if (x, z) not in taken], 2 * STANDING_PLACES)
    for kind in sorted((holders & classes) - receptacles.keys() - openable):
        count = UNLISTED_COUNTS.get(kind, 1)
        places = [standing.pop() for _ in range(0, count, 2)]
        receptacles[kind] = [places[rank // 2] for rank in range(count)]
    return {
        "receptacles": dict(sorted(receptacles.items())),
        "objects": sorted(classes & wanted),
        "standing": _spread(standing, STANDING_PLACES),
    }


def _class_of(identifier: str) -> str:
    # A basin is named after the sink it belongs to: "Sink|-01.90|+00.97|-01.50|SinkBasin".
    return identifier.rpartition("|")[2] if identifier.endswith("Basin") else identifier.partition("|")[0]


def _pddl_order(identifier: str) -> str:
    """Return the id as game files spell it, whose order numbers the receptacles of a class."""
    for sign, word in (("|", "_bar_"), ("+", "_plus_"), ("-", "_minus_"), (".", "_dot_"), (",", "_comma_")):
        identifier = identifier.replace(sign, word)
    return identifier.lower()


def _place(x: float, z: float, degrees: float, angle: float) -> list[int]:
    return [round(x / GRID), round(z / GRID), round(degrees / 90) % 4, round(angle)]


def _spread(places: Sequence[list[int]], count: int) -> list[list[int]]:
    """Return at most ``count`` of ``places``, evenly spaced in their order."""
    return [places[index * len(places) // count] for index in range(count)] if len(places) > count else list(places)


def to_json(content: Mapping[str, Any]) -> str:
    """Return compact JSON with a line for each floor plan and for each class that holds others."""
    lines = []
    for key, value in content.items():
        if key in ("fits", "floor_plans"):
            inner = ",\n".join(f"  {json.dumps(name)}: {_dense(entry)}" for name, entry in value.items())
            lines.append(f"{json.dumps(key)}: {{\n{inner}\n}}")
        else:
            lines.append(f"{json.dumps(key)}: {_dense(value)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _dense(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the file on the command line."""
    parser = argparse.ArgumentParser(description="Extract the facts for generated games from the package alfworld.")
    parser.add_argument("--out", type=Path, default=LAYOUTS)
    options = parser.parse_args(arguments)
    try:
        write_atomically(options.out, to_json(extract(package_folder())))
    except InputError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
