"""Loss: trajectories that the base model finds improbable go to RL.

Score: the cross-entropy over the agent's tokens: its mean, which PRISM's probe differentiates, or its sum, the negative
log-likelihood of all that the agent wrote. It costs a third of the probe: a forward pass and no backward pass.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from prism_bench.data.rendering import render_demonstrations
from prism_bench.data.trajectory import Trajectory
from prism_bench.files import write_atomically
from prism_bench.models.policy import weights_digest
from prism_bench.models.precision import precision_name
from prism_bench.probe.gradients import mean_losses
from prism_bench.routing.router import RoutingContext, SplitRouter
from prism_bench.settings.types import Count

LOSSES = "losses.json"


@dataclass(frozen=True)
class MeanLosses:
    """Measurement of the mean losses, one for all routers that read them."""

    draws: ClassVar[bool] = False
    needs_tasks: ClassVar[bool] = False

    tokens_per_batch: Count = 2048

    def measure(self, trajectories: Sequence[Trajectory], context: RoutingContext) -> None:
        episodes = render_demonstrations(context.renderer, trajectories, context.meter)
        model, renderer = context.policy.model, context.renderer
        losses = mean_losses(
            model,
            episodes,
            tokens_per_batch=self.tokens_per_batch,
            meter=context.meter,
            progress=context.progress,
        )
        content = {
            "identity": {
                "checkpoint": weights_digest(model),
                "prompt": repr(renderer.prompt),
                "max_length": renderer.max_length,
                "dtype": precision_name(model),
            },
            "losses": losses.tolist(),
            "agent_tokens": [episode.agent_tokens for episode in episodes],
        }
        write_atomically(context.folder / LOSSES, json.dumps(content, indent=1) + "\n")


@dataclass(frozen=True)
class LossRouter(MeanLosses, SplitRouter):
    """Router that sends trajectories with a high loss to RL.

    Attributes:
        reduction: of the losses of a trajectory's tokens.
    """

    reduction: Literal["mean", "sum"] = "mean"

    def read_scores(self, measured: Path) -> tuple[np.ndarray, Mapping[str, Any]]:
        losses, agent_tokens, identity = load_losses(measured)
        scores = losses * agent_tokens if self.reduction == "sum" else losses
        return scores, identity | {"reduction": self.reduction}


def load_losses(measured: Path) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Return mean losses, the tokens they are over, and what they depend on, from a folder of :class:`MeanLosses`."""
    content = json.loads((measured / LOSSES).read_text(encoding="utf-8"))
    return np.array(content["losses"]), np.array(content["agent_tokens"]), content["identity"]
