"""Label: the oracle, for data whose conflicts with the base model are known.

It reads the regime that an environment states for a task, and that nobody has outside of a testbed: what a perfect
detector would send to RL. Whether that helps is another question.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from prism_bench.data.trajectory import Trajectory
from prism_bench.errors import InputError
from prism_bench.routing.router import RoutingContext, ScoreRouter


@dataclass(frozen=True)
class LabelRouter(ScoreRouter):
    """Router that sends the trajectories of every regime that is not ``known`` to RL.

    Raises:
        InputError: a trajectory has no regime.
    """

    draws: ClassVar[bool] = False

    known: Sequence[str] = ("clean",)

    def score(
        self, trajectories: Sequence[Trajectory], context: RoutingContext
    ) -> tuple[np.ndarray, Mapping[str, Any]]:
        for number, trajectory in enumerate(trajectories):
            if trajectory.regime is None:
                raise InputError(
                    f"trajectory {number} ({trajectory.source}) has no regime, so that router=label cannot read it; "
                    "choose an environment that states regimes, or another router"
                )
        return np.array([float(t.regime not in self.known) for t in trajectories]), {"known": list(self.known)}
