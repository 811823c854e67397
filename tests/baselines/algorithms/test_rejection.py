"""Rejection sampling: the rollouts that become demonstrations, what a policy learns, and the bill."""

import dataclasses

from phase import Phase, probability

from baselines.algorithms.rejection import RejectionSampling
from prism_bench.algorithms.sft import SFT
from prism_bench.data.trajectory import Step, Trajectory
from prism_bench.models.policy import weights_digest

OPENING = "You are in room 3. Your task is to: go to room 4."
SETTINGS = {
    "learning_rate": 3e-3,
    "per_device_train_batch_size": 8,
    "num_train_epochs": 2,
    "lr_scheduler_type": "constant",
    "gradient_checkpointing": False,
    "logging_steps": 1,
}


class RecordingSFT(SFT):
    """SFT that records its demonstrations and its initial policy."""

    def __init__(self, **config) -> None:
        super().__init__(**config)
        self.given: list[list[Trajectory]] = []
        self.started_from: list[str] = []

    def train(self, policy, demonstrations, tasks, context) -> None:
        self.given.append(list(demonstrations))
        self.started_from.append(weights_digest(policy.model))
        super().train(policy, demonstrations, tasks, context)


def test_a_policy_learns_from_what_it_did_right(undecided, corridor, tmp_path):
    policy, sft = undecided(), RecordingSFT(**SETTINGS | {"num_train_epochs": 6})
    before, start = probability(policy, OPENING, "go east"), weights_digest(policy.model)
    phase = Phase(policy, tmp_path, lambda: corridor(1), points=4)
    algorithm = RejectionSampling(sft=sft, rounds=3, samples=8, threshold=1.0)
    phase.train(algorithm, tasks=["3-4", "4-5", "2-3"])
    assert 0.2 < before < 0.8 and probability(policy, OPENING, "go east") > before + 0.15
    assert sft.started_from[0] == start and len(set(sft.started_from)) == 3
    for asked, episodes, given in zip(phase.runner.asked, phase.runner.episodes, sft.given, strict=True):
        assert asked == ["3-4"] * 8 + ["4-5"] * 8 + ["2-3"] * 8
        solved = {e.trajectory.task_id for e in episodes if e.trajectory.score == 1.0}
        assert {trajectory.task_id for trajectory in given} == solved
        assert all(trajectory.score == 1.0 for trajectory in given)
        steps = [(trajectory.task_id, trajectory.steps) for trajectory in given]
        assert len(set(steps)) == len(steps)
    spent, renderer = phase.meter.spent, phase.context.renderer
    trained = sum(len(renderer.render(trajectory).input_ids) for given in sft.given for trajectory in given)
    played = sum(len(episode.prompt_ids) + len(episode.completion_ids) for episode in phase.all_episodes)
    assert spent.trained_tokens == 6 * trained
    assert spent.prefill_tokens + spent.generated_tokens == played
    assert spent.env_steps == sum(len(episode.trajectory.steps) for episode in phase.all_episodes)
    *done, last = [done for done, _ in phase.progress]
    assert done == list(range(1, last + 1)) and phase.progress[-1] == (last, last)
    assert phase.evaluated == sorted(phase.evaluated) and phase.evaluated[-1] == last
    assert len(phase.evaluated) == 4
    assert not list(tmp_path.glob("round_*"))


def test_equal_rollouts_are_learned_from_once():
    def rollout(task: str, action: str, score: float) -> Trajectory:
        return Trajectory(task, None, "policy:x", (Step("You are in room 1.", action, score),), score, score == 1.0)

    algorithm = RejectionSampling(sft=SFT(**SETTINGS), threshold=0.5)
    right, again, other = (rollout("1-2", action, 1.0) for action in ("go east", "go east", "east"))
    enough, little, elsewhere = rollout("1-2", "go", 0.5), rollout("1-2", "no", 0.4), rollout("3-4", "go east", 1.0)
    again = dataclasses.replace(again, source="policy:y")
    assert algorithm._successes([right, again, other, enough, little, elsewhere]) == [right, other, enough, elsewhere]


def test_without_success_nothing_is_learned_and_the_rollouts_are_billed(corridor_policy, corridor, tmp_path):
    policy = corridor_policy()
    start = weights_digest(policy.model)
    phase = Phase(policy, tmp_path, lambda: corridor(1))
    phase.train(RejectionSampling(sft=SFT(**SETTINGS), rounds=2, samples=2), tasks=["3-4"])
    assert weights_digest(policy.model) == start
    assert phase.values("success") == [0.0, 0.0] and phase.meter.spent.generated_tokens > 0
    first, second = phase.runner.episodes
    assert [episode.completion_ids for episode in first] != [episode.completion_ids for episode in second]


def test_a_spent_budget_ends_the_rounds(undecided, corridor, tmp_path):
    algorithm = RejectionSampling(sft=SFT(**SETTINGS), rounds=50, samples=8)
    phase = Phase(undecided(), tmp_path, lambda: corridor(1), flops_budget=1.0, points=5)
    phase.train(algorithm, tasks=["3-4", "4-3"])
    assert len(phase.runner.asked) == 1 and len(phase.progress) == 1 and phase.evaluated == [1]
