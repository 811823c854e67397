"""Selections of tasks: for training, for evaluation, and for learning curves.

An environment may list its tasks in any order, so no prefix of the list is ever a sample. Every selection is a seeded
draw, in proportion to the task types where the environment knows them. The seed is fixed: runs that differ in their
seed train on the same tasks and are evaluated on the same tasks.
"""

from collections import Counter
from collections.abc import Sequence

from prism_bench.environments.contract import TextEnvironment
from prism_bench.errors import InputError
from prism_bench.results.evaluation import sample_tasks
from prism_bench.results.schema import Selection

_SEED = 0


def demonstration_tasks(environment: TextEnvironment, count: int) -> list[str]:
    """Return the train tasks whose demonstrations the router divides and the phases train on.

    Raises:
        InputError: there are fewer than ``count``.
    """
    if len(environment.task_ids) < count:
        raise InputError(f"trajectories={count}, but there are only {len(environment.task_ids)} train tasks; lower it")
    return sample_tasks(environment.task_ids, environment.task_types(), count, _SEED)


def pretraining_tasks(environment: TextEnvironment, demonstrations: Sequence[str], count: int) -> list[str]:
    """Return train tasks for the base stage, none of which is among ``demonstrations``: ``count``, or all there are.

    Raises:
        InputError: there are none.
    """
    taken, types = set(demonstrations), environment.task_types()
    left = [number for number, task in enumerate(environment.task_ids) if task not in taken]
    if not left:
        raise InputError(
            f"trajectories={len(demonstrations)} takes all train tasks, and none is left for the base stage; lower it"
        )
    return sample_tasks(
        [environment.task_ids[number] for number in left],
        None if types is None else [types[number] for number in left],
        min(count, len(left)),
        _SEED,
    )


def evaluation_tasks(environment: TextEnvironment, count: int | None) -> list[str]:
    """Return the tasks of a split that every evaluation rolls out; all of them if ``count`` is None."""
    return sample_tasks(environment.task_ids, environment.task_types(), count, _SEED)


def curve_tasks(environment: TextEnvironment, evaluated: Sequence[str], count: int) -> list[str]:
    """Return a sample of the evaluated tasks for learning curves: ``count``, or all there are."""
    return sample_tasks(evaluated, _types_of(environment, evaluated), min(count, len(evaluated)), _SEED)


def describe_selection(environment: TextEnvironment, split: str, tasks: Sequence[str]) -> Selection:
    """Return the numbers of ``tasks``, which are from the split of the environment."""
    types = _types_of(environment, tasks)
    counts = None if types is None else dict(sorted(Counter(types).items()))
    return Selection(split, len(environment.task_ids), len(tasks), counts)


def _types_of(environment: TextEnvironment, tasks: Sequence[str]) -> list[str] | None:
    types = environment.task_types()
    if types is None:
        return None
    by_task = dict(zip(environment.task_ids, types, strict=True))
    return [by_task[task] for task in tasks]
