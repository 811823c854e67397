"""A few real updates of TRL's SFTTrainer on a tiny policy."""

import math
import re

import numpy as np
import pytest
import torch
from peft import LoraConfig
from phase import Phase
from torch.utils.flop_counter import FlopCounterMode
from trl.trainer.sft_trainer import SFTTrainer

from prism_bench.accounting.flops import ModelShape, training_flops
from prism_bench.accounting.meter import Meter
from prism_bench.algorithms import sft
from prism_bench.algorithms.sft import SFT, EpisodeSFTTrainer
from prism_bench.data.batching import groups_within_budget
from prism_bench.data.prompts import ActionPrompt
from prism_bench.data.rendering import IGNORED, Rendered, Renderer
from prism_bench.errors import InputError
from prism_bench.models.policy import weights_digest, with_lora
from prism_bench.probe.gradients import mean_losses
from prism_bench.settings.making import make

SETTINGS = {
    "learning_rate": 3e-3,
    "per_device_train_batch_size": 8,
    "num_train_epochs": 1,
    "lr_scheduler_type": "constant",
    "gradient_checkpointing": False,
    "logging_steps": 1,
}


@pytest.fixture
def rendered(corridor_policy, corridor_episodes):
    renderer = Renderer(corridor_policy().tokenizer, ActionPrompt(), max_length=256)
    return [renderer.render(episode) for episode in corridor_episodes]


@pytest.fixture
def train(corridor, tmp_path):
    """Return a function that trains a policy on sequences and returns the phase."""

    def run(policy, sequences, *, phase=None, **settings) -> Phase:
        done = Phase(policy, tmp_path, corridor, name="sft", seed=0, **phase or {})
        SFT(**SETTINGS | settings).fit(policy, sequences, done.context)
        return done

    return run


def agent_loss(policy, sequences) -> float:
    return float(mean_losses(policy.model, sequences, tokens_per_batch=4000, meter=Meter("eval")).mean())


def context_loss(policy, sequences) -> float:
    """Return the mean loss over the tokens that the environment wrote."""
    flipped = [
        [i if label == IGNORED else IGNORED for i, label in zip(s.input_ids, s.labels, strict=True)] for s in sequences
    ]
    return agent_loss(
        policy, [Rendered(s.input_ids, [IGNORED, *labels[1:]], 1) for s, labels in zip(sequences, flipped, strict=True)]
    )


def test_the_agents_tokens_become_probable_and_the_environments_do_not(corridor_policy, rendered, train):
    policy = corridor_policy()
    before, context_before = agent_loss(policy, rendered), context_loss(policy, rendered)
    phase = train(policy, rendered, num_train_epochs=8)
    assert agent_loss(policy, rendered) < 0.3 * before
    assert context_loss(policy, rendered) > 0.9 * context_before
    losses = phase.values("loss")
    assert losses[-1] < 0.3 * losses[0]
    assert phase.progress[-1] == (32, 32)


def test_demonstrations_are_rendered_for_the_policy(corridor_policy, corridor_episodes, rendered, corridor, tmp_path):
    digests = []
    for given in (corridor_episodes, rendered):
        policy = corridor_policy()
        context = Phase(policy, tmp_path, corridor, seed=0, max_length=256).context
        if given is rendered:
            SFT(**SETTINGS).fit(policy, rendered, context)
        else:
            SFT(**SETTINGS).train(policy, corridor_episodes, [], context)
        digests.append(weights_digest(policy.model))
    assert digests[0] == digests[1]


def test_the_trainers_first_loss_is_the_mean_over_the_agents_tokens(corridor_policy, rendered, train):
    policy = corridor_policy()
    losses = mean_losses(policy.model, rendered, tokens_per_batch=4000, meter=Meter("eval"))
    tokens = np.array([sequence.agent_tokens for sequence in rendered])
    phase = train(policy, rendered, per_device_train_batch_size=len(rendered))
    assert phase.values("loss")[0] == pytest.approx((losses * tokens).sum() / tokens.sum(), rel=1e-4)


def test_the_bill_is_what_was_executed(corridor_policy, rendered, train):
    """One update on all demonstrations, so that its parts are known."""
    for budget in (10_000, 300, 1):
        policy = corridor_policy(attn_implementation="eager")
        settings = {"per_device_train_batch_size": len(rendered), "tokens_per_forward": budget}
        with FlopCounterMode(display=False) as counter:
            phase = train(policy, rendered, **settings)
        spent = phase.meter.spent
        lengths = [len(sequence.input_ids) for sequence in rendered]
        widths = [max(lengths[n] for n in part) for part in groups_within_budget(lengths, budget) for _ in part]
        targets = [sequence.agent_tokens for sequence in rendered]
        shape = ModelShape.from_config(policy.model.config)
        expected = training_flops(shape, widths, logits=0) + training_flops(shape, [0] * len(targets), logits=targets)
        assert spent.flops == expected == pytest.approx(counter.get_total_flops(), rel=0.05)
        assert spent.trained_tokens == sum(lengths) == phase.values("num_tokens")[-1]


