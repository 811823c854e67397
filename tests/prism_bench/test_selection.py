"""Selections are draws, whatever the order in which an environment lists its tasks."""

from collections import Counter

import pytest

from prism_bench.environments.contract import TextEnvironment
from prism_bench.errors import InputError
from prism_bench.results.schema import Selection
from prism_bench.selection import (
    curve_tasks,
    demonstration_tasks,
    describe_selection,
    evaluation_tasks,
    pretraining_tasks,
)

TYPES = {"clean": 50, "cool": 30, "heat": 20}


class Sorted(TextEnvironment):
    """Lists its tasks by type, as an environment that sorts paths does."""

    task_ids = tuple(f"{kind}-{number:02}" for kind, count in TYPES.items() for number in range(count))

    def task_types(self):
        return [task.partition("-")[0] for task in self.task_ids]


class Silent(Sorted):
    """Does not know the types of its tasks."""

    def task_types(self):
        return None


def types(tasks: list[str]) -> Counter[str]:
    return Counter(task.partition("-")[0] for task in tasks)


def test_every_selection_has_every_type_in_proportion():
    environment = Sorted()
    demonstrations = demonstration_tasks(environment, 40)
    pretraining = pretraining_tasks(environment, demonstrations, 20)
    evaluated = evaluation_tasks(environment, 50)
    assert types(demonstrations) == {"clean": 20, "cool": 12, "heat": 8}
    assert types(pretraining) == {"clean": 10, "cool": 6, "heat": 4}
    assert types(evaluated) == {"clean": 25, "cool": 15, "heat": 10}
    curve = curve_tasks(environment, evaluated, 10)
    assert types(curve) == {"clean": 5, "cool": 3, "heat": 2} and set(curve) <= set(evaluated)
    assert not set(demonstrations) & set(pretraining)


def test_without_types_a_selection_is_no_prefix_either():
    environment = Silent()
    demonstrations = demonstration_tasks(environment, 40)
    assert len(set(demonstrations)) == 40 and len(types(demonstrations)) == 3
    assert demonstrations == demonstration_tasks(environment, 40)


def test_the_base_stage_takes_what_is_left():
    environment = Sorted()
    demonstrations = demonstration_tasks(environment, 90)
    assert len(pretraining_tasks(environment, demonstrations, 4864)) == 10
    with pytest.raises(InputError, match="trajectories=100 takes all train tasks"):
        pretraining_tasks(environment, demonstration_tasks(environment, 100), 4864)


def test_more_tasks_than_there_are_are_refused():
    with pytest.raises(InputError, match="trajectories=101, but there are only 100 train tasks"):
        demonstration_tasks(Sorted(), 101)
    with pytest.raises(InputError, match="100"):
        evaluation_tasks(Sorted(), 101)
    assert sorted(evaluation_tasks(Sorted(), None)) == list(Sorted.task_ids)


def test_a_selection_is_described_by_its_numbers_not_by_what_was_asked_for():
    drawn = evaluation_tasks(Sorted(), 10)
    by_type = {"clean": 5, "cool": 3, "heat": 2}
    assert describe_selection(Sorted(), "valid", drawn) == Selection("valid", 100, 10, by_type)
    assert describe_selection(Silent(), "valid", drawn) == Selection("valid", 100, 10, None)
    everything = evaluation_tasks(Sorted(), None)
    assert describe_selection(Sorted(), "valid", everything) == Selection("valid", 100, 100, TYPES)
