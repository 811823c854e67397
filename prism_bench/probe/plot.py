"""Plot of a probe: the gradient norms of groups of trajectories, and the scores that divided them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from prism_bench.files import atomic_path
from prism_bench.probe.norms import Probe, matrix_names, mean_norms

_COLOURS = ("tab:blue", "tab:orange")


def plot_probe(
    probe: Probe, scores: np.ndarray, groups: Mapping[str, Sequence[int]], threshold: float, score: str, path: Path
) -> None:
    """Write a PNG: mean norms by layer and matrix for each of two groups, and the distribution of their scores.

    Args:
        scores: one number per trajectory of ``probe``.
        groups: the positions of the trajectories of both groups, by name.
        threshold: the score that divides them.
        score: the name of the score.
    """
    layers, columns = probe.norms.shape[1:]
    norms_of = {group: mean_norms(probe, members) for group, members in groups.items()}
    figure = Figure(figsize=(13, 3.8 + 0.12 * layers), layout="constrained")
    axes = figure.subplots(1, 3)
    brightest = max(norms.max() for norms in norms_of.values())
    for axis, (group, members) in zip(axes, groups.items(), strict=False):
        image = axis.imshow(norms_of[group], aspect="auto", vmin=0.0, vmax=brightest, origin="lower")
        axis.set_title(f"{group.upper()}, {len(members):,} trajectories")
        axis.set_xticks(range(columns), matrix_names(probe), rotation=45, ha="right")
        axis.set_yticks(range(0, layers, max(1, layers // 8)))
        axis.set_ylabel("layer")
    figure.colorbar(image, ax=axes[:2], label="norm / mean norm")
    edges = np.histogram_bin_edges(scores, bins=40)
    for colour, (group, members) in zip(_COLOURS, groups.items(), strict=True):
        axes[2].hist(scores[list(members)], edges, color=colour, alpha=0.8, label=group.upper())
    axes[2].axvline(threshold, color="black", linestyle="--", label=f"threshold {threshold:.4g}")
    axes[2].set_xlabel(score)
    axes[2].set_ylabel("trajectories")
    axes[2].legend(fontsize="small", loc="upper left")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)
