import numpy as np
import pytest
import torch
from routed import routed

from baselines.routers.loss import LossRouter
from prism_bench.errors import InputError
from prism_bench.routing.prism import PrismRouter


def test_scores_are_the_losses_of_the_model_itself(context, corridor_episodes):
    made = context()
    allocation = routed(LossRouter(tokens_per_batch=100), corridor_episodes, made)
    for score, episode in zip(allocation.scores, corridor_episodes, strict=True):
        rendered = made.renderer.render(episode)
        with torch.no_grad():
            loss = made.policy.model(
                input_ids=torch.tensor([rendered.input_ids]), labels=torch.tensor([rendered.labels])
            ).loss
        np.testing.assert_allclose(score, loss.item(), rtol=1e-5)
    assert allocation.stages[int(np.argmax(allocation.scores))] == "rl"


def test_the_sum_is_the_negative_log_likelihood_of_the_agents_tokens(context, corridor_episodes):
    made = context()
    scores = routed(LossRouter(reduction="sum"), corridor_episodes, made).scores
    for score, episode in zip(scores, corridor_episodes, strict=True):
        rendered = made.renderer.render(episode)
        ids, labels = torch.tensor([rendered.input_ids]), torch.tensor(rendered.labels)
        with torch.no_grad():
            log_p = made.policy.model(input_ids=ids).logits[0, :-1].log_softmax(-1)
        wanted = labels[1:] >= 0
        expected = -log_p[wanted].gather(1, labels[1:][wanted, None]).sum()
        np.testing.assert_allclose(score, expected.item(), rtol=1e-5)


def test_it_costs_about_a_third_of_the_probe(context, corridor_episodes):
    made, probed = context(), context()
    routed(LossRouter(), corridor_episodes, made)
    routed(PrismRouter(), corridor_episodes, probed)
    assert 0.3 < made.meter.spent.flops / probed.meter.spent.flops < 0.45
    assert made.meter.spent.prefill_tokens == probed.meter.spent.prefill_tokens


def test_scores_do_not_depend_on_the_order(context, corridor_episodes):
    forward = routed(LossRouter(), corridor_episodes, context()).scores
    backward = routed(LossRouter(), corridor_episodes[::-1], context()).scores
    np.testing.assert_allclose(forward, backward[::-1], rtol=1e-5)


def test_a_model_whose_projections_the_probe_does_not_know_will_do(context, corridor_episodes):
    made = context(architecture="gpt2")
    with pytest.raises(InputError, match="does not have the projections"):
        routed(PrismRouter(), corridor_episodes, made)
    assert PrismRouter.needs_projections and not LossRouter.needs_projections
    assert routed(LossRouter(), corridor_episodes, made).identity["max_length"] == 256
