"""The probe against autograd's parameter gradients, and concentration against its definitions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from prism_bench import probe
from prism_bench.flops import PROJECTIONS, UnsupportedModelError
from prism_bench.ledger import Meter
from prism_bench.prompts import ActionPrompt
from prism_bench.rendering import IGNORED, Rendered

MODELS = {
    "llama": {},
    "llama tied": {"architecture": "llama", "tie_word_embeddings": True},
    "llama eager": {"architecture": "llama", "attn_implementation": "eager"},
    "qwen2": {},
    "qwen3": {"head_dim": 16},
    "mistral": {"sliding_window": 12},
    "one key-value head": {"architecture": "llama", "num_key_value_heads": 1},
    "llama lora": {"architecture": "llama", "lora": ("q_proj", "v_proj", "down_proj")},
    "qwen3 lora everywhere": {"architecture": "qwen3", "lora": PROJECTIONS},
}


def episode(length: int, seed: int, target_share: float = 0.4) -> Rendered:
    """Random tokens; some of them, at least the last, are the agent's."""
    rng = np.random.default_rng([length, seed])
    ids = rng.integers(0, 40, size=length).tolist()
    chosen = [False, *(rng.random(length - 2) < target_share), True]
    return Rendered(ids, [token if target else IGNORED for token, target in zip(ids, chosen, strict=True)], 1)


# Not two tokens: with one token of context attention has nothing to choose, and q and k a gradient of mere rounding.
EPISODES = [episode(length, seed) for seed, length in enumerate((3, 3, 7, 8, 15, 31, 40, 70))]


def reference(model, rendered: Rendered) -> tuple[np.ndarray, float]:
    """Norms (layers, 7) and loss of one trajectory, from parameter gradients in double precision."""
    bare = model.get_base_model() if hasattr(model, "get_base_model") else model
    weights = []
    for layer in bare.model.layers:
        for name in PROJECTIONS:
            projection = getattr(layer.self_attn if name[0] in "qkvo" else layer.mlp, name)
            weights.append(getattr(projection, "base_layer", projection).weight)
    flags = [weight.requires_grad for weight in weights]
    model.eval().double()
    for weight in weights:
        weight.requires_grad_(True)
    logits = model(input_ids=torch.tensor([rendered.input_ids])).logits[0, :-1]
    loss = cross_entropy(logits, torch.tensor(rendered.labels[1:]), ignore_index=IGNORED)
    gradients = torch.autograd.grad(loss, weights)
    model.float()
    for weight, flag in zip(weights, flags, strict=True):
        weight.requires_grad_(flag)
    return np.array([gradient.norm().item() for gradient in gradients]).reshape(-1, 7), loss.item()


def norms_of(model, episodes, tokens_per_batch=200):
    return probe.gradient_norms(model, episodes, tokens_per_batch=tokens_per_batch, meter=Meter("route"))


@pytest.mark.parametrize("name", MODELS)
def test_norms_and_losses_equal_those_of_parameter_gradients(tiny_model, name):
    model = tiny_model(**{"architecture": name} | MODELS[name])
    norms, losses = norms_of(model, EPISODES)
    expected = [reference(model, rendered) for rendered in EPISODES]
    np.testing.assert_allclose(norms, [pair[0] for pair in expected], rtol=1e-5)
    np.testing.assert_allclose(losses, [pair[1] for pair in expected], rtol=1e-5)
    np.testing.assert_allclose(
        probe.mean_losses(model, EPISODES, tokens_per_batch=200, meter=Meter("route")), losses, rtol=1e-5
    )


