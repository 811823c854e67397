"""The lean trainer against TRL's own: same loss, same gradients, on batches of any shape."""

import pytest
import torch
from batches import batch, loss_and_gradients
from datasets import Dataset
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from prism_bench.accounting.meter import Meter
from prism_bench.algorithms.grpo_trainer import EpisodeGRPOTrainer

LOSSES = ("grpo", "dapo", "dr_grpo", "bnpo", "cispo", "sapo", "luspo", "vespo")


@pytest.fixture
def trainers(corridor_policy, tmp_path):
    """Return TRL's trainer and ours, each for a model of its own with the same weights."""

    def make(**options) -> tuple[GRPOTrainer, EpisodeGRPOTrainer]:
        settings = {"per_device_train_batch_size": 8, "num_generations": 8, "report_to": "none", "use_cpu": True}
        arguments = GRPOConfig(output_dir=str(tmp_path), bf16=False, **settings | options)
        made = []
        for kind, extra in ((GRPOTrainer, {}), (EpisodeGRPOTrainer, {"meter": Meter("rl")})):
            policy = corridor_policy(initializer_range=0.2)
            made.append(
                kind(
                    model=policy.model,
                    reward_funcs=lambda completions, **_: [0.0] * len(completions),
                    args=arguments,
                    train_dataset=Dataset.from_dict({"prompt": ["x"]}),
                    processing_class=policy.tokenizer,
                    **extra,
                )
            )
        return tuple(made)

    return make


def assert_same(actual: tuple[float, list[torch.Tensor]], expected: tuple[float, list[torch.Tensor]]) -> None:
    assert actual[0] == pytest.approx(expected[0], rel=1e-5, abs=1e-7)
    largest = max(float(gradient.abs().max()) for gradient in expected[1])
    for ours, theirs in zip(actual[1], expected[1], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6 * max(1.0, largest))


@pytest.mark.parametrize("loss_type", LOSSES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_loss_and_gradients_are_those_of_trl(trainers, loss_type, seed):
    reference, lean = trainers(loss_type=loss_type, temperature=0.7)
    advantages = torch.tensor([1.0, 0.0, -0.5, 0.0, 2.0, -1.5, 0.25, 0.0])
    inputs = batch(reference.model.config.vocab_size, seed, advantages)
    expected, actual = (loss_and_gradients(trainer, inputs) for trainer in (reference, lean))
    assert_same(actual, expected)
    assert max(gradient.abs().max() for gradient in actual[1]) > 1e-4


def test_without_any_advantage_the_gradient_is_zero_and_not_missing(trainers):
    _, lean = trainers(loss_type="grpo")
    loss, gradients = loss_and_gradients(lean, batch(lean.model.config.vocab_size, 3, torch.zeros(8)))
    assert loss == 0.0 and all((gradient == 0).all() for gradient in gradients)


def test_episodes_without_advantage_and_padding_are_not_computed(trainers):
    _, lean = trainers(loss_type="grpo")
    seen: list[tuple[int, int]] = []
    lean.model.base_model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    inputs = batch(lean.model.config.vocab_size, 4, torch.tensor([1.0, 0.0, -1.0, 0.0, 1.0, 0.0, -1.0, 0.0]))
    loss_and_gradients(lean, inputs)
    needed = (inputs["prompt_mask"].sum(1) + inputs["completion_mask"].sum(1))[inputs["advantages"] != 0]
    assert sum(rows for rows, _ in seen) == 4
    assert needed.sum() <= sum(rows * columns for rows, columns in seen) < 1.6 * needed.sum()


@pytest.mark.parametrize("per_token", [False, True])
@pytest.mark.parametrize("loss_type", LOSSES)
def test_advantages_per_token_are_trls_too(trainers, loss_type, per_token):
    reference, lean = trainers(loss_type=loss_type)
    inputs = batch(reference.model.config.vocab_size, 6, torch.tensor([1.0, 0.0, -0.5, 0.0, 2.0, -1.5, 0.25, 0.0]))
    tokens = torch.rand(inputs["completion_ids"].shape, generator=torch.Generator().manual_seed(0)) > 0.5
    inputs["advantages"] = inputs["advantages"][:, None] * (tokens if per_token else 1)
    expected, actual = (loss_and_gradients(trainer, inputs) for trainer in (reference, lean))
    assert_same(actual, expected)


@pytest.mark.parametrize("option", [{}, {"entropy_coef": 0.01}, {"top_entropy_quantile": 0.5}])
def test_a_kl_term_or_an_entropy_bonus_keeps_all_episodes(trainers, option):
    reference, lean = trainers(loss_type="grpo", **option)
    reference.beta = lean.beta = 0.0 if option else 0.1
    inputs = batch(reference.model.config.vocab_size, 5, torch.tensor([1.0, 0.0, -1.0, 0.0, 1.0, 0.5, -1.0, 0.0]))
    inputs["ref_per_token_logps"] = torch.full(inputs["completion_ids"].shape, -2.0)
    expected, actual = (loss_and_gradients(trainer, inputs) for trainer in (reference, lean))
    assert_same(actual, expected)
