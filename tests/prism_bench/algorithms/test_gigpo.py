"""GiGPO's advantages against the paper's formula, written out step by step, and a training in the corridor."""

import math
import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from phase import Phase, probability

from prism_bench.algorithms.gigpo import GiGPO, completions
from prism_bench.algorithms.rollout_batch import RolloutBatch
from prism_bench.data.trajectory import Step, Trajectory
from prism_bench.rollouts.episodes import Episode

MAKE = {"max_steps": 1, "num_generations": 2, "per_device_train_batch_size": 2}


@st.composite
def batches(draw) -> RolloutBatch:
    """Two groups of two to four episodes of one to five steps, in rooms of which there are three."""
    size = draw(st.integers(2, 4))
    episodes = []
    for _ in range(2 * size):
        rooms = draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=5))
        mask: list[int] = []
        for number in range(len(rooms)):
            mask += [0] * draw(st.integers(1, 3)) if number else []
            mask += [1] * draw(st.integers(1, 3))
        score = draw(st.sampled_from([0.0, 0.5, 1.0]))
        steps = tuple(Step(room, "go", 0.0) for room in rooms)
        trajectory = Trajectory("task", None, "policy:x", steps, score, score == 1.0)
        episodes.append(Episode(trajectory, [1], [2] * len(mask), mask, [0.0] * len(mask)))
    return RolloutBatch(
        tasks=["x"] * size + ["y"] * size,
        episodes=episodes,
        rewards=torch.tensor([episode.trajectory.score for episode in episodes]),
        group_size=size,
        advantages=torch.tensor(draw(st.lists(st.floats(-2, 2, width=32), min_size=2 * size, max_size=2 * size))),
        demonstrated=torch.zeros(2 * size, dtype=torch.bool),
    )


def step_advantage(batch: RolloutBatch, row: int, t: int, gamma: float, divide: bool) -> float:
    """Follow the definition for one step of one episode."""
    anchor = batch.episodes[row].trajectory.steps[t].observation
    returns = []
    for other, episode in enumerate(batch.episodes):
        if other // batch.group_size != row // batch.group_size:
            continue  # another task
        steps = episode.trajectory.steps
        rewards = [0.0] * (len(steps) - 1) + [episode.trajectory.score]
        for start, step in enumerate(steps):
            if step.observation == anchor:
                discounted = sum(gamma**k * rewards[start + k] for k in range(len(steps) - start))
                returns.append(discounted)
                if (other, start) == (row, t):
                    own = discounted
    if len(returns) == 1:
        return 0.0
    centred = own - statistics.fmean(returns)
    return centred / (statistics.stdev(returns) + 1e-6) if divide else centred


@given(batches(), st.sampled_from(["mean_std_norm", "mean_norm"]), st.sampled_from([0.0, 0.5, 1.0]))
def test_advantages_follow_the_definition(batch, norm, weight):
    advantages = GiGPO(step_norm=norm, step_weight=weight, gamma=0.9, **MAKE).advantages(batch)
    for row, episode in enumerate(batch.episodes):
        expected = [0.0] * advantages.shape[1]
        step, before = -1, 0
        for place, written in enumerate(episode.agent_mask):
            step += written and not before
            before = written
            if written:
                expected[place] = float(batch.advantages[row]) + weight * step_advantage(
                    batch, row, step, 0.9, norm == "mean_std_norm"
                )
        torch.testing.assert_close(advantages[row], torch.tensor(expected), rtol=1e-4, atol=1e-5)
        assert sum(end - start for start, end in completions(episode)) == sum(episode.agent_mask)


def test_an_example_by_hand():
    """Two rollouts pass room a; the one that goes on to the goal gets the better step, in spite of the discount."""

    def episode(rooms: str, score: float) -> Episode:
        steps = tuple(Step(room, "go", 0.0) for room in rooms)
        mask = [1, 0] * len(rooms)
        trajectory = Trajectory("t", None, "policy:x", steps, score, score == 1)
        return Episode(trajectory, [1], [2] * len(mask), mask, [0.0] * len(mask))

    batch = RolloutBatch(
        tasks=["t", "t"],
        episodes=[episode("ab", 1.0), episode("ac", 0.0)],
        rewards=torch.tensor([1.0, 0.0]),
        group_size=2,
        advantages=torch.tensor([0.5, -0.5]),
        demonstrated=torch.zeros(2, dtype=torch.bool),
    )
    half = 0.95 / 2  # half the distance between the discounted returns 0.95 and 0
    plain = GiGPO(step_norm="mean_norm", **MAKE).advantages(batch)
    torch.testing.assert_close(plain, torch.tensor([[0.5 + half, 0, 0.5, 0], [-0.5 - half, 0, -0.5, 0]]))
    divided = GiGPO(**MAKE).advantages(batch)
    assert divided[0, 0] == pytest.approx(0.5 + half / (math.sqrt(2) * half), rel=1e-4)


@pytest.mark.filterwarnings("ignore:You are using 'rollout_func'")
def test_a_policy_learns(undecided, corridor, tmp_path):
    policy = undecided()
    prompt = "You are in room 3. Your task is to: go to room 5."
    before = probability(policy, prompt, "go east")
    algorithm = GiGPO(
        learning_rate=3e-3,
        max_steps=6,
        num_generations=8,
        per_device_train_batch_size=8,
        gradient_accumulation_steps=1,
        gradient_checkpointing=False,
        lr_scheduler_type="constant",
    )
    phase = Phase(policy, tmp_path, corridor).train(algorithm, tasks=["3-5"])
    assert probability(policy, prompt, "go east") > max(before + 0.1, 0.5)
    assert len(phase.runner.asked) == 6
