"""Official game files are read in full, and files that the engine does not know are refused in one sentence."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from envs.alfworld.game import TASK_TYPES
from envs.alfworld.game_file import parse_game
from envs.alfworld.naming import number_names
from prism_bench.errors import InputError

OfficialData = Callable[[str], Path]


def load(folder: Path, task_type: str) -> dict[str, Any]:
    """Return the content of the first valid_seen game of a type."""
    file = min((folder / "json_2.1.1" / "valid_seen").glob(f"{task_type}-*/*/game.tw-pddl"))
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


@pytest.mark.parametrize("version", ["v2.1.1", "v2.1.2"])
def test_every_official_game_is_read(official_data: OfficialData, version: str) -> None:
    files = sorted(official_data(version).rglob("game.tw-pddl"))
    assert len(files) == 140
    games = [parse_game(file.read_text(encoding="utf-8"), file.parent.name) for file in files]
    for file, game in zip(files, games, strict=True):
        task_type, object_type, _, receptacle_type, _ = file.parent.parent.name.split("-")
        assert game.goal.task_type == task_type
        assert game.goal.object_type == object_type
        assert receptacle_type in (game.goal.receptacle_type, game.goal.lamp_type)
        assert game.wording == ("put" if version == "v2.1.1" else "move")
        assert any(thing.type == object_type and thing.pickupable for thing in game.things)
    assert {game.goal.task_type for game in games} == set(TASK_TYPES)
    assert any(thing.also_in for game in games for thing in game.things)
    assert any(thing.inside_vessels for game in games for thing in game.things)


def test_reading_takes_milliseconds(official_data: OfficialData) -> None:
    texts = [file.read_text(encoding="utf-8") for file in official_data("v2.1.2").rglob("game.tw-pddl")]
    seconds = []
    for text in texts:
        start = time.process_time()
        parse_game(text, "game")
        seconds.append(time.process_time() - start)
    assert sorted(seconds)[len(seconds) // 2] < 0.01  # about 1 ms on a quiet machine


def test_the_task_sentence_is_kept_word_for_word(official_data: OfficialData) -> None:
    content = load(official_data("v2.1.2"), "look_at_obj_in_light")
    assert parse_game(content, "game").task_sentence == "look at alarmclock under the desklamp."
    content["grammar"] = content["grammar"].replace("look at alarmclock under", "please read the clock under")
    assert parse_game(content, "game").task_sentence == "please read the clock under the desklamp."


@pytest.mark.parametrize("solvable", [False, None, "yes"])
def test_a_game_not_known_to_be_solvable_is_refused(solvable: Any) -> None:
    content = {"pddl_domain": "", "grammar": "", "pddl_problem": "", "solvable": solvable}
    with pytest.raises(InputError, match=r"kitchen: .* can be solved"):
        parse_game(content, "kitchen")


@pytest.mark.parametrize(
    ("key", "complaint"),
    [
        ("pddl_domain", r"domain \(digest [0-9a-f]{12}\).*with \+env.make.engine=textworld$"),
        ("grammar", r"grammar .*\(digest [0-9a-f]{12}\) is that of no release .* can hold code; leave"),
    ],
)
def test_unknown_rules_are_refused_by_name(official_data: OfficialData, key: str, complaint: str) -> None:
    content = load(official_data("v2.1.2"), "pick_and_place_simple")
    content[key] = content[key].replace("open", "unlock")
    with pytest.raises(InputError, match=complaint):
        parse_game(content, "kitchen")


def test_white_space_in_the_rules_does_not_matter(official_data: OfficialData) -> None:
    content = load(official_data("v2.1.2"), "pick_and_place_simple")
    expected = parse_game(content, "kitchen")
    content["pddl_domain"] = "\r\n" + content["pddl_domain"].replace("\n", "\r\n\r\n")
    assert parse_game(content, "kitchen") == expected


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[]", "no JSON object"),
        ('{"solvable": true}', "no text under 'pddl_domain'"),
        ('{"pddl_domain": "", "grammar": 3, "solvable": true}', "no text under 'grammar'"),
    ],
)
def test_damaged_files_are_refused_with_their_name(text: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint) as refusal:
        parse_game(text, "train/kitchen")
    assert str(refusal.value).startswith("train/kitchen: ")


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("(:init", "(:start", "lacks"),
        ("(openable", "(melted", "'melted'.*engine=textworld"),
        ("(openable", "(forall (openable", "no simple fact"),
        ("(receptacleAtLocation", "(objectAtLocation", "incomplete"),
        ("(objectType ?", "(holds ?", "form of goal.*engine=textworld"),
    ],
)
def test_problems_of_another_kind_are_refused(official_data: OfficialData, old: str, new: str, complaint: str) -> None:
    content = load(official_data("v2.1.2"), "pick_heat_then_place_in_recep")
    content["pddl_problem"] = content["pddl_problem"].replace(old, new)
    with pytest.raises(InputError, match=complaint):
        parse_game(content, "kitchen")


def test_names_number_the_sorted_ids_downwards() -> None:
    ids = ["Drawer_bar_b", "drawer_bar_A", "Drawer_bar_c", "Sink_bar_1", "Sink_bar_1_bar_SinkBasin", "agent1"]
    assert number_names(ids) == {
        "drawer_bar_A": "drawer 3",
        "Drawer_bar_b": "drawer 2",
        "Drawer_bar_c": "drawer 1",
        "Sink_bar_1": "sink 1",
        "Sink_bar_1_bar_SinkBasin": "sinkbasin 1",
        "agent1": "agent1",
    }
