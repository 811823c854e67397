"""A few real steps of TRL's SFTTrainer on a tiny policy."""

import numpy as np
import pytest
import torch
from peft import LoraConfig
from trl.trainer.sft_trainer import SFTTrainer

from prism_bench.accounting.flops import ModelShape, training_flops
from prism_bench.accounting.ledger import Meter
from prism_bench.algorithms.callbacks import ReportingCallback
from prism_bench.algorithms.settings import SFTSettings
from prism_bench.algorithms.sft import EpisodeSFTTrainer, imitate
from prism_bench.data.prompts import ActionPrompt
from prism_bench.data.rendering import IGNORED, Rendered, Renderer
from prism_bench.errors import InputError
from prism_bench.models.policy import weights_digest, with_lora
from prism_bench.probe.gradients import mean_losses

OFTEN = {"logging_steps": 1}


class Spy:
    """Collects what the trainer reports."""

    def __init__(self) -> None:
        self.logged: list[dict[str, float]] = []
        self.progress: list[tuple[int, int]] = []
        self.report = ReportingCallback(
            "sft", lambda values, step: self.logged.append(dict(values)), lambda *done: self.progress.append(done)
        )

    def values(self, name: str) -> list[float]:
        return [values[name] for values in self.logged if name in values]


@pytest.fixture
def rendered(corridor_policy, corridor_episodes):
    renderer = Renderer(corridor_policy().tokenizer, ActionPrompt(), max_length=256)
    return [renderer.render(episode) for episode in corridor_episodes]


def train(policy, episodes, tmp_path, *, seed=0, meter=None, **settings):
    spy = Spy()
    values = {
        "learning_rate": 3e-3,
        "batch_size": 8,
        "warmup": 0.0,
        "schedule": "constant",
        "options": OFTEN,
    } | settings
    meter = meter or Meter("sft")
    imitate(policy, episodes, SFTSettings(**values), seed=seed, folder=tmp_path, meter=meter, report=spy.report)
    return spy


def agent_loss(policy, episodes) -> float:
    return float(mean_losses(policy.model, episodes, tokens_per_batch=4000, meter=Meter("eval")).mean())


def context_loss(policy, episodes) -> float:
    """Mean loss over the tokens that the environment wrote."""
    flipped = [
        Rendered(
            e.input_ids, [i if label == IGNORED else IGNORED for i, label in zip(e.input_ids, e.labels, strict=True)], 1
        )
        for e in episodes
    ]
    return agent_loss(policy, [Rendered(e.input_ids, [IGNORED, *e.labels[1:]], 1) for e in flipped])


def test_the_agents_tokens_become_probable_and_the_environments_do_not(corridor_policy, rendered, tmp_path):
    policy = corridor_policy()
    before, context_before = agent_loss(policy, rendered), context_loss(policy, rendered)
    spy = train(policy, rendered, tmp_path, epochs=8)
    assert agent_loss(policy, rendered) < 0.3 * before
    assert context_loss(policy, rendered) > 0.9 * context_before
    losses = spy.values("sft/loss")
    assert losses[-1] < 0.3 * losses[0]
    assert spy.progress[-1] == (32, 32)


def test_the_trainers_first_loss_is_the_mean_over_the_agents_tokens(corridor_policy, rendered, tmp_path):
    policy = corridor_policy()
    losses = mean_losses(policy.model, rendered, tokens_per_batch=4000, meter=Meter("eval"))
    tokens = np.array([episode.agent_tokens for episode in rendered])
    spy = train(policy, rendered, tmp_path, batch_size=len(rendered), epochs=1)
    assert spy.values("sft/loss")[0] == pytest.approx((losses * tokens).sum() / tokens.sum(), rel=1e-4)


@pytest.mark.parametrize(("epochs", "batch_size", "budget"), [(1, 8, 10_000), (2, 8, 200), (1, 30, 1)])
def test_the_bill_is_that_of_trl(corridor_policy, rendered, tmp_path, epochs, batch_size, budget):
    policy, meter = corridor_policy(), Meter("sft")
    spy = train(
        policy,
        rendered,
        tmp_path,
        meter=meter,
        epochs=epochs,
        batch_size=batch_size,
        tokens_per_batch=budget,
    )
    lengths = [len(episode.input_ids) for episode in rendered]
    assert meter.spent.trained_tokens == epochs * sum(lengths) == spy.values("sft/num_tokens")[-1]
    targets = [episode.agent_tokens for episode in rendered]
    expected = training_flops(ModelShape.from_config(policy.model.config), lengths, logits=targets)
    assert meter.spent.flops == epochs * expected


