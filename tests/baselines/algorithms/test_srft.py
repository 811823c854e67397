"""SRFT's gradient against its formula, and a policy that learns what it could not have found by itself."""

import pytest
import torch
from batches import batch, logprobs_and_entropies
from phase import Phase, probability

from baselines.algorithms.srft import SRFT
from prism_bench.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore:You are using 'rollout_func'")

OPENING = "You are in room 3. Your task is to: go to room 4."


@pytest.mark.parametrize("seed", [0, 1])
def test_the_gradient_is_that_of_the_formula(trainer_of, settings, seed):
    trainer = trainer_of(SRFT(**settings))
    model = trainer.model.train()
    trainer.current_gradient_accumulation_steps = 2
    advantages = torch.tensor([1.5, -0.5, 0.0, 0.8, 0.0, -1.25, 0.5, 0.0])
    demonstrated = torch.tensor([True, False, False, False, True, False, False, False])
    inputs = batch(model.config.vocab_size, seed, advantages) | {"demonstrated": demonstrated}
    trainer._compute_loss(model, inputs).backward()
    actual = [weight.grad.clone() for weight in model.parameters()]
    model.zero_grad()
    loss = torch.zeros(())
    for row, advantage in enumerate(advantages):
        logprobs, entropies = logprobs_and_entropies(model, inputs, row)
        entropy = entropies.mean().detach()
        if demonstrated[row]:
            ratio = logprobs.exp() / (logprobs.exp() + 0.1)
            of_episode = -0.5 * torch.exp(-entropy) * logprobs.mean() - advantage * ratio.mean()
        else:
            weight = 0.1 * torch.exp(entropy) if advantage > 0 else 1.0
            of_episode = -weight * advantage * (logprobs - logprobs.detach()).exp().mean()
        loss = loss + of_episode / len(advantages) / 2
    loss.backward()
    for ours, weight in zip(actual, model.parameters(), strict=True):
        torch.testing.assert_close(ours, weight.grad, rtol=1e-4, atol=1e-6)


def test_a_policy_that_never_succeeds_learns_from_the_demonstration_in_its_group(
    corridor_policy, corridor, demonstrations, settings, tmp_path
):
    policy = corridor_policy()
    phase = Phase(policy, tmp_path, lambda: corridor(1))
    phase.train(SRFT(**settings | {"max_steps": 20}), demonstrations, ["3-4", "4-3"])
    assert probability(policy, OPENING, "go east") > 0.5
    assert phase.values("success")[0] == 0.0


def test_a_kl_term_is_refused(settings):
    with pytest.raises(InputError, match="beta has to be 0"):
        SRFT(**settings | {"beta": 0.1})
