"""The native engine answers like TextWorld, byte for byte: on committed traces, and side by side if installed."""

import importlib.util
import json
import random
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest
import traces

from envs.alfworld.compare_engines import compare, spoil
from envs.alfworld.engine import NOTHING_HAPPENS, Episode
from envs.alfworld.game import TASK_TYPES
from envs.alfworld.game_file import parse_game

OfficialData = Callable[[str], Path]

VERBS = {"go", "open", "close", "take", "heat", "cool", "clean", "use", "slice", "examine", "look", "inventory"}
RECORDED = traces.read()
needs_textworld = pytest.mark.skipif(
    importlib.util.find_spec("textworld") is None or importlib.util.find_spec("alfworld") is None,
    reason="needs the extra `textworld`: pip install 'prism-bench[textworld]'",
)


@pytest.mark.parametrize("trace", RECORDED, ids=[f"{trace.game.wording}-{trace.game.task_id}" for trace in RECORDED])
def test_a_recorded_episode_is_replayed_byte_for_byte(trace: traces.Trace) -> None:
    episode = Episode(trace.game)
    for number, step in enumerate(trace.steps):
        answer = episode.reset() if step.command is None else episode.step(step.command)
        happened = number, step.command, answer, episode.admissible_commands, episode.won
        assert happened == (number, step.command, step.answer, step.admissible, step.won)


def test_the_record_has_what_it_should_show() -> None:
    for wording in ("move", "put"):
        mine = [trace for trace in RECORDED if trace.game.wording == wording]
        assert {trace.game.goal.task_type for trace in mine} == set(TASK_TYPES)
        won = {trace.game.goal.task_type for trace in mine if any(step.won for step in trace.steps)}
        assert won == set(TASK_TYPES)
        steps = [step for trace in mine for step in trace.steps]
        acting = {step.command.split()[0] for step in steps if step.command and step.answer != NOTHING_HAPPENS}
        assert acting == VERBS | ({"move", "help"} if wording == "move" else {"put"})
        assert sum(step.answer == NOTHING_HAPPENS for step in steps) > 50


def test_the_official_solutions_win(official_data: OfficialData) -> None:
    files = sorted(official_data("v2.1.2").rglob("game.tw-pddl"))
    assert len(files) == 140
    for file in files:
        content = json.loads(file.read_text(encoding="utf-8"))
        episode = Episode(parse_game(content, file.parent.name))
        assert not episode.won
        assert NOTHING_HAPPENS not in [episode.step(command) for command in content["walkthrough"]]
        assert episode.won


@pytest.mark.slow
@needs_textworld
@pytest.mark.parametrize("version", ["v2.1.1", "v2.1.2"])
def test_official_games_side_by_side(official_data: OfficialData, version: str) -> None:
    """Two games of each version; `python -m envs.alfworld.compare_engines` does the same for hundreds."""
    files = sorted(official_data(version).rglob("game.tw-pddl"))
    report = compare(random.Random(version).sample(files, k=2), seed=0)
    assert report.differences == []
    assert report.games == 2
    assert report.steps.total() > 40


def test_spoilt_commands_are_mostly_others() -> None:
    rng = random.Random(0)
    spoilt = [spoil("move apple 1 to shelf 2", rng) for _ in range(200)]
    assert len(set(spoilt)) > 10
    assert sum(command.strip() == "move apple 1 to shelf 2" for command in islice(spoilt, 100)) < 40
