"""Plays the same commands in the native engine and in TextWorld and compares every text.

    python -m envs.alfworld.compare_engines DIR [DIR ...] --games 200 --steps 30

Each DIR holds ``json_2.1.1``. Every game is played twice: once along a solution with invalid commands strewn in, and on
after it is won; once at random, all verbs equally often, so that rare commands get their share. After every command the
answer, the admissible commands and ``won`` have to be the same, byte for byte. Needs the extra ``textworld`` and takes
about five seconds a game.
"""

import argparse
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from envs.alfworld.engine import NOTHING_HAPPENS, Episode
from envs.alfworld.expert import OracleExpert
from envs.alfworld.game_file import parse_game
from envs.alfworld.textworld_engine import TextWorldEpisode


@dataclass(frozen=True)
class Difference:
    """The first place where the engines part in a game."""

    game: str
    commands: tuple[str, ...]
    what: str
    textworld: object
    native: object


@dataclass
class Report:
    """What was compared: steps by the verb of the command, and invalid commands apart."""

    games: int = 0
    steps: Counter[str] = field(default_factory=Counter)
    wins: int = 0
    differences: list[Difference] = field(default_factory=list)


def spoil(command: str, rng: random.Random) -> str:
    """Return a command that resembles ``command``; most such are invalid, some mean the same."""
    words = command.split(" ")
    match rng.randrange(8):
        case 0:
            return command.upper()
        case 1:
            return command.replace(" ", "  ", 1)
        case 2:
            return f"  {command}\t"
        case 3:
            return " ".join(words[:-1])
        case 4:
            return f"{command} now"
        case 5:
            return " ".join(str(int(word) + 1) if word.isdigit() else word for word in words)
        case 6:
            return command.replace(" to ", " in/on ").replace("move", "put")
        case _:
            rng.shuffle(words)
            return " ".join(words)


def by_verb(commands: Sequence[str], rng: random.Random) -> str:
    """Draw a command: first the verb, then one of its commands."""
    verbs = defaultdict(list)
    for command in commands:
        verbs[command.partition(" ")[0]].append(command)
    return rng.choice(verbs[rng.choice(sorted(verbs))])


def compare_game(game_file: Path, reference: TextWorldEpisode, rng: random.Random, steps: int, report: Report) -> None:
    """Play one game twice in both engines, add what was done to ``report`` and stop at the first difference."""
    native = Episode(parse_game(game_file.read_text(encoding="utf-8"), str(game_file.parent)))
    reference.load(game_file)
    report.games += 1
    oracle = OracleExpert(native.game)
    for solving in (True, False):
        played: list[str] = []
        said = native.reset(), reference.reset()
        if solving:
            oracle.reset(said[0], {})
        ever_won = False
        while True:
            if difference := _difference(native, reference, said):
                report.differences.append(Difference(str(game_file), tuple(played), *difference))
                return
            ever_won = ever_won or native.won
            if len(played) == steps:
                break
            available = native.admissible_commands
            if rng.random() < 0.2:
                command = spoil(rng.choice(available), rng)
            elif solving and not ever_won:
                command = oracle.act(said[0], {"admissible_actions": available})
            else:
                command = by_verb(available, rng)
            played.append(command)
            said = native.step(command), reference.step(command)
            report.steps["invalid" if said[1] == NOTHING_HAPPENS else command.split()[0]] += 1
        report.wins += ever_won


def _difference(
    native: Episode, reference: TextWorldEpisode, said: tuple[str, str]
) -> tuple[str, object, object] | None:
    if said[0] != said[1]:
        return "text", said[1], said[0]
    if native.admissible_commands != reference.admissible_commands:
        ours, theirs = set(native.admissible_commands), set(reference.admissible_commands)
        return "admissible commands", sorted(theirs - ours), sorted(ours - theirs)
    return ("won", reference.won, native.won) if native.won != reference.won else None


def compare(game_files: Iterable[Path], seed: int, steps: int) -> Report:
    """Compare the engines on every game."""
    report, reference = Report(), None
    for game_file in game_files:
        reference = reference or TextWorldEpisode(game_file)
        compare_game(game_file, reference, random.Random(f"{seed} {game_file.parent.name}"), steps, report)
    if reference is not None:
        reference.close()
    return report


def _sample(folder: Path, games: int, seed: int) -> list[Path]:
    found = sorted((folder / "json_2.1.1").rglob("game.tw-pddl"))
    return sorted(random.Random(seed).sample(found, k=min(games, len(found))))


def _show(reports: dict[str, Report], console: Console) -> None:
    verbs = sorted({verb for report in reports.values() for verb in report.steps})
    table = Table("data", "games", "steps", "solved", *verbs, "differences")
    for name, report in reports.items():
        counts = [str(report.steps[verb]) for verb in verbs]
        total, wins = str(report.steps.total()), str(report.wins)
        table.add_row(name, str(report.games), total, wins, *counts, str(len(report.differences)))
    console.print(table)
    for difference in (found for report in reports.values() for found in report.differences):
        console.print(difference)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare on the command line; the exit status is 1 if there was a difference."""
    parser = argparse.ArgumentParser(description="Compare the native ALFWorld engine with TextWorld, text for text.")
    parser.add_argument("data", nargs="+", type=Path, help="folder that holds json_2.1.1")
    parser.add_argument("--games", type=int, default=100, help="games drawn from each folder (default: 100)")
    parser.add_argument("--steps", type=int, default=30, help="commands in each of the two episodes (default: 30)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    reports = {}
    for folder in options.data:
        files = _sample(folder, options.games, options.seed)
        if not files:
            parser.error(f"there is no game under {folder / 'json_2.1.1'}")
        progress: Iterator[Path] = iter(track(files, description=str(folder)))
        reports[str(folder)] = compare(progress, options.seed, options.steps)
    _show(reports, Console())
    return int(any(report.differences for report in reports.values()))


if __name__ == "__main__":
    sys.exit(main())
