"""Difficulty: what the base policy cannot do yet goes to RL.

Score: 1 - success rate of k episodes of the trajectory's task, rolled out by the base policy, sampled at the
temperature of RL; a task with several trajectories is rolled out once. With k episodes it has only k + 1 values, so
many trajectories tie; the episodes are charged to the routing phase.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from prism_bench.data.trajectory import Trajectory, tasks_of
from prism_bench.routing.router import RoutingContext, ScoreRouter


@dataclass(frozen=True)
class DifficultyRouter(ScoreRouter):
    """A low pass rate goes to RL."""

    episodes: int = 4

    def score(
        self, trajectories: Sequence[Trajectory], context: RoutingContext
    ) -> tuple[np.ndarray, Mapping[str, Any]]:
        tasks = tasks_of(trajectories)
        distinct = list(dict.fromkeys(tasks))
        rolled_out = context.rollouts(distinct, self.episodes)
        rates = {
            task: float(np.mean([episode.success for episode in episodes]))
            for task, episodes in zip(distinct, rolled_out, strict=True)
        }
        scores = np.array([1.0 - rates[task] for task in tasks])
        return scores, {"episodes_per_task": self.episodes, "solved": "success as the environment says"}
