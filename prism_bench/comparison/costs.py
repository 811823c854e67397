"""Costs of configurations, what they save, and which of them no other one beats."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

import numpy as np

from prism_bench.accounting.meter import QUANTITIES
from prism_bench.comparison.record import Comparison, Configuration, Run
from prism_bench.comparison.rows import ALL, FINAL, METHOD, Cost, Rate, Ratio, Saving
from prism_bench.results.statistics import half_over_seeds


def flops_to(run: Run, target: float) -> int | None:
    """Return the FLOPs of the first point of the learning curves with at least the target success; None if none has.

    There is no interpolation, so it is an upper bound, as fine as the curve.
    """
    return next((point.flops for point in run.curves if point.success >= target), None)


def saving_of(comparison: Comparison, configuration: Configuration) -> Saving:
    """Return what a configuration needs to reach the target success, and how many times as much others need."""

    def needed(name: str | None) -> dict[int, int | None]:
        runs = {} if name is None else comparison.of(name)
        return {seed: flops_to(run, comparison.reach) for seed, run in runs.items()}

    own = needed(configuration.name)
    reached = [flops for flops in own.values() if flops is not None]

    def times(other: Mapping[int, int | None]) -> Ratio | None:
        pairs = [(mine, theirs) for seed, mine in own.items() if mine and (theirs := other.get(seed))]
        return _ratio(pairs) if pairs else None

    return Saving(
        configuration.name,
        own,
        fmean(reached) if reached else None,
        times(needed(configuration.reference)),
        times(needed(configuration.baseline)),
    )


def _ratio(pairs: Sequence[tuple[int, int]]) -> Ratio:
    logs = np.log([second / first for first, second in pairs])
    n, mean = len(logs), logs.mean()
    if n == 1:
        return Ratio(float(np.exp(mean)), None, None, 1)
    half = half_over_seeds(logs)
    return Ratio(float(np.exp(mean)), float(np.exp(mean - half)), float(np.exp(mean + half)), n)


def costs_of(comparison: Comparison, configuration: Configuration) -> Iterator[Cost]:
    """Yield the cost of every phase of a configuration, and of the method."""
    runs = list(comparison.of(configuration.name).values())
    if not runs:
        return
    of_method = {"route", *(phase.name for run in runs for phase in run.phases)}
    phases = dict.fromkeys(row.phase for run in runs for row in run.ledger)
    for phase, members in [*((phase, {phase}) for phase in phases), (METHOD, of_method)]:
        rows = [[row for row in run.ledger if row.phase in members] for run in runs]
        totals = {name: fmean(sum(getattr(row, name) for row in each) for each in rows) for name in QUANTITIES}
        peaks = [row.peak_memory_bytes for each in rows for row in each]
        yield Cost(configuration.name, phase, totals | {"peak_memory_bytes": float(max(peaks, default=0))})


def fronts(rates: Sequence[Rate], costs: Sequence[Cost]) -> dict[str, list[str]]:
    """Return, by split, the configurations that no other one beats in final success at fewer FLOPs."""
    flops = {cost.configuration: cost.quantities["flops"] for cost in costs if cost.phase == METHOD}
    fronts: dict[str, list[str]] = {}
    finals = [rate for rate in rates if (rate.stage, rate.quantity, rate.task_type) == (FINAL, "success", ALL)]
    for rate in finals:
        own = flops[rate.configuration]
        others = [other for other in finals if other.split == rate.split and other is not rate]
        beaten = any(
            (other.mean >= rate.mean and flops[other.configuration] < own)
            or (other.mean > rate.mean and flops[other.configuration] <= own)
            for other in others
        )
        fronts.setdefault(rate.split, []).extend([] if beaten else [rate.configuration])
    return fronts
