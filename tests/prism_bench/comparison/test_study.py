"""The settings of a comparison: a baseline is told by values of the types that runs have."""

import pytest

from prism_bench.commands.hydra_command import CONF
from prism_bench.comparison.study import read_study
from prism_bench.errors import InputError


def test_a_baseline_has_the_types_of_the_settings_of_runs():
    found = read_study(CONF, baseline=["router=random", "router.reverse=true", "rl.max_steps=40"]).wanted.baseline
    assert found == {"router": "random", "router.reverse": True, "rl.max_steps": 40}


def test_a_baseline_without_a_value_is_refused():
    with pytest.raises(InputError, match="write KEY=VALUE"):
        read_study(CONF, baseline=["router"])
