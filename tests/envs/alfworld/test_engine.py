"""The engine's rules one by one, in a kitchen made by hand; test_engine_traces.py compares them with TextWorld's."""

import pytest
from kitchen import make_kitchen

from envs.alfworld.engine import NOTHING_HAPPENS, Episode
from envs.alfworld.game import Goal


def run(episode: Episode, *commands: str) -> str:
    """Carry out commands, each of which has to be admissible, and return the last answer."""
    answer = ""
    for command in commands:
        assert command in episode.admissible_commands
        answer = episode.step(command)
        assert answer != NOTHING_HAPPENS
    return answer


def test_first_observation_lists_the_room_and_the_task() -> None:
    assert Episode(make_kitchen()).reset() == (
        "-= Welcome to TextWorld, ALFRED! =-\n\n"
        "You are in the middle of a room. Looking quickly around you, you see a cabinet 1, a coffeemachine 1, "
        "a countertop 1, a fridge 1, a microwave 1, a shelf 2, a shelf 1, and a sinkbasin 1.\n\n"
        "Your task is to: put some apple on shelf."
    )


def test_look_away_from_receptacles_sees_nothing() -> None:
    looked = run(Episode(make_kitchen()), "look")
    assert looked == "You are in the middle of a room. Looking quickly around you, you see nothing."


def test_a_start_at_a_receptacle_shows_only_that() -> None:
    episode = Episode(make_kitchen(start="loc_bar_2"))
    facing = "You are facing the coffeemachine 1, and countertop 1. Next to it, you see nothing."
    assert episode.reset().split("\n\n")[1] == facing
    assert episode.step("look") == facing


def test_admissible_commands_at_the_start() -> None:
    receptacles = "cabinet 1, coffeemachine 1, countertop 1, fridge 1, microwave 1, shelf 1, shelf 2, sinkbasin 1"
    travel = [f"go to {name}" for name in receptacles.split(", ")]
    assert Episode(make_kitchen()).admissible_commands == [*travel, "help", "inventory", "look"]
    assert Episode(make_kitchen("put")).admissible_commands == [*travel, "inventory", "look"]


def test_receptacles_that_share_a_place_are_reached_together() -> None:
    episode = Episode(make_kitchen())
    run(episode, "go to countertop 1")
    assert episode.step("go to coffeemachine 1") == NOTHING_HAPPENS
    assert run(episode, "examine coffeemachine 1") == "On the coffeemachine 1, you see a mug 1."


def test_opening_and_closing() -> None:
    episode = Episode(make_kitchen())
    assert run(episode, "go to fridge 1") == "You arrive at fridge 1. The fridge 1 is closed."
    assert "take apple 2 from fridge 1" not in episode.admissible_commands
    opened = run(episode, "open fridge 1")
    assert opened == "You open the fridge 1. The fridge 1 is open. In it, you see a apple 2."
    assert episode.step("open fridge 1") == NOTHING_HAPPENS
    assert run(episode, "close fridge 1") == "You close the fridge 1."
    assert episode.step("close fridge 1") == NOTHING_HAPPENS
    assert episode.step("take apple 2 from fridge 1") == NOTHING_HAPPENS


@pytest.mark.parametrize(
    ("wording", "command", "answer"),
    [
        ("move", "move apple 1 to shelf 2", "You move the apple 1 to the shelf 2."),
        ("put", "put apple 1 in/on shelf 2", "You put the apple 1 in/on the shelf 2."),
    ],
)
def test_both_wordings(wording: str, command: str, answer: str) -> None:
    episode = Episode(make_kitchen(wording))
    run(episode, "go to countertop 1", "take apple 1 from countertop 1", "go to shelf 2")
    assert not episode.won
    assert run(episode, command) == answer
    assert episode.won
    other = Episode(make_kitchen("put" if wording == "move" else "move"))
    run(other, "go to countertop 1", "take apple 1 from countertop 1", "go to shelf 2")
    assert other.step(command) == NOTHING_HAPPENS


def test_the_older_wording_names_locations_and_has_no_help() -> None:
    episode = Episode(make_kitchen("put"))
    arrived = run(episode, "go to cabinet 1")
    assert arrived == "You arrive at loc 7. The cabinet 1 is closed."
    assert episode.step("help") == NOTHING_HAPPENS
    assert Episode(make_kitchen()).step("help").startswith("Available commands:\n  look:")


def test_objects_are_examined_in_the_hand_only() -> None:
    episode = Episode(make_kitchen())
    run(episode, "go to countertop 1")
    assert episode.step("examine apple 1") == NOTHING_HAPPENS
    run(episode, "take apple 1 from countertop 1")
    assert run(episode, "examine apple 1") == "There's nothing special about apple 1."
    assert run(episode, "inventory") == "You are carrying: a apple 1."


def test_what_was_done_to_an_object_shows() -> None:
    episode = Episode(make_kitchen())
    run(episode, "go to countertop 1", "take apple 1 from countertop 1", "go to microwave 1")
    assert run(episode, "heat apple 1 with microwave 1") == "You heat the apple 1 using the microwave 1."
    assert run(episode, "examine apple 1") == "This is a hot apple 1."
    run(episode, "go to sinkbasin 1", "clean apple 1 with sinkbasin 1")
    assert run(episode, "examine apple 1") == "This is a hot and clean apple 1."
    run(episode, "go to fridge 1", "cool apple 1 with fridge 1")
    assert run(episode, "examine apple 1") == "This is a cool and clean apple 1."


