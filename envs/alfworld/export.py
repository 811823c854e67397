"""Export of generated games as official game files, for other programs that read ALFWorld's.

    python -m envs.alfworld.export DIR --split valid_seen --games 20

writes ``DIR/json_2.1.1/valid_seen/<task>/<trial>/{game.tw-pddl,traj_data.json}``, which upstream's environment and
:class:`envs.alfworld.official.OfficialGames` read.

The PDDL domain, the goals and the text grammar are upstream's and are read from the installed package ``alfworld``
0.4.2 (the extra ``textworld``). The package ships them with the wording ``move``; for ``put``, the differences of the
games v2.1.1 are restored: the verb, the sentence on arrival, no ``help``, and sinks beside their basins. Every file is
parsed before it is written, to check that the same game comes back.
"""

import argparse
import functools
import json
import re
import runpy
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

from rich.progress import track

from envs.alfworld.extract_layouts import package_folder
from envs.alfworld.game import Game, Wording
from envs.alfworld.game_file import RULES, parse_game
from envs.alfworld.generator import PRESETS, SPLIT_SIZES, GeneratedGames
from prism_bench.errors import InputError
from prism_bench.files import write_atomically

_TASK_PLACEHOLDER = "UNKNOWN GOAL"
_HELP_ACTION = re.compile(r"^\(?(?::?action) help\b.*?^[)}]\n", re.DOTALL | re.MULTILINE)
_PROPERTIES = ("pickupable", "cleanable", "heatable", "coolable", "toggleable", "sliceable")


def game_file(game: Game) -> str:
    """Return the text of ``game.tw-pddl``.

    Raises:
        InputError: the package ``alfworld`` is not installed, or the file would not be read back as the same game.
    """
    domain, grammar, goals = _upstream_texts(game.wording)
    grammar = grammar.replace(_TASK_PLACEHOLDER, game.task_sentence.removesuffix("."))
    named = re.findall(r"Type \?\w+ (\w+)Type", domain)
    goal = _goal(game, goals)
    content = {
        "pddl_domain": domain,
        "grammar": grammar,
        "pddl_problem": f"{_problem(game, named)}\n{goal}",
        "solvable": True,
    }
    if game.rule is not None:
        content[RULES] = [game.rule]
    try:
        same = parse_game(content, game.task_id) == game
    except InputError as error:
        raise InputError(f"{error}; export needs the texts of alfworld==0.4.2") from None
    if not same:
        raise InputError(f"{game.task_id}: a game file cannot express this game; export another")
    return json.dumps(content)


def trajectory_file(game: Game) -> str:
    """Return the text of ``traj_data.json`` with the entries that upstream's environment and experts read."""
    goal = game.goal
    content: dict[str, Any] = {
        "task_id": game.task_id.rpartition("/")[2],
        "task_type": goal.task_type,
        "pddl_params": {
            "mrecep_target": "",
            "object_sliced": False,
            "object_target": goal.object_type,
            "parent_target": goal.receptacle_type or "",
            "toggle_target": goal.lamp_type or "",
        },
        "turk_annotations": {"anns": [{"task_desc": game.task_sentence.removesuffix(".")}]},
    }
    if number := re.search(r"-(\d+)/", game.task_id):
        content["scene"] = {"floor_plan": f"FloorPlan{number[1]}", "scene_num": int(number[1])}
    return json.dumps(content)


def write_game(game: Game, folder: Path) -> Path:
    """Write both files into ``folder`` and return the path of the game file; errors are those of :func:`game_file`."""
    text, path = game_file(game), folder / "game.tw-pddl"
    write_atomically(folder / "traj_data.json", trajectory_file(game))
    write_atomically(path, text)
    return path


def write_games(games: Iterable[Game], data: Path, split: str) -> list[Path]:
    """Write games in the official layout under ``data``; return the game files."""
    return [write_game(game, data / "json_2.1.1" / split / game.task_id) for game in games]


