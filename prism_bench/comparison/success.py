"""Success and score of configurations, and their differences to the baseline.

The seed is the unit. Where a configuration has several, intervals are over seeds and tasks
(:func:`~prism_bench.results.statistics.mean_over_seeds`); with one seed they are over tasks only, and no difference is
called better or worse. Differences are paired by seed and task, and their p-values are Holm's over all comparisons of
one table. Ends of intervals stay where a rate or a difference can be.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from statistics import fmean

from prism_bench.comparison.record import Comparison, Configuration, Run, StageOutcomes
from prism_bench.comparison.rows import ALL, FINAL, Difference, Quantity, Rate
from prism_bench.results.schema import BASE
from prism_bench.results.significance import holm, p_value, probability_of_improvement, smallest_difference
from prism_bench.results.statistics import (
    CONFIDENCE,
    mean_estimate,
    mean_over_seeds,
    paired_difference,
    paired_over_seeds,
)

Measured = tuple[str, Quantity, str]
"""A split, a quantity and a task type."""


def _values_by_task(
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


def _measured(comparison: Comparison) -> Iterator[Measured]:
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
        seed: _values_by_task(comparison, _stage(run, stage)[split], quantity, task_type)
        for seed, run in runs.items()
        if split in _stage(run, stage)
    }
    shared = [task for task in next(iter(found.values()), {}) if all(task in values for values in found.values())]
    return {seed: [values[task] for task in shared] for seed, values in found.items() if shared}


def rates_of(comparison: Comparison, configuration: Configuration) -> Iterator[Rate]:
    """Yield the rates of a configuration before and after training, for every split, quantity and task type.

    After a phase between them only the success on all task types.
    """
    runs = comparison.of(configuration.name)
    measured = list(_measured(comparison))
    for stage in (BASE, *_earlier(runs), FINAL):
        between = stage not in (BASE, FINAL)
        for split, quantity, task_type in _main(measured) if between else measured:
            found = _values(comparison, runs, stage, split, quantity, task_type)
            if not found:
                continue
            rows = list(found.values())
            estimate = mean_over_seeds(rows) if len(rows) > 1 else mean_estimate(rows[0])
            means = {seed: fmean(values) for seed, values in found.items()}
            about = configuration.name, stage, split, quantity, task_type, means
            yield Rate(*about, estimate.mean, max(0.0, estimate.low), min(1.0, estimate.high))


def differences(comparison: Comparison) -> list[Difference]:
    """Return the differences of the final policies of all configurations to those of the baseline of each."""
    return _tested(comparison, FINAL, list(_measured(comparison)))


def earlier_differences(comparison: Comparison) -> list[Difference]:
    """Return the differences of success after every phase that is not the last, where both sides have it there.

    They say which part of the data teaches more before later phases make up for it.
    """
    phases = dict.fromkeys(phase for one in comparison.configurations for phase in _earlier(comparison.of(one.name)))
    measured = _main(_measured(comparison))
    return [row for phase in phases for row in _tested(comparison, phase, measured)]


def _main(measured: Iterable[Measured]) -> list[Measured]:
    """Return what is success on all task types."""
    return [one for one in measured if one[1:] == ("success", ALL)]


def _earlier(runs: Mapping[int, Run]) -> list[str]:
    """Return the phases of a configuration but its last; the base model is none."""
    return list(next(iter(runs.values())).outcomes)[1:-1] if runs else []


def _tested(comparison: Comparison, stage: str, measured: Sequence[Measured]) -> list[Difference]:
    """Return the differences at a stage, with the p-values of each table corrected."""
    rows = []
    families = dict.fromkeys((split, quantity, task_type == ALL) for split, quantity, task_type in measured)
    for family in families:
        table = [
            row
            for split, quantity, task_type in measured
            if (split, quantity, task_type == ALL) == family
            for configuration in comparison.configurations
            if (row := _difference(comparison, configuration, stage, split, quantity, task_type)) is not None
        ]
        corrected = iter(holm([row.p for row in table if row.p is not None]))
        rows += [_judged(row, None if row.p is None else next(corrected)) for row in table]
    return rows


def _difference(
    comparison: Comparison, configuration: Configuration, stage: str, split: str, quantity: Quantity, task_type: str
) -> Difference | None:
    if configuration.baseline is None:
        return None
    own, others = comparison.of(configuration.name), comparison.of(configuration.baseline)
    if stage != FINAL and not all(stage in _earlier(runs) for runs in (own, others)):
        return None
    seeds = [seed for seed in own if seed in others]
    # one call, so that the tasks are those that all runs of both sides have
    both = {2 * seed: own[seed] for seed in seeds} | {2 * seed + 1: others[seed] for seed in seeds}
    found = _values(comparison, both, stage, split, quantity, task_type)
    seeds = [seed for seed in seeds if {2 * seed, 2 * seed + 1} <= found.keys()]  # a budget can leave a phase out
    if not seeds:
        return None
    after, before = [found[2 * seed] for seed in seeds], [found[2 * seed + 1] for seed in seeds]
    several = len(after) > 1
    estimate = paired_over_seeds(before, after) if several else paired_difference(before[0], after[0])
    finals = [[fmean(values) for values in rows] for rows in (before, after)]
    values = {seed: last - first for seed, first, last in zip(seeds, *finals, strict=True)}
    return Difference(
        configuration.name,
        configuration.baseline,
        stage,
        split,
        quantity,
        task_type,
        values,
        estimate.mean,
        max(-1.0, estimate.low),
        min(1.0, estimate.high),
        p=p_value(before, after) if several else None,
        smallest=min(1.0, smallest_difference(before, after)) if several else None,
        improvement=probability_of_improvement(*finals),
        verdict="one seed",
    )


def _judged(row: Difference, p: float | None) -> Difference:
    """Return a difference with its corrected p-value, called better or worse only where that is significant."""
    if p is None:
        return row
    told = ("better" if row.mean > 0 else "worse") if p < 1 - CONFIDENCE else "not told apart"
    return Difference(**asdict(row) | {"p": p, "verdict": told})
