"""Data of the plots that are not in the tables: learning curves with bands, histograms of scores, gradient norms."""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from prism_bench.comparison.record import Comparison, Routing
from prism_bench.comparison.routers import routed

BINS = 24


@dataclass(frozen=True, slots=True)
class CurveMean:
    """One point of the learning curves of a configuration: means over its seeds, the lowest and the highest one."""

    configuration: str
    phase: str
    flops: float
    mean: float
    low: float
    high: float
    seeds: int


@dataclass(frozen=True, slots=True)
class Histogram:
    """Scores of the trajectories of one run, by the part that they went to; ``edges`` is one longer than both."""

    seed: int
    edges: list[float]
    sft: list[int]
    rl: list[int]
    threshold: float


@dataclass(frozen=True, slots=True)
class RouterPlots:
    """Plots of one router; ``norms`` by part, layer and matrix are means over seeds, None without gradients."""

    configuration: str
    histograms: list[Histogram]
    matrices: list[str]
    norms: dict[str, list[list[float]]] | None


def learning_curves(comparison: Comparison) -> list[CurveMean]:
    """Return the curves of every configuration; points are averaged that have one phase and one place in it."""
    return [
        CurveMean(configuration.name, phase, flops, mean, low, high, seeds)
        for configuration in comparison.configurations
        for phase, flops, mean, low, high, seeds in _means(comparison, configuration.name)
    ]


def _means(comparison: Comparison, name: str) -> Iterator[tuple[str, float, float, float, float, int]]:
    places: dict[tuple[str, int], list[tuple[int, float]]] = {}
    for run in comparison.of(name).values():
        seen: dict[str, int] = {}
        for point in run.curves:
            seen[point.phase] = seen.get(point.phase, 0) + 1
            places.setdefault((point.phase, seen[point.phase]), []).append((point.flops, point.success))
    for (phase, _), found in places.items():
        values = [success for _, success in found]
        yield phase, fmean(flops for flops, _ in found), fmean(values), min(values), max(values), len(values)


def router_plots(comparison: Comparison) -> list[RouterPlots]:
    """Return the plots of every router."""
    plots = []
    for name in routed(comparison):
        found = {seed: run.routing for seed, run in comparison.of(name).items() if run.routing is not None}
        probed = [routing for routing in found.values() if routing.norms is not None]
        plots.append(
            RouterPlots(
                name,
                [_histogram(seed, routing) for seed, routing in found.items()],
                probed[0].matrices if probed else [],
                _mean_norms(probed) if probed else None,
            )
        )
    return plots


def _histogram(seed: int, routing: Routing) -> Histogram:
    scores, to_rl = np.array(routing.scores), np.array([flag == "1" for flag in routing.to_rl])
    edges = np.histogram_bin_edges(scores, bins=BINS)
    sft, rl = (np.histogram(scores[part], edges)[0].tolist() for part in (~to_rl, to_rl))
    return Histogram(seed, [float(f"{edge:.6g}") for edge in edges], sft, rl, routing.threshold)


def _mean_norms(probed: list[Routing]) -> dict[str, list[list[float]]]:
    norms = [routing.norms for routing in probed if routing.norms is not None]
    same = [each for each in norms if np.shape(each["rl"]) == np.shape(norms[0]["rl"])]
    means = {part: np.mean([each[part] for each in same], axis=0) for part in norms[0]}
    return {part: [[round(float(value), 3) for value in row] for row in mean] for part, mean in means.items()}
