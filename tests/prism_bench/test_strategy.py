"""Phases are read from configuration, and refused before anything is spent."""

import re

import pytest

from prism_bench import experiment
from prism_bench.errors import InputError
from prism_bench.settings.configuration import Place
from prism_bench.strategy import STAGE_NAMES, Phase, make_algorithm, read_strategy

SFT = {"_target_": "prism_bench.algorithms.sft.SFT", "learning_rate": 1e-3}
GRPO = {"_target_": "prism_bench.algorithms.grpo.GRPO", "max_steps": 1, "num_generations": 8}


def test_settings_of_a_phase_replace_those_of_its_algorithm():
    phase = {"name": "warm up", "algorithm": SFT, "settings": {"learning_rate": 1e-4}, "demonstrations": "all"}
    (read,) = read_strategy([phase])
    assert read == Phase("warm up", SFT | {"learning_rate": 1e-4}, "all", None)
    assert make_algorithm(read).needs_demonstrations and SFT["learning_rate"] == 1e-3


@pytest.mark.parametrize(
    ("demonstrations", "tasks", "routed"),
    [("all", None, False), (None, "all", False), ("sft", None, True), (None, "rl", True), ("all", "rl", True)],
)
def test_a_router_is_needed_for_its_parts_only(demonstrations, tasks, routed):
    assert Phase("phase", SFT, demonstrations, tasks).needs_router == routed


@pytest.mark.parametrize(
    ("phase", "reason"),
    [
        (
            {"name": "sft", "algorithm": SFT, "demonstration": "all"},
            "strategy.phases[0] has no setting 'demonstration'; the nearest are demonstrations, ",
        ),
        ({"algorithm": SFT}, "strategy.phases[0].name has no value"),
        ("sft", "strategy.phases[0]=sft is not possible; it should be a group of settings"),
        (
            {"name": "sft", "algorithm": "sft"},
            "strategy.phases[0].algorithm=sft is not possible; it should be a group",
        ),
        (
            {"name": "sft", "algorithm": SFT, "demonstrations": "half"},
            "strategy.phases[0].demonstrations=half is not possible; it",
        ),
        *(({"name": name, "algorithm": SFT}, f"cannot both be called '{name}'") for name in STAGE_NAMES),
    ],
)
def test_what_is_no_phase_is_refused(phase, reason):
    with pytest.raises(InputError, match=re.escape(reason)):
        read_strategy([phase])


def test_the_names_of_all_stages_are_taken():
    assert {name for stage in experiment.STAGES for name in (stage.name, stage.phase)} - {None} == {*STAGE_NAMES}


def test_a_setting_of_a_phase_is_named_where_it_is_written():
    place = Place("strategy.phases", {"strategy.phases[0].algorithm": "sft"})
    phase = {"name": "sft", "algorithm": SFT, "settings": {"max_steps": 0}, "demonstrations": "all"}
    with pytest.raises(InputError, match=r"^strategy\.phases\[0\]\.settings\.max_steps=0 is not possible"):
        make_algorithm(read_strategy([phase], place)[0])
    with pytest.raises(InputError, match=r"^sft\.learning_rate=0 is not possible"):
        make_algorithm(read_strategy([phase | {"algorithm": SFT | {"learning_rate": 0}}], place)[0])


def test_two_phases_of_one_name_are_refused():
    phase = {"name": "sft", "algorithm": SFT, "demonstrations": "all"}
    with pytest.raises(InputError, match="cannot both be called 'sft'"):
        read_strategy([phase, phase])


@pytest.mark.parametrize(
    ("algorithm", "demonstrations", "tasks", "reason"),
    [
        (SFT, None, "all", "SFT needs demonstrations, which it does not get"),
        (SFT, "all", "all", "SFT has no use for tasks"),
        (GRPO, "all", None, "GRPO has no use for demonstrations"),
    ],
)
def test_an_algorithm_gets_what_it_needs_and_no_more(algorithm, demonstrations, tasks, reason):
    with pytest.raises(InputError, match=f"phase 'one' of the strategy: {reason}"):
        make_algorithm(Phase("one", algorithm, demonstrations, tasks))
