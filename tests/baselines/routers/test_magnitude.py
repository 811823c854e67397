import numpy as np
import torch
from routed import routed

from baselines.routers.magnitude import MagnitudeRouter
from prism_bench.probe.projections import find_matrices
from prism_bench.routing.prism import PrismRouter


def test_scores_are_the_norm_of_the_gradient_that_autograd_gives(context, corridor_episodes):
    made = context()
    allocation = routed(MagnitudeRouter(tokens_per_batch=100), corridor_episodes, made)
    model = made.policy.model
    names = [matrix.name for layer in find_matrices(model) for matrix in layer]
    weights = [weight for name, weight in model.named_parameters() if any(part in name for part in names)]
    assert len(weights) == len(names)
    for score, episode in zip(allocation.scores, corridor_episodes, strict=True):
        rendered = made.renderer.render(episode)
        for weight in weights:
            weight.requires_grad_(True)
        with torch.enable_grad():
            loss = model(input_ids=torch.tensor([rendered.input_ids]), labels=torch.tensor([rendered.labels])).loss
            gradients = torch.autograd.grad(loss, weights)
        np.testing.assert_allclose(score, torch.cat([g.flatten() for g in gradients]).norm().item(), rtol=1e-4)
    assert allocation.stages[int(np.argmax(allocation.scores))] == "rl"


def test_it_costs_what_prism_costs_and_leaves_the_same_files(context, corridor_episodes, tmp_path):
    made, probed = context(), context()
    identity = routed(MagnitudeRouter(), corridor_episodes, made).identity
    assert identity["score"] == "magnitude"
    assert (tmp_path / "norms.parquet").exists() and (tmp_path / "gradients.png").exists()
    routed(PrismRouter(), corridor_episodes, probed)
    assert made.meter.spent.flops == probed.meter.spent.flops