def test_slicing_needs_a_knife_and_works_through_closed_doors() -> None:
    episode = Episode(make_kitchen())
    run(episode, "go to countertop 1", "take knife 1 from countertop 1")
    assert run(episode, "slice apple 1 with knife 1") == "You sliced the apple 1 with the knife 1."
    run(episode, "go to fridge 1", "slice apple 2 with knife 1", "open fridge 1", "move knife 1 to fridge 1")
    run(episode, "take apple 2 from fridge 1")
    assert run(episode, "examine apple 2") == "This is a cool sliced apple 2."


def test_a_cold_object_may_be_cold_from_the_start() -> None:
    goal = Goal("pick_cool_then_place_in_recep", "Apple", "Fridge")
    assert Episode(make_kitchen(goal=goal)).won
    episode = Episode(make_kitchen())
    run(episode, "go to fridge 1", "open fridge 1", "take apple 2 from fridge 1")
    assert run(episode, "examine apple 2") == "This is a cold apple 2."


def test_a_vessel_shows_its_contents_for_ever() -> None:
    episode = Episode(make_kitchen())
    run(episode, "go to shelf 2", "take egg 1 from shelf 2", "go to shelf 1", "move egg 1 to shelf 1")
    run(episode, "go to shelf 2", "take bowl 1 from shelf 2")
    assert run(episode, "examine bowl 1") == "This is a normal bowl 1. In it, you see a egg 1."


def test_an_object_in_two_receptacles_stays_in_the_second() -> None:
    episode = Episode(make_kitchen())
    run(episode, "go to coffeemachine 1", "take mug 1 from coffeemachine 1")
    assert run(episode, "examine countertop 1") == "On the countertop 1, you see a apple 1, a knife 1, and a mug 1."
    run(episode, "go to shelf 1", "move mug 1 to shelf 1", "go to countertop 1")
    assert "take mug 1 from countertop 1" in episode.admissible_commands


def test_what_moved_within_a_place_lies_next_to_it() -> None:
    episode = Episode(make_kitchen())
    run(episode, "go to coffeemachine 1", "take mug 1 from coffeemachine 1")
    facing = "You are facing the coffeemachine 1, and countertop 1. Next to it, you see "
    assert run(episode, "look") == facing + "nothing."
    run(episode, "move mug 1 to countertop 1")
    assert run(episode, "look") == facing + "a mug 1."
    run(episode, "take mug 1 from countertop 1", "move mug 1 to coffeemachine 1")
    assert run(episode, "look") == facing + "a mug 1."


def test_a_lamp_stays_on() -> None:
    episode = Episode(make_kitchen(goal=Goal("look_at_obj_in_light", "Egg", lamp_type="DeskLamp")))
    run(episode, "go to shelf 2", "take egg 1 from shelf 2")
    assert not episode.won
    assert run(episode, "use desklamp 1") == "You turn on the desklamp 1."
    assert episode.won
    assert run(episode, "use desklamp 1") == "You turn on the desklamp 1."
    assert episode.won
    run(episode, "go to shelf 1")
    assert not episode.won


@pytest.mark.parametrize(
    ("task_type", "appliance", "verb"),
    [
        ("pick_clean_then_place_in_recep", "sinkbasin 1", "clean"),
        ("pick_heat_then_place_in_recep", "microwave 1", "heat"),
        ("pick_cool_then_place_in_recep", "fridge 1", "cool"),
    ],
)
def test_goals_that_need_treatment(task_type: str, appliance: str, verb: str) -> None:
    episode = Episode(make_kitchen(goal=Goal(task_type, "Apple", "Shelf")))
    run(episode, "go to countertop 1", "take apple 1 from countertop 1", "go to shelf 1", "move apple 1 to shelf 1")
    assert not episode.won
    run(episode, "take apple 1 from shelf 1", f"go to {appliance}", f"{verb} apple 1 with {appliance}")
    run(episode, "go to shelf 1", "move apple 1 to shelf 1")
    assert episode.won
    run(episode, "take apple 1 from shelf 1")
    assert not episode.won


def test_two_objects_count_in_one_receptacle_only() -> None:
    episode = Episode(make_kitchen(goal=Goal("pick_two_obj_and_place", "Apple", "Shelf")))
    run(episode, "go to countertop 1", "take apple 1 from countertop 1", "go to shelf 1", "move apple 1 to shelf 1")
    run(episode, "go to fridge 1", "open fridge 1", "take apple 2 from fridge 1", "go to shelf 2")
    run(episode, "move apple 2 to shelf 2")
    assert not episode.won
    run(episode, "take apple 2 from shelf 2", "go to shelf 1", "move apple 2 to shelf 1")
    assert episode.won


def test_what_does_not_fit_cannot_be_put_down() -> None:
    episode = Episode(make_kitchen())
    run(episode, "go to countertop 1", "take apple 1 from countertop 1")
    assert "move apple 1 to countertop 1" in episode.admissible_commands
    assert episode.step("move apple 1 to coffeemachine 1") == NOTHING_HAPPENS


@pytest.mark.parametrize(
    "command", ["LOOK", "go to  cabinet 1", "go to cabinet", "look now", "go cabinet 1", "", "take"]
)
def test_matching_is_exact(command: str) -> None:
    assert Episode(make_kitchen()).step(command) == NOTHING_HAPPENS


def test_blanks_around_a_command_do_not_count() -> None:
    assert Episode(make_kitchen()).step("\t go to cabinet 1 \n") == "You arrive at cabinet 1. The cabinet 1 is closed."
