"""The formula against PyTorch's own counter, on real models with eager attention."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from prism_bench.accounting.flops import ModelShape, decode_flops, forward_flops, training_flops
from prism_bench.errors import InputError

TINY = {"num_hidden_layers": 2, "max_position_embeddings": 512, "attn_implementation": "eager"}
MODELS = {
    "llama": lambda: LlamaForCausalLM(
        LlamaConfig(hidden_size=64, intermediate_size=160, num_attention_heads=4, vocab_size=256, **TINY)
    ),
    "llama_grouped": lambda: LlamaForCausalLM(
        LlamaConfig(
            hidden_size=96,
            intermediate_size=256,
            num_attention_heads=6,
            num_key_value_heads=2,
            vocab_size=1000,
            tie_word_embeddings=True,
            **TINY,
        )
    ),
    "qwen2": lambda: Qwen2ForCausalLM(
        Qwen2Config(
            hidden_size=64,
            intermediate_size=128,
            num_attention_heads=4,
            num_key_value_heads=2,
            vocab_size=300,
            **TINY,
        )
    ),
    "phi3": lambda: Phi3ForCausalLM(
        Phi3Config(
            hidden_size=64,
            intermediate_size=128,
            num_attention_heads=4,
            num_key_value_heads=2,
            vocab_size=300,
            pad_token_id=0,
            **TINY,
        )
    ),
    "qwen3_wide_heads": lambda: Qwen3ForCausalLM(
        Qwen3Config(
            hidden_size=64,
            intermediate_size=128,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=32,
            vocab_size=300,
            **TINY,
        )
    ),
    "mistral_window": lambda: MistralForCausalLM(
        MistralConfig(
            hidden_size=64,
            intermediate_size=128,
            num_attention_heads=4,
            num_key_value_heads=1,
            sliding_window=16,
            vocab_size=300,
            **TINY,
        )
    ),
}
SHAPE = ModelShape(layers=3, hidden=8, intermediate=20, heads=4, kv_heads=2, head_dim=2, vocabulary=11)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Products this small only wait for each other on several threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    torch.manual_seed(0)
    return MODELS[request.param]()


def counted(run) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def ids(rows: int, tokens: int) -> torch.Tensor:
    return torch.randint(0, 200, (rows, tokens))


@pytest.mark.parametrize("tokens", [7, 150, 400])
def test_forward(model, tokens):
    batch = ids(2, tokens)
    expected = counted(lambda: model(input_ids=batch))
    assert forward_flops(ModelShape.from_config(model.config), [tokens, tokens]) == pytest.approx(expected, rel=0.05)


def test_forward_with_one_logit(model):
    batch = ids(1, 200)
    expected = counted(lambda: model(input_ids=batch, logits_to_keep=1))
    assert forward_flops(ModelShape.from_config(model.config), 200, logits=1) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(("context", "new"), [(120, 40), (300, 1)])
def test_forward_after_a_cached_context(model, context, new):
    with torch.no_grad():
        cache = model(input_ids=ids(1, context), use_cache=True).past_key_values
        expected = counted(lambda: model(input_ids=ids(1, new), past_key_values=cache, use_cache=True))
    shape = ModelShape.from_config(model.config)
    if shape.kv_heads == 1 and isinstance(model, MistralForCausalLM):
        context = model.config.sliding_window - 1  # its cache forgets what the window has left
    assert forward_flops(shape, new, context) == pytest.approx(expected, rel=0.05)


def test_generation_is_a_prefill_and_single_tokens():
    model = MODELS["qwen2"]()
    prompt, generated = 60, 25
    expected = counted(
        lambda: model.generate(
            ids(1, prompt), max_new_tokens=generated, min_new_tokens=generated, do_sample=False, pad_token_id=0
        )
    )
    shape = ModelShape.from_config(model.config)
    total = forward_flops(shape, prompt, logits=1) + decode_flops(shape, generated - 1, prompt)
    assert total == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("tokens", [20, 300])
def test_forward_and_backward(model, tokens):
    batch = ids(2, tokens)
    expected = counted(lambda: model(input_ids=batch, labels=batch).loss.backward())
    assert training_flops(ModelShape.from_config(model.config), [tokens] * 2) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("tokens", [10, 40, 200])
def test_norms_of_projection_gradients_cost_the_cheaper_of_two_forms(tokens):
    def counted_norm(*names: str) -> int:
        """Return the operations counted for the norms of projections that read the same input."""
        sizes = [SHAPE.projections()[name] for name in names]
        a, gradients = torch.ones(tokens, sizes[0][0]), [torch.ones(tokens, outputs) for _, outputs in sizes]
        return min(
            counted(lambda: [b.T @ a for b in gradients]), counted(lambda: [a @ a.T, *(b @ b.T for b in gradients)])
        )

    groups = [("q_proj", "k_proj", "v_proj"), ("o_proj",), ("gate_proj", "up_proj"), ("down_proj",)]
    expected = sum(counted_norm(*names) for names in groups) * SHAPE.layers
    without = training_flops(SHAPE, tokens, weights="adapters")  # SHAPE has none
    assert training_flops(SHAPE, tokens, weights="norms") - without == expected


@pytest.mark.parametrize(
    ("name", "targets"),
    [("qwen2", ["q_proj", "v_proj"]), ("qwen2", "all-linear"), ("phi3", ["qkv_proj", "gate_up_proj", "down_proj"])],
)
def test_adapters_only(name, targets):
    model = get_peft_model(MODELS[name](), LoraConfig(r=16, target_modules=targets, task_type="CAUSAL_LM"))
    model.enable_input_require_grads()  # as gradient checkpointing does: the first layer's inputs have gradients too
    shape = ModelShape.from_config(model.config, lora_rank=16, lora_targets=targets)
    batch = ids(1, 200)
    forward = counted(lambda: model(input_ids=batch))
    assert forward_flops(shape, 200) == pytest.approx(forward, rel=0.05)
    expected = counted(lambda: model(input_ids=batch, labels=batch).loss.backward())
    assert training_flops(shape, 200, weights="adapters") == pytest.approx(expected, rel=0.05)


def test_gradient_checkpointing_computes_the_layers_again():
    model = MODELS["llama"]()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    batch = ids(1, 200)
    expected = counted(lambda: model(input_ids=batch, labels=batch).loss.backward())
    total = training_flops(ModelShape.from_config(model.config), 200, checkpointing=True)
    assert total == pytest.approx(expected, rel=0.05)


def test_eight_billion_parameters_cost_what_the_rule_of_thumb_says():
    config = Qwen3Config(
        hidden_size=4096,
        intermediate_size=12288,
        num_hidden_layers=36,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=128,
        vocab_size=151936,
    )
    # 8.19 B parameters, of which 0.62 B are the input embedding that no product touches; short context
    assert forward_flops(ModelShape.from_config(config), 10) == pytest.approx(2 * 7.57e9 * 10, rel=0.01)


lengths = st.lists(st.integers(0, 4000), min_size=1, max_size=30)


@given(lengths, st.integers(0, 4000))
def test_sequences_add_up(new, context):
    assert forward_flops(SHAPE, new, context) == sum(forward_flops(SHAPE, length, context) for length in new)
    assert decode_flops(SHAPE, new, context) == sum(decode_flops(SHAPE, length, context) for length in new)
    assert training_flops(SHAPE, np.array(new)) == sum(training_flops(SHAPE, length) for length in new)


@given(st.integers(0, 60), st.integers(0, 500))
def test_decoding_is_a_sum_of_single_tokens(new, context):
    singles = forward_flops(SHAPE, [1] * new, [context + position for position in range(new)]) if new else 0
    assert decode_flops(SHAPE, new, context) == singles


@given(st.integers(1, 4000))
def test_training_everything_is_three_forwards(tokens):
    assert training_flops(SHAPE, tokens) == 3 * forward_flops(SHAPE, tokens)


def test_totals_do_not_overflow():
    shape = ModelShape.from_config(LlamaConfig(hidden_size=8192, num_hidden_layers=80, intermediate_size=28672))
    assert training_flops(shape, [8192] * 200_000) > 2**63


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (SimpleNamespace(model_type="gpt2", n_embd=8), "lacks num_hidden_layers"),
        (SimpleNamespace(model_type="mixtral", num_local_experts=8), "mixtures of experts"),
    ],
)
def test_other_architectures_are_refused(config, reason):
    with pytest.raises(InputError, match=reason):
        ModelShape.from_config(config)


def test_unknown_adapter_targets_are_refused():
    with pytest.raises(InputError, match="lm_head"):
        ModelShape.from_config(LlamaConfig(), lora_rank=8, lora_targets=["q_proj", "lm_head"])


def test_negative_lengths_are_refused():
    with pytest.raises(ValueError, match="-3 tokens"):
        forward_flops(SHAPE, [5, -3])
