"""Loss: trajectories that the base model finds improbable go to RL.

Score: the cross-entropy over the agent's tokens: its mean, which PRISM's probe differentiates, or its sum, the negative
log-likelihood of all that the agent wrote. It costs a third of the probe: a forward pass and no backward pass.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from prism_bench.data.rendering import render_demonstrations
from prism_bench.data.trajectory import Trajectory
from prism_bench.models.policy import weights_digest
from prism_bench.models.precision import precision_name
from prism_bench.probe.gradients import mean_losses
from prism_bench.routing.router import RoutingContext, ScoreRouter
from prism_bench.settings.types import Count


@dataclass(frozen=True)
class LossRouter(ScoreRouter):
    """Router that sends trajectories with a high loss to RL.

    Attributes:
        reduction: of the losses of a trajectory's tokens.
    """

    reduction: Literal["mean", "sum"] = "mean"
    tokens_per_batch: Count = 16384

    def score(
        self, trajectories: Sequence[Trajectory], context: RoutingContext
    ) -> tuple[np.ndarray, Mapping[str, Any]]:
        episodes = render_demonstrations(context.renderer, trajectories, context.meter)
        losses = mean_losses(
            context.policy.model,
            episodes,
            tokens_per_batch=self.tokens_per_batch,
            meter=context.meter,
            progress=context.progress,
        )
        if self.reduction == "sum":
            losses = losses * [episode.agent_tokens for episode in episodes]
        model, renderer = context.policy.model, context.renderer
        return losses, {
            "reduction": self.reduction,
            "checkpoint": weights_digest(model),
            "prompt": repr(renderer.prompt),
            "max_length": renderer.max_length,
            "dtype": precision_name(model),
        }