@settings(max_examples=20, deadline=None)
@given(order=st.permutations(range(len(EPISODES))), count=st.integers(1, 8), tokens_per_batch=st.integers(1, 800))
def test_batching_and_order_change_nothing(tiny_model, order, count, tokens_per_batch):
    model = tiny_model("qwen3")
    chosen = order[:count]
    norms, losses = norms_of(model, [EPISODES[number] for number in chosen], tokens_per_batch)
    alone, losses_alone = norms_of(model, EPISODES, tokens_per_batch=1)
    np.testing.assert_allclose(norms, alone[chosen], rtol=1e-5)
    np.testing.assert_allclose(losses, losses_alone[chosen], rtol=1e-5)


@given(rows=st.integers(1, 3), length=st.integers(1, 30), inputs=st.integers(1, 30), outputs=st.integers(1, 30))
def test_both_forms_of_the_norm_are_equal(rows, length, inputs, outputs):
    generator = torch.Generator().manual_seed(rows * length * inputs * outputs)
    activations = torch.randn(rows, length, inputs, generator=generator)
    gradients = torch.randn(rows, length, outputs, generator=generator)
    expected = torch.einsum("bto,bti->boi", gradients.double(), activations.double()).square().sum(dim=(1, 2))
    torch.testing.assert_close(probe.squared_norms(activations, gradients), expected, rtol=1e-4, atol=1e-6)


def state(model):
    """Everything the probe must leave as it was."""
    return (
        {name: weight.clone() for name, weight in model.state_dict().items()},
        [parameter.requires_grad for parameter in model.parameters()],
        [None if parameter.grad is None else parameter.grad.clone() for parameter in model.parameters()],
        [module.training for module in model.modules()],
        [len(module._forward_hooks) for module in model.modules()],
        torch.get_rng_state(),
        np.random.get_state()[1],
        torch.is_grad_enabled(),
    )


