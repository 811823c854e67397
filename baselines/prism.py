"""PRISM: trajectories whose gradient is concentrated in few matrices go to RL (arXiv 2601.07224).

Score: the concentration of the gradient norms of all projections (see ``prism_bench.probe``), read from the base model
before any training. The paper proposes the Gini coefficient, the coefficient of variation and kurtosis; which of them
is used is an option here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from prism_bench.probe import Concentration, concentration, gradient_norms, probe_identity
from prism_bench.routing import RoutingContext, ScoreRouter
from prism_bench.trajectory import Trajectory


@dataclass(frozen=True)
class PrismRouter(ScoreRouter):
    """High gradient concentration goes to RL."""

    concentration: Concentration = "gini"
    tokens_per_batch: int = 16384

    def score(
        self, trajectories: Sequence[Trajectory], context: RoutingContext
    ) -> tuple[np.ndarray, Mapping[str, Any]]:
        episodes = [context.renderer.render(trajectory) for trajectory in trajectories]
        norms, _ = gradient_norms(
            context.policy.model,
            episodes,
            tokens_per_batch=self.tokens_per_batch,
            meter=context.meter,
            progress=context.progress,
        )
        np.save(context.folder / "gradient_norms.npy", norms.astype(np.float32))
        identity = probe_identity(context.policy.model, context.renderer.prompt, context.renderer.max_length)
        return concentration(norms, self.concentration), asdict(identity) | {"concentration": self.concentration}
