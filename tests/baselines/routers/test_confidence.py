import numpy as np
from routed import routed

from baselines.routers.confidence import ConfidenceRouter
from baselines.routers.loss import LossRouter


def test_what_lies_near_the_mean_confidence_goes_to_rl(context, corridor_episodes):
    losses = np.array(routed(LossRouter(), corridor_episodes, context()).scores)
    allocation = routed(ConfidenceRouter(), corridor_episodes, context())
    distance = np.abs(np.exp(-losses) - np.exp(-losses).mean())
    np.testing.assert_allclose(allocation.scores, 1 - distance**2, rtol=1e-6)
    assert max(distance[allocation.indices("rl")]) <= min(distance[allocation.indices("sft")])
