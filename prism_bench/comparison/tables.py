"""Tables of a comparison: every number that its page and its Markdown show, from nothing but the runs.

The seed is the unit. Where a configuration has several, intervals are over seeds and tasks
(:func:`~prism_bench.results.statistics.mean_over_seeds`); with one seed they are over tasks only, and no difference is
called better or worse. Differences are paired by seed and task, and their p-values are Holm's over all comparisons of
one table. A *final* policy is that after the last phase.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from math import sqrt
from statistics import fmean
from typing import Any, Literal

import numpy as np
from scipy.special import stdtrit
from scipy.stats import spearmanr

from prism_bench.accounting.ledger import QUANTITIES
from prism_bench.comparison.record import Comparison, Configuration, Run, StageOutcomes
from prism_bench.results.outcomes import ResultError
from prism_bench.results.result import same_numbers
from prism_bench.results.schema import BASE
from prism_bench.results.significance import holm, p_value, probability_of_improvement, smallest_difference
from prism_bench.results.statistics import (
    CONFIDENCE,
    mean_estimate,
    mean_over_seeds,
    paired_difference,
    paired_over_seeds,
)

Quantity = Literal["success", "score"]
Verdict = Literal["better", "worse", "not told apart", "one seed"]

ALL = "all"
"""In place of a task type: the mean over all of them."""

FINAL = "final"


@dataclass(frozen=True, slots=True)
class Rate:
    """Success or score of a configuration, before or after training (``stage`` is ``base`` or ``final``)."""

    configuration: str
    stage: str
    split: str
    quantity: Quantity
    task_type: str
    values: dict[int, float]  # by seed
    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """The final policy of a configuration against that of its baseline.

    Attributes:
        values: by seed, for the seeds that both have.
        p: corrected by Holm's method over all rows of the table; None with one seed.
        smallest: the difference that these seeds and tasks would show with a power of 80 %; None with one seed.
        improvement: the probability that a run of the configuration beats one of the baseline.
    """

    configuration: str
    baseline: str
    split: str
    quantity: Quantity
    task_type: str
    values: dict[int, float]
    mean: float
    low: float
    high: float
    p: float | None
    smallest: float | None
    improvement: float
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Ratio:
    """A geometric mean over ``n`` seeds, and Student's interval over the logarithms; no ends with one seed."""

    mean: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, slots=True)
class Saving:
    """FLOPs to the target success, the router's included, from the learning curves.

    Attributes:
        flops: by seed; None for a run that did not reach it.
        times_reference, times_baseline: how many times as much the reference and the baseline needed, over the seeds in
            which both reached it; None if there are none.
    """

    configuration: str
    flops: dict[int, int | None]
    mean: float | None
    times_reference: Ratio | None
    times_baseline: Ratio | None


@dataclass(frozen=True, slots=True)
class Cost:
    """Means over the runs of a configuration of everything that a phase cost; ``phase`` ``method`` is routing and
    training together, without what all configurations share (collection, base stage) and without evaluation."""

    configuration: str
    phase: str
    quantities: dict[str, float]


