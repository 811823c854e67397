"""Routers that score a trajectory by the gradient norms of the model's projections (see ``prism_bench.probe``).

The norms are read from the base model before any training. They and a plot of them stay beside the allocation.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from prism_bench.data.trajectory import Trajectory
from prism_bench.probe.norms import NORMS, Probe, load_probe
from prism_bench.probe.plot import plot_probe
from prism_bench.probe.record import probe_trajectories
from prism_bench.routing.allocation import Allocation
from prism_bench.routing.router import RoutingContext, SplitRouter
from prism_bench.settings.types import Count


@dataclass(frozen=True)
class GradientNorms:
    """Measurement of the norms, one for all routers that read them.

    Attributes:
        tokens_per_batch: how many tokens, padding included, go through the model at once; larger batches take more
            memory and, on a CPU, are not faster (``benchmarks/probe.py``).
        checkpointing: recompute activations in the backward pass, for contexts that do not fit into memory.
    """

    draws: ClassVar[bool] = False
    needs_tasks: ClassVar[bool] = False

    tokens_per_batch: Count = 2048
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


@dataclass(frozen=True)
class GradientRouter(GradientNorms, SplitRouter):
    """A router that reads its scores from the probe. A new one defines :attr:`score_name` and :meth:`score`."""

    needs_projections: ClassVar[bool] = True

    @property
    @abstractmethod
    def score_name(self) -> str:
        """The name of the score, for the plot and the record."""

    @abstractmethod
    def score(self, norms: np.ndarray) -> np.ndarray:
        """Return one score per trajectory from ``norms`` (trajectories, layers, matrices)."""

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
            self.score_name,
            folder / "gradients.png",
        )
        return allocation

    def _scores(self, probe: Probe) -> tuple[np.ndarray, Mapping[str, Any]]:
        return self.score(probe.norms), asdict(probe.identity) | {"score": self.score_name}
