"""CHORD's weight, its gradient against the formula, and a policy that learns what it could not have found by itself."""

import math

import pytest
import torch
from batches import batch, logprobs_and_entropies
from hypothesis import given
from hypothesis import strategies as st
from phase import Phase, probability

from baselines.algorithms.chord import CHORD
from prism_bench.algorithms.rollout_batch import RolloutBatch
from prism_bench.data.rendering import IGNORED
from prism_bench.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore:You are using 'rollout_func'")

OPENING = "You are in room 3. Your task is to: go to room 4."
MAKE = {"max_steps": 1, "num_generations": 4, "per_device_train_batch_size": 8, "demonstrations_per_update": 3}


@given(st.integers(0, 20), st.integers(1, 200), st.floats(0, 1), st.floats(0, 1), st.integers(0, 300))
def test_the_weight_rises_then_falls_as_half_a_cosine(warmup, decay, peak, valley, update):
    mu = CHORD(mu_warmup=warmup, mu_decay=decay, mu_peak=peak, mu_valley=valley, **MAKE).mu
    if update < warmup:
        assert mu(update) == pytest.approx(peak * update / warmup)
    elif update >= warmup + decay:
        assert mu(update) == pytest.approx(valley)
    else:
        part = (1 + math.cos(math.pi * (update - warmup) / decay)) / 2
        assert mu(update) == pytest.approx(peak * part + valley * (1 - part))


def test_the_papers_weight():
    mu = CHORD(**MAKE).mu
    assert [round(mu(update), 3) for update in (0, 100, 200, 1000)] == [0.9, 0.475, 0.05, 0.05]


@pytest.mark.parametrize("token_weights", [False, True])
def test_the_gradient_is_that_of_the_formula(trainer_of, settings, demonstrations, token_weights):
    """In two parts of an update, with a demonstration in each."""
    algorithm = CHORD(
        **settings | {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 4},
        demonstrations_per_update=3,
        mu_peak=0.3,
        token_weights=token_weights,
    )
    trainer = trainer_of(algorithm, demonstrations)
    model = trainer.model.train()
    trainer.current_gradient_accumulation_steps = 2
    advantages = torch.tensor([1.0, -0.5, 0.0, 0.25, -1.0, 0.5, 0.0, 0.0])
    inputs = batch(model.config.vocab_size, 0, advantages)
    rollouts = RolloutBatch(["x"] * 8, [None] * 8, advantages, 4, advantages, torch.zeros(8, dtype=torch.bool))
    inputs["beside"] = trainer.columns(rollouts)["beside"][torch.tensor([0, 3, 4, 1, 2, 5, 6, 7])]  # as TRL shuffles
    chosen = trainer.beside
    for half in (slice(0, 4), slice(4, 8)):
        part = {name: value[half] if value.dim() else value for name, value in inputs.items()}
        trainer._compute_loss(model, part).backward()
    actual = [weight.grad.clone() for weight in model.parameters()]
    model.zero_grad()
    loss = torch.zeros(())
    for row, advantage in enumerate(advantages):
        logprobs, _ = logprobs_and_entropies(model, inputs, row)
        loss = loss - 0.7 * advantage * (logprobs - logprobs.detach()).exp().mean() / 8
    tokens = sum(rendered.agent_tokens for rendered in chosen)
    for rendered in chosen:
        labels = torch.tensor(rendered.labels[1:])
        scores = torch.log_softmax(model(input_ids=torch.tensor([rendered.input_ids])).logits[0, :-1], dim=-1)
        logprobs = scores[labels != IGNORED].gather(1, labels[labels != IGNORED][:, None])
        p = logprobs.detach().exp()
        loss = loss - 0.3 * ((p * (1 - p) if token_weights else 1) * logprobs).sum() / tokens
    loss.backward()
    for ours, weight in zip(actual, model.parameters(), strict=True):
        torch.testing.assert_close(ours, weight.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("settings_of_run", [{}, {"gradient_accumulation_steps": 2, "steps_per_generation": 4}])
def test_a_policy_that_never_succeeds_learns_from_demonstrations(
    corridor_policy, corridor, demonstrations, settings, tmp_path, settings_of_run
):
    policy = corridor_policy()
    algorithm = CHORD(**settings | settings_of_run, demonstrations_per_update=4, mu_decay=8)
    phase = Phase(policy, tmp_path, lambda: corridor(1)).train(algorithm, demonstrations, ["5-6", "6-5"])
    assert probability(policy, OPENING, "go east") > 0.5
    assert phase.values("success")[0] == 0.0
    assert phase.values("mu") == pytest.approx([algorithm.mu(update) for update in range(8)])
    trained = sum(len(phase.context.renderer.render(episode).input_ids) for episode in demonstrations)
    assert phase.meter.spent.trained_tokens >= 8 * trained


def test_more_demonstrations_than_rollouts_can_carry_are_refused():
    with pytest.raises(InputError, match="an update has 8 rollouts"):
        CHORD(**MAKE | {"demonstrations_per_update": 9})