@dataclass(frozen=True, slots=True)
class Kind:
    """The share of the trajectories of a task type that a router sends to RL, over all seeds."""

    configuration: str
    task_type: str
    trajectories: int
    to_rl: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two routers on the same trajectories: shares of equal decisions and rank correlation of scores, over seeds."""

    first: str
    second: str
    seeds: int
    same: float
    correlation: float | None


@dataclass(frozen=True, slots=True)
class Tables:
    """Everything that follows from the runs."""

    rates: list[Rate]
    differences: list[Difference]
    savings: list[Saving]
    costs: list[Cost]
    front: dict[str, list[str]]  # by split: configurations that no other one beats in final success at fewer FLOPs
    kinds: list[Kind]
    agreements: list[Agreement]
    protocols: list[str]  # settings of the protocol in which runs differ: they are not comparable as they are


METHOD = "method"


def tables_of(comparison: Comparison) -> Tables:
    """Return the tables of a comparison."""
    rates = [rate for configuration in comparison.configurations for rate in _rates(comparison, configuration)]
    costs = [cost for configuration in comparison.configurations for cost in _costs(comparison, configuration)]
    return Tables(
        rates=rates,
        differences=_differences(comparison),
        savings=[_saving(comparison, configuration) for configuration in comparison.configurations],
        costs=costs,
        front=_fronts(rates, costs),
        kinds=list(_kinds(comparison)),
        agreements=list(_agreements(comparison)),
        protocols=_differing(comparison),
    )


def check_tables(comparison: Comparison, written: Mapping[str, Any]) -> None:
    """Check that tables, as they stand in a file, follow from the runs.

    Raises:
        ResultError: they do not.
    """
    expected = json.loads(json.dumps(asdict(tables_of(comparison))))
    for name, table in expected.items():
        if name not in written or not same_numbers(table, written[name]):
            raise ResultError(f"the table {name!r} does not follow from the runs; the file was changed")


def values_by_task(
    comparison: Comparison, outcomes: StageOutcomes, quantity: Quantity, task_type: str = ALL
) -> dict[str | None, float]:
    """Return success or score of a stage by task, of all tasks or of those of one type."""
    tasks = comparison.lists[outcomes.tasks]
    values = [float(flag) for flag in outcomes.success]
    if quantity == "score" and outcomes.score is not None:
        values = outcomes.score
    rows = zip(tasks.ids, tasks.types, values, strict=True)
    return {task: value for task, kind, value in rows if task_type in (ALL, kind)}


def _stage(run: Run, stage: str) -> Mapping[str, StageOutcomes]:
    """Return the outcomes of a stage by split; of ``final``, those of the last stage."""
    return run.outcomes.get(next(reversed(run.outcomes)) if stage == FINAL else stage, {})


def _measured(comparison: Comparison) -> Iterator[tuple[str, Quantity, str]]:
    """Yield every split, quantity and task type; scores only where some run has partial ones."""
    ended = [(split, end) for run in comparison.runs for split, end in _stage(run, FINAL).items()]
    for split in dict.fromkeys(split for split, _ in ended):
        here = [end for other, end in ended if other == split]
        types = sorted({str(kind) for end in here for kind in comparison.lists[end.tasks].types})
        partial: tuple[Quantity, ...] = ("success", "score") if any(end.score for end in here) else ("success",)
        for quantity in partial:
            for task_type in (ALL, *(types if len(types) > 1 else ())):
                yield split, quantity, task_type


def _values(
    comparison: Comparison, runs: Mapping[int, Run], stage: str, split: str, quantity: Quantity, task_type: str
) -> dict[int, list[float]]:
    """Return values by seed on the tasks that all of these runs have, in one order."""
    found = {
        seed: values_by_task(comparison, _stage(run, stage)[split], quantity, task_type)
        for seed, run in runs.items()
        if split in _stage(run, stage)
    }
    shared = [task for task in next(iter(found.values()), {}) if all(task in values for values in found.values())]
    return {seed: [values[task] for task in shared] for seed, values in found.items() if shared}


def _rates(comparison: Comparison, configuration: Configuration) -> Iterator[Rate]:
    runs = comparison.of(configuration.name)
    for stage in (BASE, FINAL):
        for split, quantity, task_type in _measured(comparison):
            found = _values(comparison, runs, stage, split, quantity, task_type)
            if not found:
                continue
            rows = list(found.values())
            estimate = mean_over_seeds(rows) if len(rows) > 1 else mean_estimate(rows[0])
            means = {seed: fmean(values) for seed, values in found.items()}
            about = configuration.name, stage, split, quantity, task_type, means
            yield Rate(*about, estimate.mean, estimate.low, estimate.high)


def _differences(comparison: Comparison) -> list[Difference]:
    rows = []
    by_name = {configuration.name: configuration for configuration in comparison.configurations}
    measured = list(_measured(comparison))
    families = dict.fromkeys((split, quantity, task_type == ALL) for split, quantity, task_type in measured)
    for family in families:
        table = [
            row
            for split, quantity, task_type in measured
            if (split, quantity, task_type == ALL) == family
            for configuration in by_name.values()
            if (row := _difference(comparison, configuration, split, quantity, task_type)) is not None
        ]
        corrected = iter(holm([row.p for row in table if row.p is not None]))
        rows += [_judged(row, None if row.p is None else next(corrected)) for row in table]
    return rows


def _difference(
    comparison: Comparison, configuration: Configuration, split: str, quantity: Quantity, task_type: str
) -> Difference | None:
    if configuration.baseline is None:
        return None
    own, others = comparison.of(configuration.name), comparison.of(configuration.baseline)
    seeds = [seed for seed in own if seed in others]
    # one call, so that the tasks are those that all runs of both sides have
    both = {2 * seed: own[seed] for seed in seeds} | {2 * seed + 1: others[seed] for seed in seeds}
    found = _values(comparison, both, FINAL, split, quantity, task_type)
    after = [found[2 * seed] for seed in seeds if {2 * seed, 2 * seed + 1} <= found.keys()]
    before = [found[2 * seed + 1] for seed in seeds if {2 * seed, 2 * seed + 1} <= found.keys()]
    if not after:
        return None
    several = len(after) > 1
    estimate = paired_over_seeds(before, after) if several else paired_difference(before[0], after[0])
    finals = [[fmean(values) for values in rows] for rows in (before, after)]
    values = {seed: last - first for seed, first, last in zip(seeds, *finals, strict=True)}
    return Difference(
        configuration.name,
        configuration.baseline,
        split,
        quantity,
        task_type,
        values,
        estimate.mean,
        estimate.low,
        estimate.high,
        p=p_value(before, after) if several else None,
        smallest=smallest_difference(before, after) if several else None,
        improvement=probability_of_improvement(*finals),
        verdict="one seed",
    )


def _judged(row: Difference, p: float | None) -> Difference:
    """Return a difference with its corrected p-value, called better or worse only where that is significant."""
    if p is None:
        return row
    told = ("better" if row.mean > 0 else "worse") if p < 1 - CONFIDENCE else "not told apart"
    return Difference(**asdict(row) | {"p": p, "verdict": told})


def flops_to(run: Run, target: float) -> int | None:
    """Return the FLOPs of the first point of the learning curves with at least the target success; None if none has.

    There is no interpolation, so it is an upper bound, as fine as the curve.
    """
    return next((point.flops for point in run.curves if point.success >= target), None)


def _saving(comparison: Comparison, configuration: Configuration) -> Saving:
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
    half = stdtrit(n - 1, (1 + CONFIDENCE) / 2) * logs.std(ddof=1) / sqrt(n)
    return Ratio(float(np.exp(mean)), float(np.exp(mean - half)), float(np.exp(mean + half)), n)


def _costs(comparison: Comparison, configuration: Configuration) -> Iterator[Cost]:
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


def _fronts(rates: Sequence[Rate], costs: Sequence[Cost]) -> dict[str, list[str]]:
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


def routed(comparison: Comparison) -> list[str]:
    """Return the first configuration of every router: of several with the same decisions in all seeds, one."""
    seen: set[tuple[Any, ...]] = set()
    names = []
    for configuration in comparison.configurations:
        runs = comparison.of(configuration.name)
        decisions = tuple((seed, run.routing.to_rl) for seed, run in runs.items() if run.routing)
        if decisions and decisions not in seen:
            seen.add(decisions)
            names.append(configuration.name)
    return names


def _kinds(comparison: Comparison) -> Iterator[Kind]:
    for name in routed(comparison):
        decisions: dict[str, list[bool]] = {}
        for run in comparison.of(name).values():
            if run.routing is not None:
                types = comparison.lists[run.routing.demonstrations].types
                for kind, flag in zip(types, run.routing.to_rl, strict=True):
                    decisions.setdefault(str(kind), []).append(flag == "1")
        for kind, flags in sorted(decisions.items()):
            yield Kind(name, kind, len(flags), fmean(flags))


def _agreements(comparison: Comparison) -> Iterator[Agreement]:
    for first, second in combinations(routed(comparison), 2):
        pairs = [
            (one.routing, other.routing)
            for seed, one in comparison.of(first).items()
            if (other := comparison.of(second).get(seed)) and one.routing and other.routing
            if one.routing.demonstrations == other.routing.demonstrations
        ]
        if pairs:
            same = [fmean(a == b for a, b in zip(one.to_rl, two.to_rl, strict=True)) for one, two in pairs]
            varied = [(one.scores, two.scores) for one, two in pairs if len({*one.scores}) > 1 < len({*two.scores})]
            ranks = [float(spearmanr(*scores).statistic) for scores in varied]
            yield Agreement(first, second, len(pairs), fmean(same), fmean(ranks) if ranks else None)


def _differing(comparison: Comparison) -> list[str]:
    protocols = [run.protocol for run in comparison.runs]
    keys = dict.fromkeys(key for protocol in protocols for key in protocol)
    return [key for key in keys if any(other.get(key) != protocols[0].get(key) for other in protocols)]
