"""The probe against autograd's parameter gradients."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from prism_bench.accounting.flops import FUSED_PROJECTIONS, PROJECTIONS
from prism_bench.accounting.meter import Meter
from prism_bench.data.rendering import IGNORED, Rendered
from prism_bench.errors import InputError
from prism_bench.probe import gradients

MODELS = {
    "llama": {},
    "llama tied": {"architecture": "llama", "tie_word_embeddings": True},
    "llama eager": {"architecture": "llama", "attn_implementation": "eager"},
    "qwen2": {},
    "qwen3": {"head_dim": 16},
    "mistral": {"sliding_window": 12},
    "gemma": {},
    "gemma2": {"final_logit_softcapping": 3.0, "attn_implementation": "eager", "sliding_window": 12},
    "gemma3_text": {"sliding_window": 12},
    "phi3": {},
    "one key-value head": {"architecture": "llama", "num_key_value_heads": 1},
    "llama lora": {"architecture": "llama", "lora": ("q_proj", "v_proj", "down_proj")},
    "qwen3 lora everywhere": {"architecture": "qwen3", "lora": PROJECTIONS},
    "phi3 lora": {"architecture": "phi3", "lora": ("qkv_proj", "o_proj", "gate_up_proj")},
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
    query, key = 4 * bare.config.head_dim, bare.config.num_key_value_heads * bare.config.head_dim
    rows = {"qkv_proj": (query, key, key), "gate_up_proj": (48, 48)}  # of Phi-3's fused matrices
    weights, parts = [], []
    for layer in bare.model.layers:
        fused = [name for name in FUSED_PROJECTIONS if hasattr(layer.self_attn, name) or hasattr(layer.mlp, name)]
        for name in ("qkv_proj", "o_proj", "gate_up_proj", "down_proj") if fused else PROJECTIONS:
            projection = getattr(layer.self_attn if name[0] in "qkvo" else layer.mlp, name)
            weights.append(getattr(projection, "base_layer", projection).weight)
            parts.append(rows.get(name, (weights[-1].shape[0],)))
    flags = [weight.requires_grad for weight in weights]
    model.eval().double()
    for weight in weights:
        weight.requires_grad_(True)
    loss = torch.zeros((), dtype=torch.float64)
    for ids, labels in rendered.contexts:
        logits = model(input_ids=torch.tensor([ids])).logits[0, :-1]
        loss += cross_entropy(logits, torch.tensor(labels[1:]), ignore_index=IGNORED, reduction="sum")
    loss /= rendered.agent_tokens
    found = torch.autograd.grad(loss, weights)
    model.float()
    for weight, flag in zip(weights, flags, strict=True):
        weight.requires_grad_(flag)
    norms = [part.norm().item() for whole, sizes in zip(found, parts, strict=True) for part in whole.split(sizes)]
    return np.array(norms).reshape(-1, 7), loss.item()


def in_contexts(rendered: Rendered, *starts: int) -> Rendered:
    """Return the tokens as several contexts, the first token of each being no target."""
    labels = [IGNORED if place in starts else label for place, label in enumerate(rendered.labels)]
    return replace(rendered, labels=labels, starts=(0, *starts))


def norms_of(model, episodes, tokens_per_batch=200, **options):
    meter = Meter("route")
    return gradients.gradient_norms(model, episodes, tokens_per_batch=tokens_per_batch, meter=meter, **options)


@pytest.mark.parametrize("name", MODELS)
def test_norms_and_losses_equal_those_of_parameter_gradients(tiny_model, name):
    model = tiny_model(**{"architecture": name} | MODELS[name])
    norms, losses = norms_of(model, EPISODES)
    expected = [reference(model, rendered) for rendered in EPISODES]
    np.testing.assert_allclose(norms, [pair[0] for pair in expected], rtol=1e-5)
    np.testing.assert_allclose(losses, [pair[1] for pair in expected], rtol=1e-5)
    np.testing.assert_allclose(
        gradients.mean_losses(model, EPISODES, tokens_per_batch=200, meter=Meter("route")), losses, rtol=1e-5
    )


@pytest.mark.parametrize("name", ["qwen3", "phi3", "gemma2", "qwen3 lora everywhere"])
def test_recomputed_layers_give_the_same_norms(tiny_model, name):
    model = tiny_model(**{"architecture": name} | MODELS[name])
    plain, _ = norms_of(model, EPISODES)
    np.testing.assert_allclose(norms_of(model, EPISODES, checkpointing=True)[0], plain, rtol=1e-5)


def test_recomputed_layers_keep_their_inputs_only(tiny_model):
    """When the backward pass begins, only the input of every layer is alive, not the input of each of its matrices."""
    model, alive = tiny_model(num_hidden_layers=6), {}
    for checkpointing in (False, True):
        watch = gradients._Watch(
            [matrix for layer in gradients.find_matrices(model) for matrix in layer], checkpointing
        )
        inner = gradients._checkpointed(model) if checkpointing else gradients.ExitStack()
        with gradients._frozen(model), inner, watch:
            losses = gradients._losses(model, EPISODES)
            alive[checkpointing] = sum(read.activations.numel() for read in set(watch.inputs.values()))
            assert losses.requires_grad
    assert alive[True] == 0 < alive[False]


@pytest.mark.slow
@given(
    order=st.permutations(range(len(EPISODES))),
    count=st.integers(1, 8),
    others=st.lists(st.tuples(st.integers(2, 80), st.integers(0, 9), st.floats(0, 1)), max_size=4),
    tokens_per_batch=st.integers(1, 800),
    checkpointing=st.booleans(),
)
def test_batching_order_padding_and_other_trajectories_change_nothing(
    tiny_model, order, count, others, tokens_per_batch, checkpointing
):
    model = tiny_model("qwen3")
    chosen = order[:count]
    together = [EPISODES[number] for number in chosen] + [episode(*other) for other in others]
    norms, losses = norms_of(model, together, tokens_per_batch, checkpointing=checkpointing)
    alone, losses_alone = norms_of(model, EPISODES, tokens_per_batch=1)
    np.testing.assert_allclose(norms[:count], alone[chosen], rtol=1e-5)
    np.testing.assert_allclose(losses[:count], losses_alone[chosen], rtol=1e-5)


@given(
    rows=st.integers(1, 3),
    length=st.integers(1, 30),
    inputs=st.integers(1, 30),
    outputs=st.integers(1, 30),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
)
def test_both_forms_of_the_norm_sum_exact_products_in_float32(rows, length, inputs, outputs, dtype):
    generator = torch.Generator().manual_seed(rows * length * inputs * outputs)
    activations = torch.randn(rows, length, inputs, generator=generator).to(dtype)
    gradient = torch.randn(rows, length, outputs, generator=generator).to(dtype)
    expected = torch.einsum("bto,bti->boi", gradient.double(), activations.double()).square().sum(dim=(1, 2))
    gram = gradients._product(activations, activations.transpose(1, 2))
    for found in (
        gradients._squared_norms(activations, gradient),
        gradients._squared_norms_by_gram(gram, gradient),
    ):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_large_gradients_are_formed_a_few_at_a_time(tiny_model, monkeypatch):
    plain, _ = norms_of(tiny_model(), EPISODES)
    monkeypatch.setattr(gradients, "PRODUCT_BYTES", 10_000)
    formed = []
    product = gradients._product
    monkeypatch.setattr(gradients, "_product", lambda a, b: formed.append(product(a, b)) or formed[-1])
    np.testing.assert_array_equal(norms_of(tiny_model(), EPISODES)[0], plain)
    assert any(made.numel() * 4 > 5_000 for made in formed)
    assert all(len(made) == 1 for made in formed if made.shape[1:] == (32, 48))


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
        monkeypatch.setattr(gradients, "_product", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            norms_of(model, EPISODES)
    else:
        norms_of(model, EPISODES)
        norms_of(model, EPISODES, checkpointing=True)
    gradients.mean_losses(model, EPISODES, tokens_per_batch=100, meter=Meter("route"))
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
        gradients.gradient_norms(model, [episode(length, 0) for length in lengths], tokens_per_batch=200, meter=meter)
    assert meter.spent.prefill_tokens == sum(lengths)
    assert meter.spent.flops == pytest.approx(counter.get_total_flops(), rel=0.001)


def test_losses_alone_cost_less_than_half(tiny_model):
    model = tiny_model()
    meter, cheap = Meter("route"), Meter("route")
    gradients.gradient_norms(model, [episode(70, 0)], tokens_per_batch=100, meter=meter)
    gradients.mean_losses(model, [episode(70, 0)], tokens_per_batch=100, meter=cheap)
    assert cheap.spent.flops < 0.4 * meter.spent.flops


def test_batches_are_reported_as_they_are_done(tiny_model):
    seen = []
    norms, losses = norms_of(tiny_model(), EPISODES, 60, on_batch=lambda *batch: seen.append(batch))
    assert [number for numbers, _, _ in seen for number in numbers] == list(range(len(EPISODES))) and len(seen) > 2
    np.testing.assert_array_equal(np.concatenate([batch[1] for batch in seen]), norms)
    np.testing.assert_array_equal(np.concatenate([batch[2] for batch in seen]), losses)


def test_logits_that_are_changed_in_unknown_ways_are_refused(tiny_model):
    with pytest.raises(InputError, match="logit_scale"):
        norms_of(tiny_model("cohere"), EPISODES)


def test_a_loss_that_is_no_number_is_refused(tiny_model):
    model = tiny_model()
    model.lm_head.weight.data[7] = torch.inf
    with pytest.raises(InputError, match="not a finite number"):
        norms_of(model, EPISODES)


@pytest.mark.parametrize("name", MODELS)
def test_contexts_in_a_row_do_not_read_each_other(tiny_model, name):
    model = tiny_model(**{"architecture": name} | MODELS[name])
    episodes = [in_contexts(EPISODES[-1], 11, 40), EPISODES[2], in_contexts(EPISODES[-2], 20)]
    for checkpointing in (False, True):
        norms, losses = norms_of(model, episodes, checkpointing=checkpointing)
        for rendered, found, loss in zip(episodes, norms, losses, strict=True):
            expected, expected_loss = reference(model, rendered)
            np.testing.assert_allclose(found, expected, rtol=1e-5)
            assert loss == pytest.approx(expected_loss, rel=1e-5)
    scored = gradients.mean_losses(model, episodes, tokens_per_batch=200, meter=Meter("route"))
    np.testing.assert_allclose(scored, losses, rtol=1e-5)
