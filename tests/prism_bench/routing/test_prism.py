import numpy as np
import pytest
from routed import routed

from prism_bench.accounting.meter import Meter
from prism_bench.models.policy import weights_digest
from prism_bench.probe.concentration import concentration
from prism_bench.probe.gradients import gradient_norms
from prism_bench.probe.norms import load_probe
from prism_bench.routing import gradients
from prism_bench.routing.prism import PrismRouter


@pytest.mark.parametrize("kind", ["gini", "cv", "kurtosis"])
def test_scores_are_the_concentration_of_the_gradient_norms(context, corridor_episodes, tmp_path, kind):
    made = context()
    allocation = routed(PrismRouter(concentration=kind), corridor_episodes, made)
    rendered = [made.renderer.render(episode) for episode in corridor_episodes]
    norms, _ = gradient_norms(made.policy.model, rendered, tokens_per_batch=64, meter=Meter("route"))
    np.testing.assert_allclose(allocation.scores, concentration(norms, kind), rtol=1e-4)
    np.testing.assert_allclose(load_probe(tmp_path / "norms.parquet").norms, norms, rtol=1e-4)
    assert (tmp_path / "gradients.png").read_bytes().startswith(b"\x89PNG")
    assert len(allocation.indices("sft")) == len(corridor_episodes) // 2
    most = int(np.argmax(allocation.scores))
    assert allocation.stages[most] == "rl"


def test_the_identity_names_all_that_the_scores_depend_on(context, corridor_episodes):
    made = context()
    identity = routed(PrismRouter(), corridor_episodes, made).identity
    assert identity["checkpoint"] == weights_digest(made.policy.model)
    assert identity["score"] == "gini"
    assert identity["prompt"] == "ActionPrompt(list_admissible=False, last_turns=None)"
    assert identity["max_length"] == 256
    assert identity["matrices"][0] == "layers.0.self_attn.q_proj"
    other = routed(PrismRouter(), corridor_episodes, context(initializer_range=0.1)).identity
    assert other["checkpoint"] != identity["checkpoint"]


def test_the_probe_is_billed_and_changes_nothing(context, corridor_episodes):
    made = context()
    before = weights_digest(made.policy.model)
    routed(PrismRouter(), corridor_episodes, made)
    tokens = sum(len(made.renderer.render(episode).input_ids) for episode in corridor_episodes)
    assert made.meter.spent.prefill_tokens == tokens
    assert made.meter.spent.flops > 0
    assert weights_digest(made.policy.model) == before
    assert all(parameter.grad is None for parameter in made.policy.model.parameters())


def test_the_norms_are_read_once(context, corridor_episodes, monkeypatch):
    read = []
    monkeypatch.setattr(gradients, "load_probe", lambda path: read.append(path) or load_probe(path))
    routed(PrismRouter(), corridor_episodes, context())
    assert len(read) == 1