@pytest.mark.parametrize("settings", [{"num_train_epochs": 2}, {"max_steps": 9}, {"gradient_accumulation_steps": 2}])
def test_every_update_is_billed(corridor_policy, rendered, train, settings):
    phase = train(corridor_policy(), rendered, **settings)
    assert phase.meter.spent.trained_tokens == phase.values("num_tokens")[-1] > 0
    assert phase.progress[-1][0] == phase.progress[-1][1] == settings.get("max_steps", phase.progress[-1][1])


def test_the_same_seed_trains_the_same_policy(corridor_policy, rendered, corridor, tmp_path):
    digests = []
    for seed in (0, 0, 1):
        policy = corridor_policy()
        SFT(**SETTINGS).fit(policy, rendered, Phase(policy, tmp_path, corridor, seed=seed).context)
        digests.append(weights_digest(policy.model))
    assert digests[0] == digests[1] != digests[2]


def test_of_a_lora_policy_only_the_adapter_learns_and_is_billed(corridor_policy, rendered, train):
    bare = corridor_policy()
    policy = with_lora(bare, LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear"))
    frozen = {name: weight.clone() for name, weight in policy.model.named_parameters() if "lora" not in name}
    before = agent_loss(policy, rendered)
    phase = train(policy, rendered, num_train_epochs=4, learning_rate=2e-2)
    assert agent_loss(policy, rendered) < before
    for name, weight in policy.model.named_parameters():
        if "lora" not in name:
            assert torch.equal(weight, frozen[name])
    full = train(corridor_policy(), rendered, num_train_epochs=4)
    assert 0.5 < phase.meter.spent.flops / full.meter.spent.flops < 1


@pytest.mark.parametrize("budget", [1, 150, 400])
def test_the_parts_of_a_batch_give_loss_and_gradient_of_trls_trainer(
    corridor_policy, rendered, train, budget, monkeypatch
):
    """One update by plain gradient descent: the weights' change is the gradient."""
    plain = {"optim": "sgd", "max_steps": 1, "max_grad_norm": 1e9, "per_device_train_batch_size": 30}
    found, widths = [], []
    for trainer in (SFTTrainer, EpisodeSFTTrainer):
        policy = corridor_policy()
        before = {name: weight.clone() for name, weight in policy.model.named_parameters()}
        widths.clear()
        policy.model.model.register_forward_pre_hook(
            lambda module, args, kwargs: widths.append(kwargs["input_ids"].shape), with_kwargs=True
        )
        with monkeypatch.context() as patch:
            if trainer is SFTTrainer:
                patch.setattr(EpisodeSFTTrainer, "training_step", SFTTrainer.training_step)
                patch.setattr(sft, "add_target_head", lambda *args: None)
            phase = train(policy, rendered, tokens_per_forward=budget, **plain)
        changes = {name: before[name] - weight for name, weight in policy.model.named_parameters()}
        found.append((changes, phase.values("loss"), phase.values("entropy"), widths[:]))
    (expected, loss, _, whole), (changes, our_loss, _, parts) = found
    torch.testing.assert_close(changes, expected, rtol=1e-4, atol=1e-7)
    assert our_loss == pytest.approx(loss, rel=1e-6)
    assert [rows for rows, _ in whole] == [30]
    assert sum(rows for rows, _ in parts) == 30
    assert all(rows * width <= budget or rows == 1 for rows, width in parts)


def test_checkpointing_is_billed_where_it_is_done(corridor_policy, rendered, train):
    spent = [
        train(corridor_policy(), rendered, gradient_checkpointing=again).meter.spent.flops for again in (False, True)
    ]
    assert 1.1 < spent[1] / spent[0] < 1.34


def test_training_ends_at_the_plateau_of_the_held_out_loss(corridor_policy, rendered, train):
    random = np.random.default_rng(0)
    meaningless = [
        Rendered(s.input_ids, [i if i == IGNORED else int(random.integers(5, 20)) for i in s.labels], s.steps)
        for s in rendered
    ]
    settings = {"held_out": 0.2, "eval_strategy": "steps", "eval_steps": 2, "num_train_epochs": 60}
    phase = train(corridor_policy(), meaningless, patience=2, **settings)
    losses = phase.values("eval_loss")
    done, planned = phase.progress[-1]
    assert done == 2 * len(losses) < planned
    best = math.inf
    since = []  # checks since the best one
    for loss in losses:
        since.append(0 if loss < best else since[-1] + 1)
        best = min(loss, best)
    assert since[-1] == 2 and max(since[:-1]) < 2
    assert min(losses) < losses[0] * 1.01


def test_held_out_demonstrations_are_billed_but_not_learned(corridor_policy, rendered, train):
    settings = {"held_out": 0.2, "eval_strategy": "epoch", "max_steps": 3}
    with FlopCounterMode(display=False) as counter:
        phase = train(corridor_policy(attn_implementation="eager"), rendered, **settings)
    spent, lengths = phase.meter.spent, sum(len(sequence.input_ids) for sequence in rendered)
    assert spent.trained_tokens + spent.prefill_tokens == lengths
    assert 0.1 * lengths < spent.prefill_tokens < 0.3 * lengths
    assert spent.flops == pytest.approx(counter.get_total_flops(), rel=0.05)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"momentum": 0.9}, "sft has no setting 'momentum'; the nearest are "),
        ({"learning_rat": 0.9}, "sft has no setting 'learning_rat'; the nearest are learning_rate, "),
        (
            {"logging_strategy": "sometimes"},
            "sft.logging_strategy=sometimes is not possible; it should be 'no'",
        ),
        ({"seed": 3}, "sft.seed is set by the run"),
        ({"trust_remote_code": True}, "sft.trust_remote_code is set by the run"),
        ({"packing": True}, "sft.packing is set by the run"),
        ({"learning_rate": "small"}, "sft.learning_rate=small is not possible; it should be a number"),
        ({"learning_rate": float("nan")}, "sft.learning_rate=NaN is not possible; it should be a finite number"),
        ({"learning_rate": -1}, "sft.learning_rate=-1 is not possible; it should be more than 0"),
        ({"weight_decay": -1}, "sft.weight_decay=-1 is not possible; it should be 0 or more"),
        ({"loss_type": "foo"}, "sft.loss_type=foo is not possible; it should be 'nll', 'dft' or"),
        ({"max_steps": 0}, "sft.max_steps=0 is not possible"),
        ({"held_out": 1.0}, "sft.held_out=1.0 is not possible; it should be less than 1"),
        ({"patience": 0}, "sft.patience=0 is not possible; it should be 1 or more"),
        ({"tokens_per_forward": 0}, "sft.tokens_per_forward=0 is not possible; it should be 1 or more"),
        ({"held_out": 0.1}, "sft: held_out and eval_strategy"),
        ({"eval_strategy": "epoch"}, "sft: held_out and eval_strategy"),
        ({"fp16": True, "bf16": True}, "sft: trl.SFTConfig refuses its fields: At most one of fp16 and bf16"),
    ],
)
def test_what_is_not_possible_is_refused_before_anything_is_trained(settings, message):
    with pytest.raises(InputError, match=re.escape(message)):
        make({"_target_": "prism_bench.algorithms.sft.SFT", **settings}, "sft")


