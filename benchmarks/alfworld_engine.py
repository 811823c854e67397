"""Speed of the native ALFWorld engine and of TextWorld, with the same commands in one run.

    python benchmarks/alfworld_engine.py DIR [--games 8] [--steps 40]

DIR contains ``json_2.1.1``. A step includes the sorted list of admissible commands. Needs the extra ``textworld``.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console
from rich.progress import track
from rich.table import Table

from envs.alfworld.engine import Episode
from envs.alfworld.game_file import parse_game
from envs.alfworld.tables import Tables
from envs.alfworld.textworld_engine import TextWorldEpisode

NATIVE_REPEATS = 50  # repetitions of the commands that TextWorld carries out once
NATIVE_RESETS = 10_000
TEXTWORLD_RESETS = 20


@dataclass(frozen=True)
class Timing:
    """Medians over games: milliseconds to load and to reset, steps per second."""

    load: float
    reset: float
    steps: float


def milliseconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return (time.perf_counter() - start) * 1000


def load_native(game_file: Path) -> Episode:
    return Episode(Tables(parse_game(game_file.read_text(encoding="utf-8"), game_file.parent.name)))


def random_commands(episode: Episode, steps: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    episode.reset()
    commands = []
    for _ in range(steps):
        commands.append(rng.choice(episode.admissible_commands))
        episode.step(commands[-1])
    return commands


def pace(episode: Episode | TextWorldEpisode, commands: list[str], repeats: int) -> float:
    """Return the steps per second, without resets."""
    seconds = 0.0
    for _ in range(repeats):
        episode.reset()
        start = time.perf_counter()
        for command in commands:
            episode.step(command)
            _ = episode.admissible_commands
        seconds += time.perf_counter() - start
    return repeats * len(commands) / seconds


def measure_native(files: list[Path], scripts: list[list[str]]) -> Timing:
    load = [milliseconds(lambda file=file: load_native(file)) for file in files]  # type: ignore[misc]
    episodes = [load_native(file) for file in files]
    reset = [milliseconds(episode.reset) for episode in episodes]
    steps = [pace(episode, commands, NATIVE_REPEATS) for episode, commands in zip(episodes, scripts, strict=True)]
    return Timing(statistics.median(load), statistics.median(reset), statistics.median(steps))


def measure_textworld(files: list[Path], scripts: list[list[str]]) -> tuple[Timing, TextWorldEpisode]:
    episode = TextWorldEpisode(files[0])
    load, reset, steps = [], [], []
    for file, commands in zip(track(files, description="TextWorld"), scripts, strict=True):
        load.append(milliseconds(lambda file=file: episode.load(file)))  # type: ignore[misc]
        reset.append(milliseconds(episode.reset))
        steps.append(pace(episode, commands, 1))
    return Timing(statistics.median(load), statistics.median(reset), statistics.median(steps)), episode


def growth(reset: Callable[[], object], count: int) -> float:
    """Return the growth of the process over ``count`` resets in MiB."""
    process = psutil.Process()
    reset()
    before = process.memory_info().rss
    for _ in range(count):
        reset()
    return (process.memory_info().rss - before) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder that contains json_2.1.1")
    parser.add_argument("--games", type=int, default=8)
    parser.add_argument("--steps", type=int, default=40, help="commands per game")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    found = sorted((options.data / "json_2.1.1").rglob("game.tw-pddl"))
    if not found:
        parser.error(f"there is no game under {options.data / 'json_2.1.1'}")
    files = random.Random(options.seed).sample(found, k=min(options.games, len(found)))
    scripts = [random_commands(load_native(file), options.steps, options.seed) for file in files]

    native = measure_native(files, scripts)
    native_growth = growth(load_native(files[0]).reset, NATIVE_RESETS)
    textworld, episode = measure_textworld(files, scripts)
    textworld_growth = growth(episode.reset, TEXTWORLD_RESETS)

    table = Table(
        "", "native", "TextWorld", "ratio", title=f"ALFWorld engines, {len(files)} games x {options.steps} steps"
    )
    for name, ours, theirs in (
        ("load a game, ms", native.load, textworld.load),
        ("reset it, ms", native.reset, textworld.reset),
    ):
        table.add_row(name, f"{ours:.3f}", f"{theirs:.0f}", f"{theirs / ours:,.0f}")
    ratio = native.steps / textworld.steps
    table.add_row("steps per second", f"{native.steps:,.0f}", f"{textworld.steps:.1f}", f"{ratio:,.0f}")
    table.add_row(
        "memory growth, MiB",
        f"{native_growth:.1f} over {NATIVE_RESETS:,} resets",
        f"{textworld_growth:.1f} over {TEXTWORLD_RESETS} resets",
        "",
    )
    Console().print(table)


if __name__ == "__main__":
    main()
