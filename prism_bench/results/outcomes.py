"""Evaluated episodes, and the tables that follow from them: success and score by stage, differences between stages."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ConfigDict, with_config

from prism_bench.errors import InputError
from prism_bench.results.statistics import Estimate, paired_difference, summarise

MINUS = " - "
"""Separator of two stages in the key of their difference; no stage has it in its name."""

EXACT = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False, revalidate_instances="always")
"""Pydantic's settings for records of a result: no value is converted, no field is unknown, nothing is trusted."""

Rates = dict[str, dict[str, dict[str, Estimate]]]  # by stage, split, task type
Differences = dict[str, dict[str, Estimate]]  # by the two stages, split


class ResultError(InputError):
    """A result that contradicts itself, or a file that does not hold one."""


@with_config(EXACT)
@dataclass(frozen=True, slots=True)
class Outcome:
    """One evaluated episode: its stage and task, and how it ended."""

    stage: str
    split: str
    task_id: str
    task_type: str
    success: bool
    score: float
    steps: int


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of a result, by their names in it."""

    success: Rates
    score: Rates
    paired: Differences
    paired_score: Differences


def tables_of(outcomes: Sequence[Outcome]) -> Tables:
    """Return the tables of ``outcomes``, stages in the order in which they first appear.

    Every stage is compared with every earlier one: ``rl - base``, ``rl - sft``.

    Raises:
        ResultError: a task occurs twice in a stage, or two stages of a split have different tasks.
        ValueError: a score lies outside 0 to 1.
    """
    by_stage: dict[str, dict[str, dict[str, Outcome]]] = {}
    for outcome in outcomes:
        tasks = by_stage.setdefault(outcome.stage, {}).setdefault(outcome.split, {})
        if outcome.task_id in tasks:
            raise ResultError(f"task {outcome.task_id!r} occurs twice in {outcome.stage} on {outcome.split}")
        tasks[outcome.task_id] = outcome
    tables = Tables({}, {}, {}, {})
    for stage, splits in by_stage.items():
        for split, tasks in splits.items():
            types = [outcome.task_type for outcome in tasks.values()]
            successes = [float(outcome.success) for outcome in tasks.values()]
            scores = [outcome.score for outcome in tasks.values()]
            tables.success.setdefault(stage, {})[split] = summarise(successes, types)
            tables.score.setdefault(stage, {})[split] = summarise(scores, types)
    stages = list(by_stage)
    for later, earlier in ((later, earlier) for at, later in enumerate(stages) for earlier in stages[:at]):
        for split, before in by_stage[earlier].items():
            after = by_stage[later].get(split)
            if after is None:
                continue
            if before.keys() != after.keys():
                raise ResultError(f"{earlier} and {later} have different tasks of {split}, so they cannot be paired")
            pairs = [(before[task], after[task]) for task in before]
            name = f"{later}{MINUS}{earlier}"
            tables.paired.setdefault(name, {})[split] = paired_difference(
                [one.success for one, _ in pairs], [other.success for _, other in pairs]
            )
            tables.paired_score.setdefault(name, {})[split] = paired_difference(
                [one.score for one, _ in pairs], [other.score for _, other in pairs]
            )
    return tables
