"""The facts behind generated games: as extracted from the package, and consistent with official games."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from envs.alfworld import extract_layouts
from envs.alfworld.extract_layouts import LAYOUTS, extract, main, package_folder, to_json
from envs.alfworld.generator import UNSEEN_PLANS, UNUSED_PLANS
from envs.alfworld.layouts import FITS, OPENABLE, facts, floor_plan, floor_plan_numbers, kind_of, location_id
from envs.alfworld.official import OfficialGames
from prism_bench.errors import InputError


def test_the_committed_facts_are_those_of_the_package(tmp_path: Path) -> None:
    pytest.importorskip("alfworld", reason="needs the extra textworld: pip install 'prism-bench[textworld]'")
    assert to_json(extract(package_folder())) == LAYOUTS.read_text(encoding="utf-8")
    main(["--out", str(tmp_path / "layouts.json")])
    assert json.loads((tmp_path / "layouts.json").read_text(encoding="utf-8")) == facts()


def test_extraction_without_the_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract_layouts.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'prism-bench\[textworld\]'"):
        package_folder()


def test_there_are_thirty_rooms_of_each_kind() -> None:
    assert Counter(kind_of(number) for number in floor_plan_numbers()) == dict.fromkeys(
        ("Kitchen", "LivingRoom", "Bedroom", "Bathroom"), 30
    )


def test_what_fits_where() -> None:
    assert ("Fridge", "Apple") in FITS
    assert ("Fridge", "Book") not in FITS
    assert not any(held.endswith("Sliced") for _, held in FITS)
    assert {"Fridge", "Cabinet", "Microwave", "Drawer", "Safe"} == OPENABLE


def test_a_room_in_full() -> None:
    plan = floor_plan(401)
    assert (plan.kind, len(plan.receptacles), plan.lamp_stands) == ("Bathroom", 12, ())
    basin = plan.receptacles[0]
    assert (basin.id, basin.name) == ("bathtub_bar_01_bar_bathtubbasin", "bathtubbasin 1")
    assert (basin.type, basin.location) == ("BathtubBasin", "loc_bar__minus_5_bar_4_bar_1_bar_30")
    assert [place.name for place in plan.receptacles if place.type == "Shelf"] == [f"shelf {n}" for n in (4, 3, 2, 1)]
    assert [place.type for place in plan.holders["Towel"]] == ["TowelHolder"]


def test_locations_are_spelt_as_upstream_spells_them() -> None:
    assert location_id([-4, 12, 3, -30]) == "loc_bar__minus_4_bar_12_bar_3_bar__minus_30"


def test_official_rooms_have_the_same_receptacles_in_the_same_places(official_data: Callable[[str], Path]) -> None:
    games = OfficialGames(official_data("v2.1.2"), "valid_seen")
    rooms = {int(task_id.partition("/")[0].rpartition("-")[2]): task_id for task_id in games.task_ids}
    assert rooms.keys() <= set(floor_plan_numbers()) - UNSEEN_PLANS - UNUSED_PLANS
    assert len(rooms) == 76
    same = compared = ours = theirs = 0
    for number, task_id in rooms.items():
        plan, official = floor_plan(number), games.game(task_id).receptacles
        counts = Counter(place.type for place in plan.receptacles), Counter(place.type for place in official)
        cells = {place.name: place.location.split("_bar_")[1:3] for place in plan.receptacles}
        ours, theirs = ours + len(plan.receptacles), theirs + len(official)
        for place in official:
            # Listed by upstream in full, so that names have to agree too.
            if place.openable and counts[0][place.type] == counts[1][place.type]:
                compared += 1
                same += cells[place.name] == place.location.split("_bar_")[1:3]
    assert same == compared > 300
    assert 0.85 < ours / theirs < 1.05
