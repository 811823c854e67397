"""Confidence: demonstrations in which the model is about as confident as it is on average go to RL.

Score: 1 - (c - m)^2, c being the geometric mean of the probabilities of the agent's tokens, exp(-mean loss), and m its
mean over all demonstrations. It is the cheapest rule among the competitors: one forward pass, and no order but the
distance from the middle.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from baselines.routers.loss import MeanLosses, load_losses
from prism_bench.routing.router import SplitRouter


@dataclass(frozen=True)
class ConfidenceRouter(MeanLosses, SplitRouter):
    """Router that sends demonstrations of middling confidence to RL."""

    def read_scores(self, measured: Path) -> tuple[np.ndarray, Mapping[str, Any]]:
        losses, _, identity = load_losses(measured)
        confidence = np.exp(-losses)
        return 1.0 - np.square(confidence - confidence.mean()), identity
