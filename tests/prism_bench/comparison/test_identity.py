"""Settings that do not tell configurations apart are those that change no file of any stage."""

import pkgutil
from importlib import import_module

import pytest

import prism_bench.stages
from prism_bench import experiment
from prism_bench.comparison.identity import OF_A_RUN, SOURCES, identity, name_of
from prism_bench.stage_cache.declaration import StageFunction

STAGES = {
    value
    for module in pkgutil.iter_modules(prism_bench.stages.__path__)
    for value in vars(import_module(f"prism_bench.stages.{module.name}")).values()
    if isinstance(value, StageFunction)
}
READ = {setting.partition(".")[0] for function in STAGES for setting in function.settings}


def test_no_stage_reads_a_setting_that_is_left_out():
    assert set(STAGES) == set(experiment.STAGES) and len(STAGES) >= 6
    assert READ & {*OF_A_RUN, *SOURCES} == {"seed"}


@pytest.mark.parametrize("setting", sorted(READ - {"seed", "router"}))
def test_every_setting_that_a_stage_reads_tells_configurations_apart(setting):
    config = {"seed": 0, "router": {"quantile": 0.5}, setting: {"value": 1}}
    assert identity(config, True) == identity(config | {"seed": 1, "sft": 2}, True)
    assert identity(config, True) != identity(config | {setting: {"value": 2}}, True)


def test_a_router_counts_where_there_is_one():
    config, other = {"router": {"quantile": 0.5}}, {"router": {"quantile": 0.3}}
    assert identity(config, True) != identity(other, True)
    assert identity(config, False) == identity(other, False)


def test_a_name_has_router_strategy_and_what_varies():
    settings = {"strategy": "split", "env": "shop", "rl.max_steps": 40, "router": "loss"}
    assert name_of(settings, ()) == "loss-split"
    assert name_of(settings, ("rl.max_steps", "env", "strategy")) == "loss-split-env=shop-rl.max_steps=40"
    settings = {"strategy": "sft", "env.regimes": ["clean", "noise"]}
    assert name_of(settings, ("env.regimes",)) == "sft-env.regimes=[clean,noise]"  # as it is typed
