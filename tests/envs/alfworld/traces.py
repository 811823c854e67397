"""Recorded TextWorld episodes: commands and answers, with the whole game.

    python tests/envs/alfworld/traces.py

records ``traces.json.gz`` anew (needs the extra ``textworld``; a few minutes): in both wordings a generated game of
every task type, and the hand-made kitchen with its oddities, with solving and with random commands. The games
themselves are stored, so that the record stays valid when the generator changes.
"""

import gzip
import json
import random
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any, get_args

from kitchen import make_kitchen
from rich.progress import track

from envs.alfworld.compare_engines import random_commands, solving_commands
from envs.alfworld.export import write_game
from envs.alfworld.game import TASK_TYPES, Game, Goal, Receptacle, Thing, Wording
from envs.alfworld.generator import GeneratedGames
from envs.alfworld.textworld_engine import TextWorldEpisode
from prism_bench.files import atomic_path

FILE = Path(__file__).with_name("traces.json.gz")
KITCHEN_GOALS = (
    Goal("pick_and_place_simple", "Apple", "Shelf"),
    Goal("look_at_obj_in_light", "Egg", lamp_type="DeskLamp"),
    Goal("pick_cool_then_place_in_recep", "Apple", "CounterTop"),
)
# Rare in random episodes: a knife, and an object that moves between two receptacles of one location.
KITCHEN_TOUR = """
go to countertop 1; take knife 1 from countertop 1; slice apple 1 with knife 1; slice apple 1 with knife 1
examine knife 1; go to sinkbasin 1; clean knife 1 with sinkbasin 1; examine knife 1; go to fridge 1
slice apple 2 with knife 1; open fridge 1; {put} knife 1 {to} fridge 1; take apple 2 from fridge 1; examine apple 2
look; go to microwave 1; heat apple 2 with microwave 1; examine apple 2; open microwave 1
{put} apple 2 {to} microwave 1; go to coffeemachine 1; take mug 1 from coffeemachine 1; look
{put} mug 1 {to} countertop 1; look; examine countertop 1; take mug 1 from countertop 1
{put} mug 1 {to} coffeemachine 1; look; go to shelf 2; take egg 1 from shelf 2; use desklamp 1; use desklamp 1
{put} egg 1 {to} shelf 2; take bowl 1 from shelf 2; examine bowl 1; help; inventory
"""


@dataclass(frozen=True)
class Step:
    """A command (None stands for the reset) and the state it led to."""

    command: str | None
    answer: str
    admissible: list[str]
    won: bool


@dataclass(frozen=True)
class Trace:
    """One TextWorld episode."""

    game: Game
    steps: list[Step]


def read() -> list[Trace]:
    """Return the committed traces."""
    content = json.loads(gzip.decompress(FILE.read_bytes()))
    return [Trace(_game(entry["game"]), [Step(*step) for step in entry["steps"]]) for entry in content["traces"]]


def _game(fields: dict[str, Any]) -> Game:
    things = [
        thing | {"also_in": tuple(thing["also_in"]), "inside_vessels": tuple(thing["inside_vessels"])}
        for thing in fields["things"]
    ]
    return Game(
        **fields
        | {
            "receptacles": tuple(Receptacle(**receptacle) for receptacle in fields["receptacles"]),
            "things": tuple(Thing(**thing) for thing in things),
            "fits": frozenset((receptacle, thing) for receptacle, thing in fields["fits"]),
            "goal": Goal(**fields["goal"]),
        }
    )


def _scripts() -> Iterator[tuple[Game, list[str]]]:
    """Yield games and the commands to record in them."""
    for wording in get_args(Wording):
        games = GeneratedGames("train", seed=1, preset="full", games=len(TASK_TYPES), wording=wording)
        for task_id in games.task_ids:
            game, rng = games.game(task_id), random.Random(task_id)
            yield game, solving_commands(game, rng)
            yield game, random_commands(game, rng, 25)
        for goal in KITCHEN_GOALS:
            game = make_kitchen(wording, goal, start="loc_bar_2" if goal.lamp_type else "loc_bar_0")
            yield game, random_commands(game, random.Random(f"{wording} {goal}"), 100)
            words = ("put", "in/on") if wording == "put" else ("move", "to")
            tour = KITCHEN_TOUR.format(put=words[0], to=words[1]).strip().replace("\n", "; ")
            yield game, tour.split("; ")


def record() -> None:
    """Record all scripts in TextWorld and write the traces."""
    traces: list[dict[str, Any]] = []
    episode = None
    with tempfile.TemporaryDirectory() as folder:
        for number, (game, commands) in enumerate(track(list(_scripts()), description="TextWorld")):
            path = write_game(game, Path(folder) / str(number))
            if episode is None:
                episode = TextWorldEpisode(path)
            else:
                episode.load(path)
            steps = [Step(None, episode.reset(), episode.admissible_commands, episode.won)]
            for command in commands:
                answer = episode.step(command)
                steps.append(Step(command, answer, episode.admissible_commands, episode.won))
            fields = asdict(game) | {"fits": sorted(game.fits)}
            traces.append({"game": fields, "steps": [astuple(step) for step in steps]})
    text = json.dumps({"source": "TextWorld 1.7.0, alfworld 0.4.2", "traces": traces}, separators=(",", ":"))
    with atomic_path(FILE) as temporary:
        temporary.write_bytes(gzip.compress(text.encode(), mtime=0))


if __name__ == "__main__":
    record()
