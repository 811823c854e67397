"""PRISM: trajectories whose gradient is concentrated in few matrices go to RL (arXiv 2601.07224).

Score: the concentration of the gradient norms of all projections (see ``prism_bench.probe``), read from the base model
before any training. The paper proposes the Gini coefficient, the coefficient of variation and kurtosis; which of them
is used is an option here. The norms and a plot of them stay beside the allocation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np

from prism_bench.data.trajectory import Trajectory
from prism_bench.marks import AfterMeasuring
from prism_bench.probe.concentration import Concentration, concentration
from prism_bench.probe.plot import plot_probe
from prism_bench.probe.record import Probe, load_probe, probe_trajectories
from prism_bench.routing.router import Allocation, RoutingContext, SplitRouter
from prism_bench.settings.types import Count

NORMS = "norms.parquet"


@dataclass(frozen=True)
class PrismRouter(SplitRouter):
    """Router that sends trajectories with a concentrated gradient to RL.

    Attributes:
        checkpointing: recompute activations in the backward pass, for contexts that do not fit into memory.
    """

    needs_projections: ClassVar[bool] = True

    concentration: Annotated[Concentration, AfterMeasuring()] = "gini"
    tokens_per_batch: Count = 16384
    checkpointing: bool = False

    def measure(self, trajectories: Sequence[Trajectory], context: RoutingContext) -> None:
        probe_trajectories(
            context.policy,
            context.renderer,
            trajectories,
            context.folder / NORMS,
            tokens_per_batch=self.tokens_per_batch,
            meter=context.meter,
            checkpointing=self.checkpointing,
            progress=context.progress,
        )

    def read_scores(self, measured: Path) -> tuple[np.ndarray, Mapping[str, Any]]:
        return self._scores(load_probe(measured / NORMS))

    def route(self, trajectories: Sequence[Trajectory], measured: Path, folder: Path, seed: int) -> Allocation:
        probe = load_probe(measured / NORMS)
        allocation = self.divide(*self._scores(probe), seed)
        plot_probe(
            probe,
            np.array(allocation.scores),
            {stage: allocation.indices(stage) for stage in ("sft", "rl")},
            allocation.threshold,
            self.concentration,
            folder / "gradients.png",
        )
        return allocation

    def _scores(self, probe: Probe) -> tuple[np.ndarray, Mapping[str, Any]]:
        identity = asdict(probe.identity) | {"concentration": self.concentration}
        return concentration(probe.norms, self.concentration), identity
