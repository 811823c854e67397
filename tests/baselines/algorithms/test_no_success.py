"""HPT, SuperRL and ReLIFT: the tasks that they learn by SFT, the gradient, and what a policy learns."""

import pytest
import torch
from batches import batch, logprobs_and_entropies
from hypothesis import given
from hypothesis import strategies as st
from phase import Phase, probability

from baselines.algorithms.no_success import NoSuccess
from prism_bench.algorithms.rollout_batch import RolloutBatch
from prism_bench.algorithms.sft import SFT
from prism_bench.data.rendering import IGNORED
from prism_bench.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore:You are using 'rollout_func'")

OPENING = "You are in room 3. Your task is to: go to room 4."
MAKE = {"max_steps": 1, "num_generations": 4, "per_device_train_batch_size": 8}


def rollouts(tasks: list[str], rewards: list[float]) -> RolloutBatch:
    values = torch.tensor(rewards)
    size = len(rewards) // len(tasks)
    groups = values.view(-1, size)
    advantages = (groups - groups.mean(dim=1, keepdim=True)).flatten()
    repeated = [task for task in tasks for _ in range(size)]
    return RolloutBatch(
        repeated, [None] * len(rewards), values, size, advantages, torch.zeros(len(rewards), dtype=torch.bool)
    )


@given(
    st.lists(st.sampled_from([0.0, 0.3, 0.9, 1.0]), min_size=8, max_size=8),
    st.integers(0, 3),
    st.sampled_from([0.2, 0.5, 1.0]),
)
def test_a_task_is_unsolved_when_too_few_rollouts_reach_the_threshold(rewards, gate, solved):
    found = NoSuccess(gate=gate, solved=solved, **MAKE).unsolved(rollouts(["x", "y"], rewards)).tolist()
    assert found == [sum(reward >= solved for reward in part) <= gate for part in (rewards[:4], rewards[4:])]


def sft_logprobs(model, rendered) -> torch.Tensor:
    labels = torch.tensor(rendered.labels[1:])
    scores = torch.log_softmax(model(input_ids=torch.tensor([rendered.input_ids])).logits[0, :-1], dim=-1)
    return scores[labels != IGNORED].gather(1, labels[labels != IGNORED][:, None])[:, 0]


def test_hpt_replaces_the_rollouts_of_unsolved_tasks(trainer_of, settings, demonstrations):
    """Task 3-4 is not solved often enough, task 2-4 is, and of task 6-1 there is no demonstration."""
    trainer = trainer_of(NoSuccess(**settings | {"per_device_train_batch_size": 12}, gate=1), demonstrations)
    model = trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    rewards = [0.0, 1.0, 0.5, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.2, 0.4, 0.0]
    columns = trainer.columns(rollouts(["3-4", "2-4", "6-1"], rewards))
    advantages = torch.tensor([0.0] * 4 + [0.5, 0.5, -0.5, -0.5] + [-0.15, 0.05, 0.25, -0.15])
    torch.testing.assert_close(columns["advantages"], advantages)
    inputs = batch(model.config.vocab_size, 0, advantages) | columns
    trainer._compute_loss(model, inputs).backward()
    actual = [weight.grad.clone() for weight in model.parameters()]
    model.zero_grad()
    demonstration = trainer.demonstrations.of_task("3-4").rendered
    loss = -sft_logprobs(model, demonstration).mean() / 3  # one of three tasks
    for row, advantage in enumerate(advantages):
        logprobs, _ = logprobs_and_entropies(model, inputs, row)
        loss = loss - advantage * (logprobs - logprobs.detach()).exp().mean() / 12
    loss.backward()
    for ours, weight in zip(actual, model.parameters(), strict=True):
        torch.testing.assert_close(ours, weight.grad, rtol=1e-4, atol=1e-6)


def test_relift_collects_and_keeps_the_rollouts(trainer_of, settings, demonstrations):
    trainer = trainer_of(NoSuccess(**settings, buffer=3), demonstrations)
    columns = trainer.columns(rollouts(["3-4", "2-4", "6-1"], [0.0, 0.5, 0.5, 0.0, 1.0, 0.0, 0.0, 0.0] + [0.0] * 4))
    assert columns["advantages"][:4].tolist() == [-0.25, 0.25, 0.25, -0.25]
    assert trainer.buffer == [trainer.demonstrations.of_task("3-4").rendered]


def test_the_update_on_the_buffer_is_one_of_sft(corridor_policy, corridor, demonstrations, settings, tmp_path):
    """With plain gradient descent and rollouts that earn nothing, only this update moves the policy."""
    plain = {"optim": "sgd", "max_grad_norm": 1e9, "learning_rate": 0.1, "max_steps": 1}
    changes = []
    for algorithm, tasks in (
        (NoSuccess(**settings | plain, buffer=2, tokens_per_forward=10), ["3-4", "4-3"]),
        (
            SFT(
                **plain,
                per_device_train_batch_size=2,
                lr_scheduler_type="constant",
                gradient_checkpointing=False,
                logging_steps=1,
            ),
            [],
        ),
    ):
        policy = corridor_policy()
        before = {name: weight.clone() for name, weight in policy.model.named_parameters()}
        given = [episode for episode in demonstrations if episode.task_id in ("3-4", "4-3")]
        phase = Phase(policy, tmp_path, lambda: corridor(1)).train(algorithm, given, tasks)
        changes.append({name: weight - before[name] for name, weight in policy.model.named_parameters()})
        assert phase.meter.spent.trained_tokens == sum(
            len(phase.context.renderer.render(episode).input_ids) for episode in given
        )
    torch.testing.assert_close(changes[0], changes[1], rtol=1e-4, atol=1e-7)
    assert max(change.abs().max() for change in changes[0].values()) > 1e-4


@pytest.mark.parametrize("buffer", [None, 2])
def test_a_policy_that_never_succeeds_learns_from_demonstrations(
    corridor_policy, corridor, demonstrations, settings, tmp_path, buffer
):
    policy = corridor_policy()
    algorithm = NoSuccess(**settings | {"max_steps": 10}, buffer=buffer)
    phase = Phase(policy, tmp_path, lambda: corridor(1)).train(algorithm, demonstrations, ["3-4", "4-3"])
    assert probability(policy, OPENING, "go east") > 0.5
    assert phase.values("success")[0] == 0.0
    for share, episodes in zip(phase.values("unsolved"), phase.runner.episodes, strict=True):
        groups = [episodes[:4], episodes[4:]]
        assert share == sum(not any(e.trajectory.success for e in group) for group in groups) / 2
    assert phase.meter.spent.generated_tokens > 0


def test_a_gate_for_all_rollouts_is_refused():
    with pytest.raises(InputError, match="gate=4 is not possible; a task has 4 rollouts"):
        NoSuccess(**MAKE | {"gate": 4})
