"""Mixed precision: products in bfloat16 beside weights in float32, in training, rollouts and the probe alike."""

import copy

import pytest
import torch
from peft import LoraConfig
from phase import Phase

from prism_bench.accounting.meter import Meter
from prism_bench.algorithms.grpo import GRPO
from prism_bench.algorithms.sft import SFT
from prism_bench.data.prompts import ActionPrompt
from prism_bench.data.rendering import Renderer
from prism_bench.models.policy import Policy, load_policy, save_policy, with_lora
from prism_bench.models.precision import multiply_in, product_dtype
from prism_bench.probe.gradients import gradient_norms
from prism_bench.probe.record import probe_identity
from prism_bench.rollouts.transformers_backend import TransformersBackend

pytestmark = pytest.mark.filterwarnings("ignore:You are using 'rollout_func'")

SFT_SETTINGS = {
    "learning_rate": 1e-5,
    "per_device_train_batch_size": 8,
    "max_steps": 4,
    "gradient_checkpointing": False,
}


@pytest.fixture
def saved(corridor_policy, tmp_path):
    save_policy(corridor_policy(), tmp_path / "policy")
    return tmp_path / "policy"


def mixed(saved) -> Policy:
    return load_policy(saved, autocast="bfloat16")


def test_products_are_rounded_and_weights_are_not(saved):
    plain, policy = load_policy(saved), mixed(saved)
    assert {weight.dtype for weight in policy.model.parameters()} == {torch.float32}
    assert (product_dtype(plain.model), product_dtype(policy.model)) == (torch.float32, torch.bfloat16)
    ids = torch.arange(3, 20)[None]
    exact, rounded = plain.model(ids).logits, policy.model(ids).logits
    assert not torch.equal(exact, rounded)
    torch.testing.assert_close(rounded, exact, atol=0.05 * float(exact.detach().std()), rtol=0.05, check_dtype=False)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(plain.model(ids).logits, rounded, atol=0, rtol=0)


def test_small_updates_of_all_weights_survive(saved, corridor, corridor_episodes, tmp_path):
    """A rate of 1e-5 moves no weight of bfloat16 that is as large as theirs; kept in float32, all move."""
    moved = {}
    for name, policy in {"bfloat16": load_policy(saved, dtype="bfloat16"), "mixed": mixed(saved)}.items():
        before = copy.deepcopy(policy.model.state_dict())
        Phase(policy, tmp_path, corridor).train(SFT(**SFT_SETTINGS), corridor_episodes)
        after = policy.model.state_dict()
        weight = "model.layers.0.mlp.up_proj.weight"
        moved[name] = float((before[weight] != after[weight]).float().mean())
    assert moved["bfloat16"] < 0.5 < 0.95 < moved["mixed"]


def test_rollouts_and_rl_run_in_it(saved, corridor, tmp_path):
    policy = mixed(saved)
    settings = {"learning_rate": 1e-4, "num_generations": 4, "per_device_train_batch_size": 8, "logging_steps": 1}
    phase = Phase(policy, tmp_path, corridor, name="rl")
    assert TransformersBackend(policy.model, 0).noise == 0.0  # rounding is too coarse for the bound
    phase.train(GRPO(max_steps=2, gradient_accumulation_steps=1, **settings), tasks=["1-4", "5-2"])
    assert len(phase.all_episodes) == 16 and len(phase.values("loss")) == 2


@pytest.mark.parametrize("lora", [False, True])
def test_the_probe_measures_it(saved, corridor_episodes, lora):
    norms = []
    for policy in (load_policy(saved), mixed(saved)):
        adapter = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules="all-linear") if lora else None
        policy = with_lora(policy, adapter)
        renderer = Renderer(policy.tokenizer, ActionPrompt(), 200)
        rendered = [renderer.render(episode) for episode in corridor_episodes[:6]]
        norms.append(gradient_norms(policy.model, rendered, tokens_per_batch=400, meter=Meter("route"))[0])
    assert not (norms[0] == norms[1]).all()
    assert probe_identity(policy.model, renderer).dtype == "bfloat16"  # so the scores do not pass for those in float32
    assert norms[1] == pytest.approx(norms[0], rel=0.1)


def test_a_saved_policy_is_an_ordinary_one(saved, tmp_path):
    policy = mixed(saved)
    save_policy(policy, tmp_path / "again")
    again = load_policy(tmp_path / "again")
    assert all(torch.equal(a, b) for a, b in zip(policy.model.parameters(), again.model.parameters(), strict=True))


def test_none_changes_nothing(corridor_policy):
    policy = corridor_policy()
    multiply_in(policy.model, None)
    assert "forward" not in vars(policy.model.base_model)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda_no_attention_plans_anew_for_every_shape(saved):
    load_policy(saved, device="cuda", autocast="bfloat16")
    assert not torch.backends.cuda.cudnn_sdp_enabled()
