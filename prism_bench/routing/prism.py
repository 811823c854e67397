"""PRISM: trajectories whose gradient is concentrated in few matrices go to RL (arXiv 2601.07224).

Score: the concentration of the gradient norms of all projections. The paper proposes the Gini coefficient, the
coefficient of variation and kurtosis; which of them is used is an option here.
"""

from dataclasses import dataclass

import numpy as np

from prism_bench.probe.concentration import Concentration, concentration
from prism_bench.routing.gradients import GradientRouter


@dataclass(frozen=True)
class PrismRouter(GradientRouter):
    """Router that sends trajectories with a concentrated gradient to RL."""

    concentration: Concentration = "gini"

    @property
    def score_name(self) -> str:
        return self.concentration

    def score(self, norms: np.ndarray) -> np.ndarray:
        return concentration(norms, self.concentration)