def test_too_few_demonstrations_are_refused(corridor_policy, rendered, train):
    with pytest.raises(InputError, match="SFT has 0 demonstrations"):
        train(corridor_policy(), [])
    with pytest.raises(InputError, match="SFT has 1 demonstrations, of which 1 are held out"):
        train(corridor_policy(), rendered[:1], held_out=0.5, eval_strategy="epoch")


def test_a_learning_curve_and_a_budget_do_not_change_what_is_learned(corridor_policy, rendered, train):
    digests, points = [], []
    for phase in ({}, {"points": 3, "evaluate": lambda policy, update: torch.rand(5)}):
        policy = corridor_policy()
        points.append(train(policy, rendered, num_train_epochs=2, phase=phase).evaluated)
        digests.append(weights_digest(policy.model))
    assert digests[0] == digests[1]
    assert points == [[], [3, 5, 8]]


def test_training_ends_at_the_first_update_past_the_budget(corridor_policy, rendered, train):
    settings = {"max_steps": 8}
    budget = 0.6 * train(corridor_policy(), rendered, **settings).meter.spent.flops
    phase = train(corridor_policy(), rendered, phase={"points": 2, "flops_budget": budget}, **settings)
    done, planned = phase.progress[-1]
    assert done < planned == 8 and phase.evaluated == [4, done]
    assert phase.meter.spent.flops > budget
    before = train(corridor_policy(), rendered, phase={"flops_budget": budget}, max_steps=done - 1)
    assert before.meter.spent.flops <= budget


def test_a_training_that_diverges_ends_with_one_sentence(corridor_policy, rendered, train):
    with pytest.raises(InputError, match=r"sft: (loss|grad_norm) is (nan|inf) at update \d+.*lower\s+learning_rate"):
        train(corridor_policy(), rendered, learning_rate=1e30, num_train_epochs=5)
    policy = corridor_policy()
    policy.model.model.embed_tokens.weight.data[:] = float("nan")
    with pytest.raises(InputError, match="sft: loss is nan at update 1"):
        train(policy, rendered, phase={"points": 10, "evaluate": lambda policy, update: pytest.fail("evaluated")})


def test_each_context_is_an_example(corridor_policy, corridor_episodes, train):
    renderer = Renderer(corridor_policy().tokenizer, ActionPrompt(last_turns=1), max_length=256)
    sequences = [renderer.render(episode) for episode in corridor_episodes]
    lengths = [len(ids) for sequence in sequences for ids, _ in sequence.contexts]
    assert len(lengths) > len(sequences)
    policy = corridor_policy()
    before = agent_loss(policy, sequences)
    phase = train(policy, sequences, num_train_epochs=4)
    assert phase.progress[-1] == (4 * -(-len(lengths) // 8),) * 2
    assert phase.meter.spent.trained_tokens == 4 * sum(lengths)
    assert agent_loss(policy, sequences) < 0.5 * before
