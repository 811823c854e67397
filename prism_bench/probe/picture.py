"""A picture of a probe: where the gradients of both halves land, and the scores that divided them."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from prism_bench.files import atomic_path
from prism_bench.probe.record import Probe
from prism_bench.routing import Allocation, Stage

_STAGES: tuple[tuple[Stage, str], ...] = (("sft", "tab:blue"), ("rl", "tab:orange"))


def draw(probe: Probe, allocation: Allocation, score: str, path: Path) -> None:
    """Write a PNG: mean norms by layer and matrix of the SFT half and of the RL half, and the distribution of scores.

    The norms of each trajectory are divided by their mean, as every concentration does, so that long and short or easy
    and hard trajectories count alike.

    Args:
        score: what the scores are called.
    """
    layers, columns = probe.norms.shape[1:]
    names = [name.rpartition(".")[2].rpartition("[")[2].rstrip("]") for name in probe.identity.matrices[:columns]]
    means = probe.norms.mean(axis=(1, 2), keepdims=True)
    relative = probe.norms / np.where(means > 0, means, 1.0)
    halves = {stage: relative[allocation.indices(stage)].mean(axis=0) for stage, _ in _STAGES}
    figure = Figure(figsize=(13, 3.8 + 0.12 * layers), layout="constrained")
    axes = figure.subplots(1, 3)
    brightest = max(half.max() for half in halves.values())
    for axis, (stage, _) in zip(axes, _STAGES, strict=False):
        image = axis.imshow(halves[stage], aspect="auto", vmin=0.0, vmax=brightest, origin="lower")
        axis.set_title(f"{stage.upper()}, {len(allocation.indices(stage)):,} trajectories")
        axis.set_xticks(range(columns), names, rotation=45, ha="right")
        axis.set_yticks(range(0, layers, max(1, layers // 8)))
        axis.set_ylabel("layer")
    figure.colorbar(image, ax=axes[:2], label="norm / mean norm")
    scores = np.array(allocation.scores)
    edges = np.histogram_bin_edges(scores, bins=40)
    for stage, color in _STAGES:
        axes[2].hist(scores[allocation.indices(stage)], edges, color=color, alpha=0.8, label=stage.upper())
    axes[2].axvline(allocation.threshold, color="black", linestyle="--", label=f"threshold {allocation.threshold:.4g}")
    axes[2].set_xlabel(score)
    axes[2].set_ylabel("trajectories")
    axes[2].legend(fontsize="small", loc="upper left")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)
