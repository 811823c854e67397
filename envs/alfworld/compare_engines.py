"""Comparison of the native engine with TextWorld: the same commands in both, every text compared.

    python -m envs.alfworld.compare_engines DIR [DIR ...] --games 100

Each DIR contains ``json_2.1.1``. Every game runs twice: once with the search expert's commands, invalid ones between
them and some more after the game is won; once with random commands, drawn by verb, so that rare verbs occur too. After
every command the answer, the admissible commands and ``won`` must be equal, byte for byte. Needs the extra
``textworld`` and takes about five seconds a game.
"""

import argparse
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from envs.alfworld.engine import NOTHING_HAPPENS, Episode
from envs.alfworld.expert import SearchExpert
from envs.alfworld.game import Game
from envs.alfworld.game_file import parse_game
from envs.alfworld.textworld_engine import TextWorldEpisode

RANDOM_STEPS = 20
EXPERT_STEPS = 50
STEPS_AFTER_WINNING = 5
SPOILT = 0.2  # share of commands that are altered


@dataclass(frozen=True)
class Difference:
    """The first difference between the engines in a game; ``what`` is text, admissible commands or won."""

    game: str
    commands: tuple[str, ...]
    what: str
    textworld: object
    native: object


@dataclass
class Report:
    """The counts of a comparison: steps by the verb of the command, those without effect as ``invalid``."""

    games: int = 0
    won: int = 0
    steps: Counter[str] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)


def spoil(command: str, rng: random.Random) -> str:
    """Return a command similar to ``command``; most results are invalid, some mean the same."""
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
            return command.replace("move", "put").replace(" to ", " in/on ")
        case _:
            rng.shuffle(words)
            return " ".join(words)


def random_commands(game: Game, rng: random.Random, steps: int) -> list[str]:
    """Return random commands: first a verb is drawn, then one of its commands; some are spoilt."""
    episode = Episode(game)
    commands: list[str] = []
    for _ in range(steps):
        verbs = defaultdict(list)
        for admissible in episode.admissible_commands:
            verbs[admissible.partition(" ")[0]].append(admissible)
        command = rng.choice(verbs[rng.choice(sorted(verbs))])
        commands.append(spoil(command, rng) if rng.random() < SPOILT else command)
        episode.step(commands[-1])
    return commands


def solving_commands(game: Game, rng: random.Random) -> list[str]:
    """Return the search expert's commands with invalid ones between them, and random ones after it has won."""
    episode, expert = Episode(game), SearchExpert()
    answer = episode.reset()
    info = {"admissible_actions": episode.admissible_commands}
    expert.reset(answer, info)
    commands: list[str] = []
    for _ in range(EXPERT_STEPS):
        info = {"admissible_actions": episode.admissible_commands}
        spoilt = spoil(rng.choice(episode.admissible_commands), rng)
        if rng.random() < SPOILT and spoilt.strip() not in info["admissible_actions"]:
            commands.append(spoilt)
        commands.append(expert.act(answer, info))
        answer = episode.step(commands[-1])
        if episode.won:
            break
    for _ in range(STEPS_AFTER_WINNING):
        commands.append(rng.choice(episode.admissible_commands))
        episode.step(commands[-1])
    return commands


def compare_game(game_file: Path, reference: TextWorldEpisode, rng: random.Random, report: Report) -> None:
    """Run one game twice in both engines, add the counts to ``report`` and stop at the first difference."""
    game = parse_game(game_file.read_text(encoding="utf-8"), str(game_file.parent))
    native = Episode(game)
    reference.load(game_file)
    report.games += 1
    won = False
    for commands in (solving_commands(game, rng), random_commands(game, rng, RANDOM_STEPS)):
        answers = native.reset(), reference.reset()
        for number in range(len(commands) + 1):
            if difference := _difference(native, reference, answers):
                report.differences.append(Difference(game.task_id, tuple(commands[:number]), *difference))
                return
            won = won or reference.won
            if number < len(commands):
                command = commands[number]
                answers = native.step(command), reference.step(command)
                report.steps["invalid" if answers[1] == NOTHING_HAPPENS else command.split()[0]] += 1
    report.won += won


def _difference(
    native: Episode, reference: TextWorldEpisode, answers: tuple[str, str]
) -> tuple[str, object, object] | None:
    if answers[0] != answers[1]:
        return "text", answers[1], answers[0]
    if native.admissible_commands != reference.admissible_commands:
        return "admissible commands", reference.admissible_commands, native.admissible_commands
    return ("won", reference.won, native.won) if native.won != reference.won else None


def compare(game_files: Iterable[Path], seed: int) -> Report:
    """Compare the engines on every game; ``seed`` decides the commands."""
    report, reference = Report(), None
    for game_file in game_files:
        reference = reference or TextWorldEpisode(game_file)
        compare_game(game_file, reference, random.Random(f"{seed} {game_file.parent.name}"), report)
    return report


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare on the command line; the exit status is 1 if there was a difference."""
    parser = argparse.ArgumentParser(description="Compare the native ALFWorld engine with TextWorld, text for text.")
    parser.add_argument("data", nargs="+", type=Path, help="folder that contains json_2.1.1")
    parser.add_argument("--games", type=int, default=100, help="games drawn from each folder (default: 100)")
    parser.add_argument("--seed", type=int, default=0, help="draws the games and the commands (default: 0)")
    options = parser.parse_args(arguments)
    reports = {}
    for folder in options.data:
        found = sorted((folder / "json_2.1.1").rglob("game.tw-pddl"))
        if not found:
            parser.error(f"there is no game under {folder / 'json_2.1.1'}")
        files = random.Random(options.seed).sample(found, k=min(options.games, len(found)))
        reports[str(folder)] = compare(track(sorted(files), description=str(folder)), options.seed)
    _show(reports, Console())
    return int(any(report.differences for report in reports.values()))


def _show(reports: dict[str, Report], console: Console) -> None:
    table = Table("", *reports, title="Native engine against TextWorld")
    for name in ("games", "won"):
        table.add_row(name, *(str(getattr(report, name)) for report in reports.values()))
    table.add_row("steps", *(str(report.steps.total()) for report in reports.values()), end_section=True)
    for verb in sorted({verb for report in reports.values() for verb in report.steps}):
        table.add_row(verb, *(str(report.steps[verb]) for report in reports.values()))
    table.add_section()
    table.add_row("differences", *(str(len(report.differences)) for report in reports.values()))
    console.print(table)
    for difference in (found for report in reports.values() for found in report.differences):
        console.print(difference)


if __name__ == "__main__":
    sys.exit(main())
