"""Loss: trajectories that the base model finds improbable go to RL.

Score: the mean cross-entropy over the agent's tokens, the loss that PRISM's probe differentiates. It costs a third of
the probe: a forward pass and no backward pass.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
    """Router that sends trajectories with a high mean loss to RL."""

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
        model, renderer = context.policy.model, context.renderer
        return losses, {
            "checkpoint": weights_digest(model),
            "prompt": repr(renderer.prompt),
            "max_length": renderer.max_length,
            "dtype": precision_name(model),
        }
