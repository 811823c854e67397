"""Magnitude: trajectories with a large gradient go to RL, wherever it lands.

Score: the Frobenius norm of the gradient of all projections together. It is a control of the PRISM paper (arXiv
2601.07224) for the question whether the *place* of a gradient says more than its size. It costs as much as PRISM.
"""

from dataclasses import dataclass

import numpy as np

from prism_bench.probe.concentration import magnitude
from prism_bench.routing.gradients import GradientRouter


@dataclass(frozen=True)
class MagnitudeRouter(GradientRouter):
    """Router that sends trajectories with a large gradient to RL."""

    @property
    def score_name(self) -> str:
        return "magnitude"

    def score(self, norms: np.ndarray) -> np.ndarray:
        return magnitude(norms)
