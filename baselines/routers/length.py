"""Length: what takes the expert many tokens goes to RL.

Score: the agent's tokens in the demonstration. It needs no model beyond its tokenizer, and other scores hide it: a sum
of losses grows with it, and a mean gradient shrinks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from prism_bench.data.rendering import render_demonstrations
from prism_bench.data.trajectory import Trajectory
from prism_bench.routing.router import RoutingContext, ScoreRouter


@dataclass(frozen=True)
class LengthRouter(ScoreRouter):
    """Router that sends long demonstrations to RL."""

    draws: ClassVar[bool] = False

    def score(
        self, trajectories: Sequence[Trajectory], context: RoutingContext
    ) -> tuple[np.ndarray, Mapping[str, Any]]:
        episodes = render_demonstrations(context.renderer, trajectories, context.meter)
        return np.array([episode.agent_tokens for episode in episodes]), {"prompt": repr(context.renderer.prompt)}