def test_a_number_of_updates_instead_of_epochs_is_billed_as_trained(corridor_policy, rendered, tmp_path):
    meter = Meter("sft")
    options = OFTEN | {"max_steps": 9}
    spy = train(corridor_policy(), rendered[:16], tmp_path, meter=meter, options=options)
    assert meter.spent.trained_tokens == pytest.approx(spy.values("sft/num_tokens")[-1], rel=0.1)
    assert spy.progress[-1] == (9, 9)


def test_the_same_seed_trains_the_same_policy(corridor_policy, rendered, tmp_path):
    digests = []
    for seed in (0, 0, 1):
        policy = corridor_policy()
        train(policy, rendered, tmp_path, seed=seed)
        digests.append(weights_digest(policy.model))
    assert digests[0] == digests[1] != digests[2]


def test_of_a_lora_policy_only_the_adapter_learns_and_is_billed(corridor_policy, rendered, tmp_path):
    bare, meter = corridor_policy(), Meter("sft")
    policy = with_lora(bare, LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear"))
    frozen = {name: weight.clone() for name, weight in policy.model.named_parameters() if "lora" not in name}
    before = agent_loss(policy, rendered)
    train(policy, rendered, tmp_path, meter=meter, epochs=4, learning_rate=2e-2)
    assert agent_loss(policy, rendered) < before
    for name, weight in policy.model.named_parameters():
        if "lora" not in name:
            assert torch.equal(weight, frozen[name])
    full = training_flops(ModelShape.from_config(bare.model.config), [len(e.input_ids) for e in rendered])
    assert 0.5 * full < meter.spent.flops / 4 < full


@pytest.mark.parametrize("budget", [1, 150, 400])
def test_the_parts_of_a_batch_give_the_gradient_of_trls_trainer(corridor_policy, rendered, tmp_path, budget):
    """One update by plain gradient descent: the weights' change is the gradient."""
    plain = {"optim": "sgd", "max_steps": 1, "max_grad_norm": 1e9}
    widths = []
    for trainer in (SFTTrainer, EpisodeSFTTrainer):
        policy = corridor_policy()
        before = {name: weight.clone() for name, weight in policy.model.named_parameters()}
        policy.model.model.register_forward_pre_hook(
            lambda module, args, kwargs: widths.append(kwargs["input_ids"].shape), with_kwargs=True
        )
        with pytest.MonkeyPatch.context() as patch:
            if trainer is SFTTrainer:
                patch.setattr(EpisodeSFTTrainer, "training_step", SFTTrainer.training_step)
            options = OFTEN | plain
            spy = train(policy, rendered, tmp_path, batch_size=30, tokens_per_batch=budget, options=options)
        changes = {name: before[name] - weight for name, weight in policy.model.named_parameters()}
        if trainer is SFTTrainer:
            expected, loss, whole = changes, spy.values("sft/loss"), widths[:]
            widths.clear()
    torch.testing.assert_close(changes, expected, rtol=1e-4, atol=1e-7)
    assert spy.values("sft/loss") == pytest.approx(loss, rel=1e-5)
    assert [rows for rows, _ in whole] == [30]
    assert sum(rows for rows, _ in widths) == 30
    assert all(rows * width <= budget or rows == 1 for rows, width in widths)


def test_options_have_the_last_word_and_unknown_ones_are_named(corridor_policy, rendered, tmp_path):
    meters = {}
    for checkpointing in (False, True):
        meters[checkpointing] = Meter("sft")
        options = OFTEN | {"gradient_checkpointing": checkpointing}
        train(corridor_policy(), rendered, tmp_path, meter=meters[checkpointing], options=options)
    assert 1.1 < meters[True].spent.flops / meters[False].spent.flops < 1.34
    with pytest.raises(InputError, match=r"options\.momentum is no field of trl\.SFTConfig"):
        train(corridor_policy(), rendered, tmp_path, options={"momentum": 0.9})
    with pytest.raises(InputError, match=r"trl\.SFTConfig refuses its settings: .*sometimes"):
        train(corridor_policy(), rendered, tmp_path, options={"logging_strategy": "sometimes"})
