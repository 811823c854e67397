"""Difficulty: tasks that the base policy cannot solve yet go to RL.

Score: 1 - success rate of the base policy in k rollouts of the trajectory's task, at the temperature of RL. All
trajectories of a task share its rollouts. The score has only k + 1 values, so many trajectories tie. The rollouts are
charged to the routing phase.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from prism_bench.data.trajectory import Trajectory, tasks_of
from prism_bench.routing.router import RoutingContext, ScoreRouter
from prism_bench.settings.types import Count


@dataclass(frozen=True)
class DifficultyRouter(ScoreRouter):
    """Router that sends trajectories with a low pass rate to RL."""

    needs_tasks: ClassVar[bool] = True

    episodes: Count = 4

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
