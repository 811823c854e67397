import numpy as np
from routed import routed

from baselines.routers.random import RandomRouter


def test_the_seed_alone_decides(context, corridor_episodes):
    allocations = [routed(RandomRouter(), corridor_episodes, context(seed=seed)) for seed in (0, 0, 1)]
    assert allocations[0] == allocations[1]
    assert allocations[0].stages != allocations[2].stages
    assert len(allocations[0].indices("sft")) == len(corridor_episodes) // 2
    assert allocations[0].identity == {"seed": 0}


def test_it_costs_nothing_and_favours_no_position(context, corridor_episodes):
    made = context()
    routed(RandomRouter(), corridor_episodes, made)
    assert made.meter.spent.flops == made.meter.spent.env_steps == 0
    chosen = np.zeros(len(corridor_episodes))
    for seed in range(200):
        scores, _ = RandomRouter().score(corridor_episodes, made.__class__(**vars(made) | {"seed": seed}))
        chosen[np.argsort(scores)[: len(scores) // 2]] += 1
    assert np.abs(chosen - 100).max() < 36  # five standard deviations of a fair coin
