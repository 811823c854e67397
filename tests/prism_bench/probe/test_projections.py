"""The matrices that are found, and the message where one is missing."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from prism_bench.accounting.flops import PROJECTIONS
from prism_bench.accounting.meter import Meter
from prism_bench.data.rendering import Rendered
from prism_bench.errors import InputError
from prism_bench.probe.gradients import gradient_norms
from prism_bench.probe.projections import find_matrices


def names(model, chosen=None):
    return [[matrix.name.rpartition(".")[2] for matrix in layer] for layer in find_matrices(model, chosen)]


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3", "mistral", "gemma", "gemma2"])
def test_seven_of_every_layer_in_the_order_of_their_names(tiny_model, architecture):
    assert names(tiny_model(architecture, num_hidden_layers=3)) == [list(PROJECTIONS)] * 3


def test_fused_matrices_count_as_their_parts(tiny_model):
    layer = find_matrices(tiny_model("phi3"))[0]
    assert [matrix.name.rpartition("[")[2].rstrip("]").rpartition(".")[2] for matrix in layer] == list(PROJECTIONS)
    sizes = {matrix.name: (matrix.start, matrix.stop) for matrix in layer}
    assert list(sizes.values()) == [(0, 32), (32, 48), (48, 64), (0, 32), (0, 48), (48, 96), (0, 32)]
    half_fused = find_matrices(tiny_model("glm", pad_token_id=0, head_dim=8))[0]
    assert [(matrix.start, matrix.stop) for matrix in half_fused[4:6]] == [(0, 48), (48, 96)]


def test_more_than_ten_layers_stand_in_order(tiny_model):
    layers = find_matrices(tiny_model(num_hidden_layers=12))
    assert [layer[0].name for layer in layers] == [f"layers.{number}.self_attn.q_proj" for number in range(12)]


def test_of_an_adapted_layer_the_frozen_base_is_found_under_its_own_name(tiny_model):
    adapted = find_matrices(tiny_model(lora=("q_proj", "down_proj")))
    assert names(tiny_model(lora=("q_proj", "down_proj"))) == [list(PROJECTIONS)] * 2
    assert all(isinstance(matrix.module, torch.nn.Linear) for layer in adapted for matrix in layer)


def test_other_linear_layers_can_be_named(tiny_model):
    """A model without the seven, against the parameter gradients of the named layers."""
    model, chosen = tiny_model("gpt_neox"), ["dense_h_to_4h", "query_key_value"]
    ids = list(range(9))
    norms, _ = gradient_norms(model, [Rendered(ids, ids, 1)], tokens_per_batch=20, meter=Meter("route"), names=chosen)
    logits = model(input_ids=torch.tensor([ids])).logits[0, :-1]
    cross_entropy(logits, torch.tensor(ids[1:])).backward()
    expected = [
        [layer.mlp.dense_h_to_4h.weight.grad.norm().item(), layer.attention.query_key_value.weight.grad.norm().item()]
        for layer in model.gpt_neox.layers
    ]
    np.testing.assert_allclose(norms[0], expected, rtol=1e-5)


def test_a_model_without_them_is_refused_with_the_names_that_it_has(tiny_model):
    with pytest.raises(InputError) as refusal:
        find_matrices(tiny_model("gpt_neox"))
    assert str(refusal.value) == (
        "GPTNeoXForCausalLM does not have the projections q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, "
        "down_proj in every layer; its linear layers are called dense, dense_4h_to_h, dense_h_to_4h, query_key_value: "
        "name those to probe with model.projections=[NAME,NAME]"
    )
    with pytest.raises(InputError, match=r"does not have the projections wq in every layer; .* called down_proj, "):
        find_matrices(tiny_model(lora=("q_proj",)), ["wq"])
