from dataclasses import replace

import pytest
from routed import routed

from baselines.routers.label import LabelRouter
from prism_bench.errors import InputError


def test_every_regime_but_the_known_ones_goes_to_rl(context, corridor_episodes):
    regimes = ["clean", "rules", "clean", "noise"] * len(corridor_episodes)
    episodes = [replace(e, regime=regime) for e, regime in zip(corridor_episodes, regimes, strict=False)]
    allocation = routed(LabelRouter(), episodes, context())
    assert {episodes[n].regime for n in allocation.indices("sft")} == {"clean"}
    assert {episodes[n].regime for n in allocation.indices("rl")} == {"rules", "noise"}
    both = routed(LabelRouter(known=("clean", "noise"), quantile=0.75), episodes, context())
    assert {episodes[n].regime for n in both.indices("rl")} == {"rules"}


def test_without_regimes_it_is_refused(context, corridor_episodes):
    with pytest.raises(InputError, match="has no regime, so that router=label cannot read it"):
        routed(LabelRouter(), corridor_episodes, context())
