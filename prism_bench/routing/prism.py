"""PRISM: trajectories whose gradient is concentrated in few matrices go to RL (arXiv 2601.07224).

Score: the concentration of the gradient norms of all projections (see ``prism_bench.probe``), read from the base model
before any training. The paper proposes the Gini coefficient, the coefficient of variation and kurtosis; which of them
is used is an option here. The norms and a plot of them stay beside the allocation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from prism_bench.data.trajectory import Trajectory
from prism_bench.probe.concentration import Concentration, concentration
from prism_bench.probe.plot import plot_probe
from prism_bench.probe.record import load_probe, probe_trajectories
from prism_bench.routing.router import Allocation, RoutingContext, ScoreRouter
from prism_bench.settings.types import Count


@dataclass(frozen=True)
class PrismRouter(ScoreRouter):
    """Router that sends trajectories with a concentrated gradient to RL.

    Attributes:
        checkpointing: recompute activations in the backward pass, for contexts that do not fit into memory.
    """

    concentration: Concentration = "gini"
    tokens_per_batch: Count = 16384
    checkpointing: bool = False

    def score(
        self, trajectories: Sequence[Trajectory], context: RoutingContext
    ) -> tuple[np.ndarray, Mapping[str, Any]]:
        probe = probe_trajectories(
            context.policy,
            context.renderer,
            trajectories,
            context.folder / "norms.parquet",
            tokens_per_batch=self.tokens_per_batch,
            meter=context.meter,
            checkpointing=self.checkpointing,
            progress=context.progress,
        )
        return concentration(probe.norms, self.concentration), asdict(probe.identity) | {
            "concentration": self.concentration
        }

    def route(self, trajectories: Sequence[Trajectory], context: RoutingContext) -> Allocation:
        allocation = super().route(trajectories, context)
        probe = load_probe(context.folder / "norms.parquet")
        plot_probe(
            probe,
            np.array(allocation.scores),
            {stage: allocation.indices(stage) for stage in ("sft", "rl")},
            allocation.threshold,
            self.concentration,
            context.folder / "gradients.png",
        )
        return allocation
