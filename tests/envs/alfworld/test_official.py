"""The official layout: games that are listed, left out as upstream does, and refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from envs.alfworld.game import TASK_TYPES
from envs.alfworld.official import OfficialGames, marks_of, task_type_of
from prism_bench.errors import InputError

MUG = "pick_and_place_simple-Mug-None-Desk-302"
LAMP = "look_at_obj_in_light-Pen-None-DeskLamp-302"


def add(
    data: Path, task: str, trial: str, game: Any = "solvable", trajectory: bool = True, split: str = "train"
) -> Path:
    """Write a trial; ``game`` is the content of its game file, or None for a trial without one."""
    folder = data / "json_2.1.1" / split / task / trial
    folder.mkdir(parents=True)
    if trajectory:
        (folder / "traj_data.json").write_text(json.dumps({"task_type": task.partition("-")[0]}))
    if game is not None:
        content = (
            {"pddl_domain": "", "grammar": "", "pddl_problem": "", "solvable": True} if game == "solvable" else game
        )
        (folder / "game.tw-pddl").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


@pytest.mark.parametrize("version", ["v2.1.1", "v2.1.2"])
def test_the_official_valid_seen_games(official_data: Callable[[str], Path], version: str) -> None:
    games = OfficialGames(official_data(version), "valid_seen")
    assert len(games.task_ids) == 140
    assert list(games.task_ids) == sorted(games.task_ids)
    assert not games.skipped
    by_type = {
        task_type: OfficialGames(official_data(version), "valid_seen", task_types=[task_type]).task_ids
        for task_type in TASK_TYPES
    }
    assert sorted(task_id for ids in by_type.values() for task_id in ids) == list(games.task_ids)
    assert [len(by_type[task_type]) for task_type in TASK_TYPES] == [35, 13, 27, 16, 25, 24]
    game = games.game(games.task_ids[0])
    assert game.wording == ("put" if version == "v2.1.1" else "move")
    assert games.game_file(games.task_ids[0]).is_file()


def test_trials_are_left_out_as_upstream_leaves_them_out(tmp_path: Path) -> None:
    add(tmp_path, MUG, "trial_2")
    add(tmp_path, MUG, "trial_1")
    add(tmp_path, LAMP, "trial_3")
    add(tmp_path, MUG, "trial_4", game=None)
    add(tmp_path, MUG, "trial_5", trajectory=False)
    add(tmp_path, MUG, "trial_6", game={"solvable": False})
    add(tmp_path, MUG, "trial_7", game={"pddl_problem": ""})
    add(tmp_path, "pick_and_place_with_movable_recep-Mug-Plate-Desk-302", "trial_8")
    add(tmp_path, "pick_heat_then_place_in_recep-PotatoSliced-None-Fridge-2", "trial_9")
    (tmp_path / "json_2.1.1" / "train" / "notes.txt").write_text("not a trial")
    games = OfficialGames(tmp_path, "train")
    assert games.task_ids == (f"{LAMP}/trial_3", f"{MUG}/trial_1", f"{MUG}/trial_2")
    assert games.skipped == {
        "without game.tw-pddl": 1,
        "without traj_data.json": 1,
        "not marked as solvable": 2,
        "with movable receptacles or slices": 2,
    }
    lamps = OfficialGames(str(tmp_path), "train", task_types=["look_at_obj_in_light"])
    assert lamps.task_ids == (f"{LAMP}/trial_3",)
    with pytest.raises(KeyError):
        lamps.game(f"{MUG}/trial_1")


@pytest.mark.parametrize(
    ("content", "solvable"),
    [
        ({"solvable": True}, True),
        ({"solvable": False}, False),
        ({"solvable": None}, False),
        ({"solvable": "yes"}, False),
        ({}, False),
        ([], False),
        ({"solvable": True, "pddl_problem": "x" * 10_000}, True),  # the mark is not at the end
        ({"solvable": False, "pddl_problem": "x" * 10_000}, False),
        ({"grammar": '"solvable": true', "solvable": False}, False),
        ({"solvable": False, "grammar": '"solvable": true' + "x" * 10_000}, False),
        ({"solvable": True, "walkthrough": ["go to desk 1"] * 20}, True),
    ],
)
def test_the_mark_is_found_wherever_it_stands(tmp_path: Path, content: Any, solvable: bool) -> None:
    file = tmp_path / "game.tw-pddl"
    file.write_text(json.dumps(content))
    assert marks_of(file) == (solvable, False)


@pytest.mark.parametrize("damage", ["", '{"solvable": true', '{"solvable": true, "walkthrough": ["go'])
def test_a_damaged_game_file_is_named(tmp_path: Path, damage: str) -> None:
    folder = add(tmp_path, MUG, "trial_1", game=damage)
    with pytest.raises(InputError, match=f"{folder / 'game.tw-pddl'} is damaged"):
        OfficialGames(tmp_path, "train")


def test_a_game_file_of_another_kind_is_named_when_it_is_loaded(tmp_path: Path) -> None:
    folder = add(tmp_path, MUG, "trial_1")
    games = OfficialGames(tmp_path, "train")
    with pytest.raises(InputError, match=str(folder)):
        games.game(games.task_ids[0])
    (folder / "game.tw-pddl").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="is damaged"):
        games.game(games.task_ids[0])


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "is damaged"), ("[]", "states no task_type"), ('{"task_type": 3}', "states no task_type")],
)
def test_a_damaged_trajectory_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "traj_data.json"
    file.write_text(text)
    with pytest.raises(InputError, match=f"{file} {message}"):
        task_type_of(file)


def test_a_missing_folder_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"prism-bench download alfworld {tmp_path}"):
        OfficialGames(tmp_path, "train")
    add(tmp_path, MUG, "trial_1")
    with pytest.raises(InputError, match=f"give {tmp_path}, the folder above it"):
        OfficialGames(tmp_path / "json_2.1.1", "train")


@pytest.mark.parametrize("split", ["test", "", ".", "train/..", "../json_2.1.1/train"])
def test_a_missing_split_lists_those_there_are(tmp_path: Path, split: str) -> None:
    add(tmp_path, MUG, "trial_1", split="train")
    add(tmp_path, MUG, "trial_1", split="my_split")
    assert OfficialGames(tmp_path, "my_split").task_ids == (f"{MUG}/trial_1",)
    with pytest.raises(InputError, match="it has my_split, train"):
        OfficialGames(tmp_path, split)


def test_a_split_without_a_game_says_why(tmp_path: Path) -> None:
    add(tmp_path, MUG, "trial_1", game=None)
    add(tmp_path, MUG, "trial_2", game={"solvable": False})
    with pytest.raises(InputError, match=r"no usable game \(1 without game.tw-pddl, 1 not marked as solvable\)"):
        OfficialGames(tmp_path, "train")
    (tmp_path / "json_2.1.1" / "empty").mkdir()
    with pytest.raises(InputError, match=r"no usable game \(it is empty\)"):
        OfficialGames(tmp_path, "empty")
    with pytest.raises(InputError, match="there is no task type 'fly'"):
        OfficialGames(tmp_path, "train", task_types=["fly"])
