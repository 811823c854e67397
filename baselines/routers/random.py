"""Random routing at the same ratio: the control that any other router has to beat.

The PRISM paper reports 3.22x less compute than RL on everything for its score and 3.07x for this one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from prism_bench.data.trajectory import Trajectory
from prism_bench.routing.router import RoutingContext, ScoreRouter


@dataclass(frozen=True)
class RandomRouter(ScoreRouter):
    """Router that gives every trajectory a seeded random score."""

    def score(
        self, trajectories: Sequence[Trajectory], context: RoutingContext
    ) -> tuple[np.ndarray, Mapping[str, Any]]:
        return np.random.default_rng([context.seed, 1]).random(len(trajectories)), {"seed": context.seed}
