"""LUFFY's gradient against its formula, and a policy that learns what it could not have found by itself."""

import pytest
import torch
from batches import batch, logprobs_and_entropies
from phase import Phase, probability

from baselines.algorithms.luffy import LUFFY
from prism_bench.algorithms.grpo import GRPO
from prism_bench.errors import InputError
from prism_bench.models.policy import weights_digest

pytestmark = pytest.mark.filterwarnings("ignore:You are using 'rollout_func'")

OPENING = "You are in room 3. Your task is to: go to room 4."


def gradients(model) -> list[torch.Tensor]:
    found = [weight.grad.clone() for weight in model.parameters()]
    model.zero_grad()
    return found


@pytest.mark.parametrize("seed", [0, 1])
def test_the_gradient_is_that_of_the_formula(trainer_of, settings, seed):
    trainer = trainer_of(LUFFY(**settings, shaping=0.1))
    model = trainer.model.train()
    trainer.current_gradient_accumulation_steps = 2
    advantages = torch.tensor([0.75, -0.25, 0.0, -0.5, 0.25, -0.25, 0.5, 0.5])
    demonstrated = torch.tensor([True, False, False, False, True, False, False, False])
    inputs = batch(model.config.vocab_size, seed, advantages) | {"demonstrated": demonstrated}
    trainer._compute_loss(model, inputs).backward()
    actual = gradients(model)
    loss = torch.zeros(())
    for row, advantage in enumerate(advantages):
        logprobs, _ = logprobs_and_entropies(model, inputs, row)
        reshaped, on_policy = logprobs.exp() / (logprobs.exp() + 0.1), (logprobs - logprobs.detach()).exp()
        ratio = reshaped if demonstrated[row] else on_policy
        loss = loss - (advantage * ratio).mean() / len(advantages) / 2
    loss.backward()
    for ours, expected in zip(actual, gradients(model), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-6)


def test_a_policy_that_never_succeeds_learns_from_the_demonstration_in_its_group(
    corridor_policy, corridor, demonstrations, settings, tmp_path
):
    settings |= {"num_generations": 2, "max_steps": 20, "scale_rewards": "none"}
    policies = {}
    for algorithm in (GRPO(**settings), LUFFY(**settings)):
        policies[type(algorithm)] = policy = corridor_policy()
        start = weights_digest(policy.model)
        phase = Phase(policy, tmp_path, lambda: corridor(1)).train(algorithm, demonstrations, ["3-4", "2-3"])
        learned = weights_digest(policy.model) != start
        assert phase.values("success")[0] == 0.0
        assert learned == any(phase.values("success")) == (type(algorithm) is LUFFY)
    assert probability(policies[GRPO], OPENING, "go east") < 0.01
    assert probability(policies[LUFFY], OPENING, "go east") > 0.5


def test_a_demonstration_takes_the_last_place_of_its_group(
    undecided, corridor, demonstrations, settings, tmp_path, monkeypatch
):
    batches = []
    monkeypatch.setattr(LUFFY, "advantages", lambda self, batch: batches.append(batch) or batch.advantages)
    policy = undecided()
    algorithm = LUFFY(**settings | {"max_steps": 2, "scale_rewards": "none"})
    phase = Phase(policy, tmp_path, corridor).train(algorithm, demonstrations, ["3-4", "5-1"])
    for asked, seen in zip(phase.runner.asked, batches, strict=True):
        assert sorted(asked) == ["3-4"] * 3 + ["5-1"] * 4  # of which there is no demonstration
        places = [3 if seen.tasks[0] == "3-4" else 7]
        assert seen.demonstrated.nonzero()[:, 0].tolist() == places
        shown = seen.episodes[places[0]]
        assert shown.trajectory in demonstrations and shown.trajectory.task_id == "3-4"
        rendered = phase.context.renderer.render(shown.trajectory)
        assert shown.prompt_ids + shown.completion_ids == rendered.input_ids
        assert sum(shown.agent_mask) == rendered.agent_tokens
        groups = seen.rewards.view(2, 4)
        torch.testing.assert_close(seen.advantages.view(2, 4), groups - groups.mean(dim=1, keepdim=True))
    played = sum(len(episode.prompt_ids) + len(episode.completion_ids) for episode in phase.all_episodes)
    assert phase.meter.spent.prefill_tokens + phase.meter.spent.generated_tokens == played


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"beta": 0.1}, "beta has to be 0"),
        ({"loss_type": "vespo"}, "loss_type has to be grpo"),
        ({"importance_sampling_level": "sequence"}, "importance_sampling_level has to be token"),
    ],
)
def test_what_has_no_meaning_is_refused(settings, option, message):
    with pytest.raises(InputError, match=message):
        LUFFY(**settings | option)
