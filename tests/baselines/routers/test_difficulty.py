from dataclasses import replace

import numpy as np
import pytest
from routed import routed

from baselines.routers.difficulty import DifficultyRouter
from prism_bench.errors import InputError


def test_the_score_is_the_share_of_failed_episodes(context, corridor_episodes):
    asked = []

    def play(task_ids, k):
        """Succeed in as many of the k episodes as the task's first room says."""
        asked.append((tuple(task_ids), k))
        solved = {task_id: int(task_id[0]) for task_id in task_ids}
        return [
            [replace(corridor_episodes[0], task_id=task_id, success=number < solved[task_id]) for number in range(k)]
            for task_id in task_ids
        ]

    allocation = routed(DifficultyRouter(episodes=6), corridor_episodes, context(play))
    expected = [1 - int(episode.task_id[0]) / 6 for episode in corridor_episodes]
    np.testing.assert_allclose(allocation.scores, expected)
    assert allocation.identity["episodes_per_task"] == 6
    assert asked == [(tuple(episode.task_id for episode in corridor_episodes), 6)]
    assert {corridor_episodes[number].task_id[0] for number in allocation.indices("rl")} == {"1", "2", "3"}


def test_a_task_with_several_trajectories_is_played_once(context, corridor_episodes):
    asked = []

    def play(task_ids, k):
        asked.extend(task_ids)
        return [[replace(corridor_episodes[0], success=task_id == "1-2")] * k for task_id in task_ids]

    chosen = [corridor_episodes[0], corridor_episodes[1], corridor_episodes[0], corridor_episodes[1]]
    allocation = routed(DifficultyRouter(), chosen, context(play))
    assert asked == ["1-2", "1-3"]
    assert allocation.scores == (0.0, 1.0, 0.0, 1.0)


def test_ties_still_split_in_exact_halves(context, corridor_episodes):
    def play(task_ids, k):
        return [[corridor_episodes[0]] * k for _ in task_ids]

    allocation = routed(DifficultyRouter(), corridor_episodes, context(play))
    assert len(allocation.indices("sft")) == len(corridor_episodes) // 2
    assert allocation.tied_at_threshold == len(corridor_episodes)


def test_imported_text_without_tasks_is_refused(context, corridor_episodes):
    imported = [replace(corridor_episodes[0], task_id=None, source="import:old.json")]
    with pytest.raises(InputError, match=r"trajectory 0 \(import:old\.json\) has no task id"):
        routed(DifficultyRouter(), imported, context())
