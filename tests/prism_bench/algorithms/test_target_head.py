"""The head at targets only against TRL's own, and its bill against PyTorch's counter of operations."""

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.utils.flop_counter import FlopCounterMode
from trl.trainer.utils import add_fused_lm_head

from prism_bench.accounting.meter import Meter
from prism_bench.algorithms.target_head import add_target_head, remove_target_head
from prism_bench.data.rendering import IGNORED

OUTPUTS = ("log_probs", "entropy", "is_top1")
SIZES = {"hidden_size": 64, "intermediate_size": 160, "head_dim": 16, "vocab_size": 500, "attn_implementation": "eager"}


def batch(vocabulary: int, rows: int = 3, width: int = 20) -> dict[str, torch.Tensor]:
    """Return sequences of which a third are targets, padded on the right."""
    random = torch.Generator().manual_seed(rows)
    ids = torch.randint(vocabulary, (rows, width), generator=random)
    lengths = torch.randint(width // 2, width + 1, (rows, 1), generator=random)
    mask = (torch.arange(width) < lengths).long()
    targets = (torch.rand(rows, width, generator=random) < 0.3) & (mask == 1)
    return {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(~targets, IGNORED)}


def with_heads(model, meter=None, **options):
    """Return the model with TRL's fused head, and a copy of it with ours."""
    ours = copy.deepcopy(model)
    for each in (model, ours):
        add_fused_lm_head(each, temperature=options.get("temperature", 1.0), outputs=OUTPUTS)
    add_target_head(ours, meter or Meter("sft"), **options)
    return model, ours


@pytest.mark.parametrize(
    ("architecture", "temperature", "entropy_gradient"),
    [("llama", 1.0, False), ("llama", 0.7, True), ("qwen2", 1.0, True), ("gemma2", 1.0, True)],
)
def test_numbers_and_gradients_are_those_of_trl(tiny_model, architecture, temperature, entropy_gradient):
    pair = with_heads(tiny_model(architecture), temperature=temperature, entropy_gradient=entropy_gradient)
    found = []
    for model in pair:
        output = model(**batch(40), fused_lm_head=True)
        loss = output.log_probs.sum() + (0.5 * output.entropy.sum() if entropy_gradient else 0)
        loss.backward()
        found.append(
            [getattr(output, name).detach() for name in (*OUTPUTS, "label_mask")]
            + [weight.grad for weight in model.parameters()]
        )
    for expected, actual in zip(*found, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


def test_without_the_keyword_the_forward_pass_is_the_models_own_and_afterwards_always(tiny_model):
    reference, model = tiny_model(), with_heads(tiny_model())[1]
    inputs = batch(40)
    torch.testing.assert_close(model(**inputs).loss, reference(**inputs).loss)
    remove_target_head(model)
    assert "forward" not in vars(model)


def counted(run) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("gradient", [False, True])
def test_the_bill_is_what_was_executed(tiny_model, lora, checkpointing, gradient):
    model, meter = tiny_model(**SIZES), Meter("sft")
    outer = (
        get_peft_model(model, LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM")) if lora else model
    )
    if lora:
        outer.enable_input_require_grads()  # as gradient checkpointing does
    if checkpointing and gradient:
        outer.gradient_checkpointing_enable({"use_reentrant": False})
        outer.train()
    add_fused_lm_head(model)
    add_target_head(outer, meter)
    inputs = batch(500, rows=2, width=150)

    def run() -> None:
        with torch.set_grad_enabled(gradient):
            log_probs = outer(**inputs, fused_lm_head=True).log_probs
        if gradient:
            log_probs.sum().backward()

    expected = counted(run)
    assert meter.spent.flops == pytest.approx(expected, rel=0.05)
    tokens = int(inputs["attention_mask"].sum())
    spent = meter.spent
    assert (spent.trained_tokens, spent.prefill_tokens) == ((tokens, 0) if gradient else (0, tokens))


def test_a_disabled_adapter_is_not_billed(tiny_model):
    meters = {}
    for rank in (8, 64):
        model = tiny_model(**SIZES)
        outer = get_peft_model(model, LoraConfig(r=rank, target_modules="all-linear", task_type="CAUSAL_LM"))
        meters[rank] = Meter("rl")
        add_fused_lm_head(model)
        add_target_head(outer, meters[rank])
        with torch.no_grad(), outer.disable_adapter():
            outer(**batch(500), fused_lm_head=True)
    assert meters[8].spent.flops == meters[64].spent.flops > 0