@functools.cache
def _upstream_texts(wording: Wording) -> tuple[str, str, dict[str, Any]]:
    package = package_folder()
    domain = (package / "data" / "alfred.pddl").read_text(encoding="utf-8")
    grammar = (package / "data" / "alfred.twl2").read_text(encoding="utf-8")
    goals = runpy.run_path(str(package / "gen" / "goal_library.py"))["gdict"]
    if wording == "put":
        domain = _HELP_ACTION.sub("", domain).replace(";(receptacleType ?r SinkType)", "(receptacleType ?r SinkType)")
        grammar = _HELP_ACTION.sub("", grammar)
        for new, old in (
            ('"move {o} to {r}"', '"put {o} in/on {r}"'),
            ("You move the {o.name} to the {r.name}.", "You put the {o.name} in/on the {r.name}."),
            ("You arrive at {r.name}.", "You arrive at {lend.name}."),
        ):
            grammar = grammar.replace(new, old)
    return domain, grammar, goals


def _goal(game: Game, goals: dict[str, Any]) -> str:
    goal = game.goal
    template: str = goals[goal.task_type]["pddl"]
    filled = template.format(obj=goal.object_type, recep=goal.receptacle_type, toggle=goal.lamp_type)
    return filled.replace("#", "-")  # upstream's templates are written for another planner first


def _problem(game: Game, named_by_domain: Sequence[str]) -> str:
    """Return the PDDL problem up to the goal. ``named_by_domain`` are types to declare even if none occurs."""
    thing_types = {thing.type for thing in game.things} | {held for _, held in game.fits} | {game.goal.object_type}
    receptacle_types = {receptacle.type for receptacle in game.receptacles} | {holder for holder, _ in game.fits}
    receptacle_types |= {kind for kind in named_by_domain if kind in ("SinkBasin", "Microwave", "Fridge")}
    thing_types |= set(named_by_domain) - receptacle_types
    locations = {game.start} | {receptacle.location for receptacle in game.receptacles}
    locations |= {thing.location for thing in game.things if thing.location is not None}
    objects = [
        "agent1 - agent",
        *(f"{kind}Type - otype" for kind in sorted(thing_types)),
        *(f"{kind}Type - rtype" for kind in sorted(receptacle_types)),
        *(f"{thing.id} - object" for thing in game.things),
        *(f"{receptacle.id} - receptacle" for receptacle in game.receptacles),
        *(f"{location} - location" for location in sorted(locations)),
    ]
    name = re.sub(r"\W", "_", game.task_id)
    declared, stated = "\n  ".join(objects), "\n  ".join(f"({fact})" for fact in _facts(game))
    return f"(define (problem plan_{name})\n(:domain alfred)\n(:objects\n  {declared}\n)\n(:init\n  {stated}\n)\n"


def _facts(game: Game) -> Iterator[str]:
    yield f"atLocation agent1 {game.start}"
    for receptacle in game.receptacles:
        yield f"receptacleType {receptacle.id} {receptacle.type}Type"
        yield f"receptacleAtLocation {receptacle.id} {receptacle.location}"
        if receptacle.openable:
            yield f"openable {receptacle.id}"
        if receptacle.opened:
            yield f"opened {receptacle.id}"
    for thing in game.things:
        yield f"objectType {thing.id} {thing.type}Type"
        for name in _PROPERTIES:
            if getattr(thing, name):
                yield f"{name} {thing.id}"
        if thing.vessel:
            yield f"isReceptacleObject {thing.id}"
        if thing.cool:
            yield f"isCool {thing.id}"
        if thing.location is not None:
            yield f"objectAtLocation {thing.id} {thing.location}"
        for holder in (thing.receptacle, *thing.also_in):
            if holder is not None:
                yield f"inReceptacle {thing.id} {holder}"
        for vessel in thing.inside_vessels:
            yield f"inReceptacleObject {thing.id} {vessel}"
    for holder, held in sorted(game.fits):
        yield f"canContain {holder}Type {held}Type"


def main(arguments: Sequence[str] | None = None) -> None:
    """Export generated games on the command line."""
    parser = argparse.ArgumentParser(description="Write generated games as official ALFWorld game files.")
    parser.add_argument("data", type=Path, help="folder that gets json_2.1.1/SPLIT")
    parser.add_argument("--split", choices=SPLIT_SIZES, default="valid_seen")
    parser.add_argument("--games", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--preset", choices=PRESETS, default="full")
    parser.add_argument("--wording", choices=get_args(Wording), default="move")
    options = parser.parse_args(arguments)
    try:
        source = GeneratedGames(
            options.split, options.seed, options.preset, games=options.games, wording=options.wording
        )
        games = (source.game(task_id) for task_id in track(source.task_ids, description="writing"))
        write_games(games, options.data, options.split)
    except InputError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
