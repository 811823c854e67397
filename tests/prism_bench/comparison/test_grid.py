"""Settings are crossed into runs."""

from pathlib import Path

import pytest
from hydra.errors import HydraException

import prism_bench.commands.run  # noqa: F401  registers what the configuration refers to
from prism_bench.comparison.grid import cells, in_turns
from prism_bench.errors import InputError

CONF = Path(__file__).resolve().parents[3] / "conf"


def names(*arguments: str) -> list[str]:
    return [cell.name for cell in cells(arguments, CONF)]


def test_seeds_come_last_so_that_the_first_runs_compare_everything():
    assert names("router=[prism,random]", "seed=range(2)") == [
        "prism-split-s0",
        "random-split-s0",
        "prism-split-s1",
        "random-split-s1",
    ]


@pytest.mark.parametrize(
    ("side_by_side", "order"),
    [
        (1, "prism0 random0 prism1 random1 prism2 random2"),
        (2, "prism0 prism1 random0 random1 prism2 random2"),
        (None, "prism0 prism1 prism2 random0 random1 random2"),
    ],
)
def test_as_many_seeds_take_turns_as_run_side_by_side(side_by_side, order):
    started = in_turns(cells(["router=[prism,random]", "seed=range(3)"], CONF), side_by_side)
    assert " ".join(cell.name.replace("-split-s", "") for cell in started) == order


def test_a_strategy_without_a_router_has_one_run_a_seed():
    found = cells(["strategy=sft,split", "router=prism,random", "router.ties=paper", "seed=3"], CONF)
    assert [cell.name for cell in found] == ["sft-s3", "prism-split-s3", "random-split-s3"]
    assert found[0].overrides == ("strategy=sft", "seed=3")
    assert found[1].overrides == ("strategy=split", "router=prism", "router.ties=paper", "seed=3")


def test_a_cell_knows_the_settings_that_tell_its_configuration_from_others():
    found = cells(["strategy=sft,split", "router.quantile=0.3,0.5", "router.ties=paper"], CONF)
    assert [cell.settings for cell in found] == [
        {"strategy": "sft"},
        {"strategy": "split", "router": "prism", "router.quantile": 0.3},
        {"strategy": "split", "router": "prism", "router.quantile": 0.5},
    ]
    (found, _) = cells(["strategy=sft", "+model.projections=[[wq],[wk]]"], CONF)
    assert found.settings == {"strategy": "sft", "model.projections": ["wq"]}


def test_settings_that_nothing_reads_make_no_further_runs():
    assert names("strategy=[sft,rl]", "algorithm=[grpo,gigpo]") == [
        "sft-algorithm=grpo-s0",
        "rl-algorithm=grpo-s0",
        "rl-algorithm=gigpo-s0",
    ]


@pytest.mark.parametrize(
    ("written", "values"),
    [
        ("[null]", [None]),
        ("[null,1e12]", [None, 1e12]),
        ("null,1e12", [None, 1e12]),
        ("[1e12,1e12]", [1e12]),
        ("1e12", [1e12]),
    ],
)
def test_the_values_of_a_list_are_those_that_the_setting_has_alone(written, values):
    assert [cell.config["budget"]["flops"] for cell in cells([f"budget.flops={written}"], CONF)] == values


def test_a_list_in_a_list_is_one_value():
    found = cells(["env.test_splits=[[],[valid_unseen]]"], CONF)
    assert [cell.config["env"]["test_splits"] for cell in found] == [[], ["valid_unseen"]]
    assert len({cell.name for cell in found}) == 2


@pytest.mark.parametrize(
    ("argument", "reason"),
    [
        ("seed=[a]", "no whole number"),
        ("router=", "has no value"),
        ("router=[]", "has no value"),
        ("folder=x", "chooses folder"),
        ("hydra.run.dir=x", "chooses hydra"),
    ],
)
def test_what_a_comparison_cannot_use_is_refused(argument, reason):
    with pytest.raises(InputError, match=reason):
        cells([argument], CONF)


def test_a_setting_is_given_once():
    with pytest.raises(InputError, match="twice"):
        cells(["seed=1", "router=prism", "router=random"], CONF)


def test_unknown_choices_are_refused_by_hydra():
    with pytest.raises(HydraException):
        cells(["router=[prism,nothing]"], CONF)
