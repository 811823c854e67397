"""Rewards of episodes, and what GRPO makes of them."""

import pytest

from prism_bench.algorithms.reward import Reward
from prism_bench.data.trajectory import Step, Trajectory
from prism_bench.rollouts.episodes import Episode


def episode(score: float, success: bool, inadmissible: int = 0) -> Episode:
    trajectory = Trajectory("task", None, "policy", (Step("", "", 0.0),), score, success)
    return Episode(trajectory, [1], [2], [1], [0.0], inadmissible)


@pytest.mark.parametrize(
    ("reward", "expected"),
    [
        (Reward(), [0.7, 1.0, 0.7]),
        (Reward("success"), [0.0, 1.0, 0.0]),
        (Reward("score", 0.1), [0.7, 1.0, 0.5]),
        (Reward("success", 0.1), [0.0, 1.0, -0.2]),
    ],
)
def test_an_episode_earns_its_score_or_its_success_less_the_price_of_its_actions(reward, expected):
    episodes = [episode(0.7, False), episode(1.0, True), episode(0.7, False, inadmissible=2)]
    assert [reward.of(one) for one in episodes] == pytest.approx(expected)