@pytest.mark.parametrize("lora", [(), ("q_proj",)], ids=["bare", "lora"])
@pytest.mark.parametrize("failing", [False, True], ids=["succeeds", "raises"])
def test_the_model_is_left_as_it_was(tiny_model, lora, failing, monkeypatch):
    model = tiny_model(attention_dropout=0.5, lora=lora).train()
    next(model.parameters()).requires_grad_(False)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad][-1]
    trained.grad = torch.ones_like(trained)
    list(model.modules())[5].eval()
    before = state(model)
    if failing:
        monkeypatch.setattr(probe, "squared_norms", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            norms_of(model, EPISODES)
    else:
        norms_of(model, EPISODES)
    probe.mean_losses(model, EPISODES, tokens_per_batch=100, meter=Meter("route"))
    torch.testing.assert_close(state(model), before, rtol=0, atol=0)


def test_gradient_checkpointing_and_dropout_do_not_take_part(tiny_model):
    plain, _ = norms_of(tiny_model(), EPISODES)
    model = tiny_model(attention_dropout=0.5).train()
    model.gradient_checkpointing_enable()
    np.testing.assert_array_equal(norms_of(model, EPISODES)[0], plain)
    assert model.is_gradient_checkpointing


def test_bfloat16_is_close(tiny_model):
    exact, _ = norms_of(tiny_model(), EPISODES)
    rounded, _ = norms_of(tiny_model().bfloat16(), EPISODES)
    np.testing.assert_allclose(rounded, exact, rtol=0.1)


@pytest.mark.parametrize("lengths", [[8], [8, 8, 8], [40], [70], [200], [8, 200]], ids=str)
def test_the_bill_counts_what_pytorch_counts(tiny_model, lengths):
    """Short trajectories take one form of the norm, long ones the other, those between both."""
    model = tiny_model(attn_implementation="eager", hidden_size=128, head_dim=32, intermediate_size=320)
    meter = Meter("route")
    with FlopCounterMode(display=False) as counter:
        probe.gradient_norms(model, [episode(length, 0) for length in lengths], tokens_per_batch=200, meter=meter)
    assert meter.spent.prefill_tokens == sum(lengths)
    assert meter.spent.flops == pytest.approx(counter.get_total_flops(), rel=0.001)


def test_losses_alone_cost_less_than_half(tiny_model):
    model = tiny_model()
    meter, cheap = Meter("route"), Meter("route")
    probe.gradient_norms(model, [episode(70, 0)], tokens_per_batch=100, meter=meter)
    probe.mean_losses(model, [episode(70, 0)], tokens_per_batch=100, meter=cheap)
    assert cheap.spent.flops < 0.4 * meter.spent.flops


def test_progress_reaches_the_number_of_episodes(tiny_model):
    seen: list[int] = []
    probe.gradient_norms(tiny_model(), EPISODES, tokens_per_batch=60, meter=Meter("route"), progress=seen.append)
    assert seen == sorted(seen) and seen[-1] == len(EPISODES) and len(seen) > 2


def test_a_model_with_other_projections_is_refused(tiny_model):
    with pytest.raises(probe.ProbeError, match=r"GPTNeoX\w+ does not have the projections q_proj.*query_key_value"):
        norms_of(tiny_model("gpt_neox"), EPISODES)
    with pytest.raises(UnsupportedModelError, match="final_logit_softcapping"):
        norms_of(tiny_model("gemma2", final_logit_softcapping=30.0), EPISODES)


def test_a_loss_that_is_no_number_is_refused(tiny_model):
    model = tiny_model()
    model.lm_head.weight.data[7] = torch.inf
    with pytest.raises(probe.ProbeError, match="not a finite number"):
        norms_of(model, EPISODES)


def test_identity_tells_models_apart_and_lora_names_as_the_bare_model_does(tiny_model):
    def identity(model, length=256):
        return probe.probe_identity(model, ActionPrompt(), length)

    assert identity(tiny_model()) == identity(tiny_model())
    assert identity(tiny_model()) != identity(tiny_model(seed=1))
    assert identity(tiny_model()) != identity(tiny_model(), 128)
    assert identity(tiny_model()).matrices == identity(tiny_model(lora=("q_proj",))).matrices
    assert len(identity(tiny_model()).matrices) == 14
    assert identity(tiny_model()).dtype == "float32"


VECTORS = st.lists(st.floats(0.0, 1e3).filter(lambda value: value == 0 or value > 1e-3), min_size=2, max_size=20)


@given(VECTORS)
def test_gini_is_the_mean_absolute_difference_over_twice_the_mean(values):
    row = np.array(values)
    expected = np.abs(row[:, None] - row).mean() / (2 * row.mean()) if row.any() else 0.0
    assert probe.concentration(row[None], "gini")[0] == pytest.approx(expected, abs=1e-9)


@given(VECTORS)
def test_cv_and_kurtosis_are_those_of_scipy(values):
    row = np.array(values)
    if np.ptp(row) <= 1e-3 * row.mean():
        return  # scipy calls these degenerate
    assert probe.concentration(row[None], "cv")[0] == pytest.approx(stats.variation(row), rel=1e-9)
    assert probe.concentration(row[None], "kurtosis")[0] == pytest.approx(stats.kurtosis(row), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("kind", ["gini", "cv", "kurtosis"])
def test_concentration_of_even_rows_is_zero_and_scale_does_not_matter(kind):
    assert probe.concentration(np.array([[3.3, 3.3, 3.3], [0.0, 0.0, 0.0]]), kind) == pytest.approx(0.0, abs=1e-12)
    norms = np.random.default_rng(0).random((5, 2, 7))
    np.testing.assert_allclose(probe.concentration(norms, kind), probe.concentration(1e-6 * norms, kind), rtol=1e-9)
    peaked = np.concatenate([np.full((1, 13), 1.0), [[20.0]]], axis=1)
    spread = np.linspace(1, 2, 14)[None]
    assert probe.concentration(peaked, kind) > probe.concentration(spread, kind)


def test_unknown_concentration_is_refused():
    with pytest.raises(ValueError, match=r"router\.concentration='entropy' is unknown; choose gini, cv or kurtosis"):
        probe.concentration(np.ones((1, 7)), "entropy")
