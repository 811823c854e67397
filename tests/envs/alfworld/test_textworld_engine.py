"""TextWorld runs code in a grammar, so it is given no game that could hold any."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import pytest

from envs.alfworld.textworld_engine import checked_content
from prism_bench.errors import InputError

ID = "envs.alfworld:prism_bench/ALFWorld-v0"
MARK = Path("written_by_a_game")
CODE = f"{{open('{MARK}', 'w').close() or 'r'}}"
ESCAPED = CODE.replace("{", "\\u007b").replace("'", "\\u0027")


def with_code_in_a_rule(content: dict[str, Any]) -> None:
    content["grammar"] = content["grammar"].replace('"rhs": "TODO"', f'"rhs": "TODO {CODE}"')


def with_code_in_the_welcome(content: dict[str, Any]) -> None:
    content["grammar"] = content["grammar"].replace("-= Welcome", f"{CODE}-= Welcome")


def with_code_in_the_task(content: dict[str, Any]) -> None:
    content["grammar"] = content["grammar"].replace("Your task is to: ", f"Your task is to: {CODE} ")


def with_escaped_code_in_the_task(content: dict[str, Any]) -> None:
    content["grammar"] = content["grammar"].replace("Your task is to: ", f"Your task is to: {ESCAPED} ")


def with_code_in_a_second_task(content: dict[str, Any]) -> None:
    more = f'"look.feedback": [{{"rhs": "Your task is to: {ESCAPED}."}}], "task"'
    content["grammar"] = content["grammar"].replace('"task"', more, 1)


def with_code_in_a_command(content: dict[str, Any]) -> None:
    content["grammar"] = content["grammar"].replace('"open {r}"', f'"open {CODE}"')


def with_code_in_a_name(content: dict[str, Any]) -> None:
    content["pddl_problem"] = content["pddl_problem"].replace("Drawer", "{o.__class__}Drawer")


MALICIOUS = [value for name, value in list(globals().items()) if name.startswith("with_")]


@pytest.fixture(params=MALICIOUS, ids=[change.__name__ for change in MALICIOUS])
def malicious(request, official_data: Callable[[str], Path], tmp_path: Path, monkeypatch) -> Path:
    """Return a folder of data with one game that holds code."""
    file = next(file for file in sorted(official_data("v2.1.2").rglob("game.tw-pddl")) if "drawer" in file.read_text())
    content = json.loads(file.read_text(encoding="utf-8"))
    before = dict(content)
    request.param(content)
    assert content != before
    trial = tmp_path / "json_2.1.1" / "valid_seen" / file.parent.parent.name / file.parent.name
    trial.mkdir(parents=True)
    (trial / "game.tw-pddl").write_text(json.dumps(content | {"solvable": True}))
    (trial / "traj_data.json").write_text('{"task_type": "pick_and_place_simple"}')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_game_with_code_is_refused(malicious: Path) -> None:
    (file,) = malicious.rglob("game.tw-pddl")
    with pytest.raises(InputError, match=r"leave this game out"):
        checked_content(file)


@pytest.mark.skipif(importlib.util.find_spec("textworld") is None, reason="needs the extra textworld")
def test_the_environment_runs_no_code_of_a_game(malicious: Path) -> None:
    env = gymnasium.make(ID, source="official", data=malicious, split="valid_seen", engine="textworld")
    with pytest.raises(InputError, match=r"leave this game out"):
        env.reset(seed=0)
    assert not MARK.exists()


def test_official_games_of_both_releases_are_accepted(official_data: Callable[[str], Path]) -> None:
    for version in ("v2.1.1", "v2.1.2"):
        for file in official_data(version).rglob("game.tw-pddl"):
            assert checked_content(file)["grammar"]


def test_a_damaged_file_is_refused_by_its_name(tmp_path: Path) -> None:
    for number, content in enumerate((b"{", b"\xff\xfe", b"[]", b'{"grammar": 1}')):
        file = tmp_path / f"game {number}"
        file.write_bytes(content)
        with pytest.raises(InputError, match=f"game {number}"):
            checked_content(file)
