"""A few real updates of TRL's GRPOTrainer, in which a tiny policy walks a corridor."""

import copy
import gc
import os
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import pytest
import torch
from peft import LoraConfig
from phase import Phase, probability
from torch.utils.flop_counter import FlopCounterMode

from prism_bench.algorithms.grpo import GRPO
from prism_bench.algorithms.rollout_batch import RolloutBatch
from prism_bench.errors import InputError
from prism_bench.models.policy import Policy, load_policy, save_policy, weights_digest, with_lora
from prism_bench.rollouts.vllm_engine import VLLMEngine
from prism_bench.settings.making import make

pytestmark = pytest.mark.filterwarnings("ignore:You are using 'rollout_func'")

LORA = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear")
SETTINGS = {
    "learning_rate": 3e-3,
    "max_steps": 2,
    "num_generations": 4,
    "per_device_train_batch_size": 8,  # two tasks
    "gradient_accumulation_steps": 1,
    "lr_scheduler_type": "constant",
    "gradient_checkpointing": False,
    "logging_steps": 1,
}
OF_16 = {"max_steps": 6, "num_generations": 16, "per_device_train_batch_size": 16}


@pytest.fixture
def train(corridor, tmp_path):
    """Return a function that trains a policy on tasks and returns the phase."""

    def run(policy: Policy, make_environment: Callable, tasks, *, kind=GRPO, phase=None, **settings) -> Phase:
        done = Phase(policy, tmp_path, make_environment, name="rl", **phase or {})
        return done.train(kind(**SETTINGS | settings), tasks=tasks)

    return run


OPENING = "You are in room 3. Your task is to: go to room 4."


def test_what_is_rewarded_becomes_probable(undecided, corridor, train):
    policy = undecided()
    before = probability(policy, OPENING, "go east")
    assert 0.2 < before < 0.8
    phase = train(policy, lambda: corridor(1), ["3-4"], **OF_16)
    assert probability(policy, OPENING, "go east") > before + 0.15
    assert probability(policy, OPENING, "go west") < 0.5
    rewards = phase.values("reward")
    assert len(rewards) == 6
    successes = [[episode.trajectory.success for episode in batch] for batch in phase.runner.episodes]
    np.testing.assert_allclose(rewards, np.mean(successes, axis=1), atol=1e-6)
    np.testing.assert_allclose(phase.values("success"), rewards, atol=1e-6)
    assert phase.progress[-1] == (6, 6)
    assert "forward" not in vars(policy.model)


def test_groups_that_all_earned_the_same_are_replaced_by_other_tasks(undecided, corridor, train):
    """An undecided policy solves 3-4 in some rollouts; in two turns it cannot solve the others."""
    tasks, settings = ["1-6", "6-1", "1-5", "3-4"], {"max_turns": 2, "reward": "success"}
    plain = train(undecided(), corridor, tasks, **settings)
    phase = train(undecided(), corridor, tasks, **settings, resample=3)
    assert plain.values("rollouts") == [8, 8]
    steps = zip(plain.values("rollout_seconds"), plain.values("step_time"), strict=True)
    assert all(0 < seconds < whole for seconds, whole in steps)
    assert sum(phase.values("rollouts")) > 16
    assert np.mean(phase.values("frac_reward_zero_std")) < np.mean(plain.values("frac_reward_zero_std"))
    assert sum(map(len, phase.runner.episodes)) == sum(phase.values("rollouts"))
    assert phase.meter.spent.generated_tokens == sum(e.trajectory.agent_tokens for e in phase.all_episodes)


def test_replaced_groups_share_their_new_task(undecided, corridor, train):
    class Watching(GRPO):
        batches: ClassVar[list[RolloutBatch]] = []

        def advantages(self, batch):
            self.batches.append(batch)
            return batch.advantages

    train(undecided(), corridor, ["1-6", "3-4"], kind=Watching, max_steps=2, max_turns=2, resample=2)
    assert len(Watching.batches) == 2
    for batch in Watching.batches:
        assert [episode.trajectory.task_id for episode in batch.episodes] == list(batch.tasks)
        for first in range(0, len(batch.tasks), batch.group_size):
            rewards = batch.rewards[first : first + batch.group_size]
            assert len(set(batch.tasks[first : first + batch.group_size])) == 1
            advantages = batch.advantages[first : first + batch.group_size]
            torch.testing.assert_close(advantages, (rewards - rewards.mean()) / (rewards.std() + 1e-4))


def test_rollouts_are_billed_and_what_is_trained_on(undecided, corridor, train):
    tasks = ["1-4", "5-2", "6-5", "2-6"]
    settings = {"max_steps": 3, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
    phase = train(undecided(), corridor, tasks, **settings)
    learned = []
    for batch in phase.runner.episodes:
        for first in (0, 4):
            scores = np.array([episode.trajectory.score for episode in batch[first : first + 4]])
            learned += [batch[first + n] for n in np.flatnonzero(~np.isclose(scores, scores.mean()))]
    spent = phase.meter.spent
    assert 0 < len(learned) < len(phase.all_episodes)
    assert spent.trained_tokens == sum(len(e.prompt_ids) + len(e.completion_ids) for e in learned)
    assert spent.generated_tokens == sum(episode.trajectory.agent_tokens for episode in phase.all_episodes)
    assert spent.prefill_tokens == sum(episode.trajectory.context_tokens for episode in phase.all_episodes)
    assert spent.env_steps == sum(len(episode.trajectory.steps) for episode in phase.all_episodes)


@pytest.mark.parametrize(
    ("lora", "settings"),
    [
        (None, {}),
        (None, {"beta": 0.1}),
        *(
            pytest.param(lora, settings, marks=pytest.mark.slow)
            for lora, settings in (
                (None, {"gradient_checkpointing": True}),
                (None, {"num_iterations": 2, "max_steps": 4}),
                (None, {"steps_per_generation": 2}),
                (LORA, {}),
                (LORA, {"beta": 0.1, "num_iterations": 2, "max_steps": 4}),
            )
        ),
    ],
    ids=["plain", "reference", "checkpointing", "iterations", "off_policy", "lora", "lora_reference_iterations"],
)
def test_training_is_billed_as_it_is_executed(undecided, corridor, train, tmp_path, lora, settings):
    """The bill of everything but the rollouts against PyTorch's counter."""
    save_policy(undecided(num_hidden_layers=4), tmp_path / "start")  # TRL loads the reference model from there
    policy = with_lora(load_policy(tmp_path / "start"), lora)
    policy.model.set_attn_implementation("eager")
    phase = Phase(policy, tmp_path, corridor)
    counter, totals = FlopCounterMode(display=False), {"training": 0, "rollouts": 0}
    play = phase.runner.run

    def uncounted(*args, **kwargs):
        totals["training"] += counter.get_total_flops()
        counter.__exit__(None, None, None)
        before = phase.meter.spent.flops
        episodes = play(*args, **kwargs)
        totals["rollouts"] += phase.meter.spent.flops - before
        counter.__enter__()  # from zero
        return episodes

    phase.runner.run = uncounted
    with counter:
        phase.train(GRPO(**SETTINGS | settings), tasks=["1-4", "5-2"])
    training = totals["training"] + counter.get_total_flops()
    assert phase.meter.spent.flops - totals["rollouts"] == pytest.approx(training, rel=0.05)
    assert training > 0 and totals["rollouts"] > 0


def test_a_group_shares_its_task_and_groups_of_a_step_do_not(undecided, corridor, train):
    tasks = ["1-4", "5-2", "6-5", "2-6"]
    phase = train(undecided(), corridor, tasks, max_steps=4)
    assert len(phase.runner.asked) == 4
    seen = []
    for asked, episodes in zip(phase.runner.asked, phase.runner.episodes, strict=True):
        groups = [asked[:4], asked[4:]]
        assert [len(set(group)) for group in groups] == [1, 1] and len(set(asked)) == 2
        assert [episode.trajectory.task_id for episode in episodes] == asked
        seen += [group[0] for group in groups]
    assert sorted(seen[:4]) == sorted(seen[4:]) == sorted(tasks)
    rollouts = {tuple(tuple(episode.completion_ids) for episode in batch) for batch in phase.runner.episodes}
    assert len(rollouts) == 4  # every step draws anew


@pytest.mark.parametrize(
    ("tasks_per_batch", "batches", "settings"),
    [
        (2, 3, {"max_steps": 3}),
        (5, 3, {"max_steps": 3}),
        (2, 3, {"max_steps": 6, "steps_per_generation": 2, "per_device_train_batch_size": 2}),
        (2, 3, {"max_steps": 6, "num_iterations": 2}),
        (2, 3, {"max_steps": 3, "gradient_accumulation_steps": 2, "per_device_train_batch_size": 2}),
    ],
    ids=str,
)
def test_tasks_take_turns_whatever_their_number(undecided, corridor, train, tasks_per_batch, batches, settings):
    tasks = ["1-4", "5-2", "6-5"]
    settings = {"num_generations": 2, "per_device_train_batch_size": 2 * tasks_per_batch} | settings
    phase = train(undecided(), corridor, tasks, **settings)
    rolled_out = [task for asked in phase.runner.asked for task in asked[::2]]
    assert len(phase.runner.asked) == batches and len(rolled_out) == tasks_per_batch * batches
    assert [rolled_out.count(task) for task in tasks] == [len(rolled_out) // 3] * 3
    assert sorted(rolled_out[:3]) == sorted(tasks)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 3}, r"rl has no setting 'steps'; the nearest are .*max_steps"),
        ({"per_device_train_batch_size": 7}, r"trl\.GRPOConfig refuses its fields: .*divisible by num_generations"),
        ({"top_p": 0.9}, r"rl\.top_p is set by the run"),
        ({"max_steps": 0}, r"rl\.max_steps=0 is not possible; it should be 1 or more"),
        ({"max_turns": 0}, r"rl\.max_turns=0 is not possible; it should be 1 or more, or null"),
        ({"num_generations": 1}, r"rl\.num_generations=1 is not possible; it should be 2 or more"),
        ({"loss_type": "foo"}, r"rl\.loss_type=foo is not possible; it should be 'grpo', "),
        ({"temperature": 0}, r"rl\.temperature=0 is not possible; it should be more than 0"),
        ({"beta": -0.1}, r"rl\.beta=-0\.1 is not possible; it should be 0 or more"),
    ],
)
def test_what_is_not_possible_is_refused_before_anything_is_trained(settings, message):
    with pytest.raises(InputError, match=message):
        make({"_target_": "prism_bench.algorithms.grpo.GRPO", **SETTINGS, **settings}, "rl")


def test_episodes_end_at_the_context_and_after_the_last_turn(corridor_policy, corridor, train):
    phase = train(corridor_policy(), lambda: corridor(1000), ["1-6", "6-1"], phase={"max_length": 60})
    lengths = [len(episode.prompt_ids) + len(episode.completion_ids) for episode in phase.all_episodes]
    assert max(lengths) <= 60 and np.mean(lengths) > 40
    ends = (phase.policy.tokenizer.eos_token_id, phase.policy.tokenizer.pad_token_id)  # as TRL sees it
    truncated = [episode.completion_ids[-1] not in ends for episode in phase.runner.episodes[-1]]
    assert phase.values("completions/clipped_ratio")[-1] == pytest.approx(np.mean(truncated))
    phase = train(corridor_policy(), lambda: corridor(1000), ["1-6", "6-1"], max_turns=2)
    assert {len(episode.trajectory.steps) for episode in phase.all_episodes} == {2}


def test_rollouts_are_on_policy(undecided, corridor, train):
    settings = {"max_steps": 3, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
    phase = train(undecided(), corridor, ["1-4", "5-2"], **settings)
    assert phase.values("clip_ratio/region_mean") == [0.0] * 3


@pytest.mark.slow
def test_the_same_seed_learns_the_same_with_and_without_a_learning_curve(undecided, corridor, train):
    curve = {"points": 2, "evaluate": lambda policy, update: torch.rand(3)}
    digests = [
        weights_digest(train(undecided(), corridor, ["1-4", "5-2"], phase=phase).policy.model)
        for phase in ({}, {}, curve, {"seed": 6})
    ]
    assert digests[0] == digests[1] == digests[2] != digests[3]


def test_a_lora_policy_acts_with_its_adapter_and_learns_in_it(undecided, corridor, train):
    policy = with_lora(undecided(), LORA)
    frozen = {name: weight.clone() for name, weight in policy.model.named_parameters() if "lora" not in name}
    before = probability(policy, OPENING, "go east")
    train(policy, lambda: corridor(1), ["3-4"], learning_rate=3e-2, **OF_16)
    assert probability(policy, OPENING, "go east") > before + 0.1
    assert all(torch.equal(weight, frozen[name]) for name, weight in policy.model.named_parameters() if name in frozen)


class LeaveOneOut(GRPO):
    """REINFORCE with the mean of the other rollouts as its baseline (arXiv 2402.14740)."""

    def advantages(self, batch: RolloutBatch) -> torch.Tensor:
        rewards = batch.rewards.view(-1, batch.group_size)
        others = (rewards.sum(dim=1, keepdim=True) - rewards) / (batch.group_size - 1)
        return (rewards - others).flatten()


def test_a_variant_is_a_function_of_the_batch(undecided, corridor, train):
    batches: list[RolloutBatch] = []

    class Spied(LeaveOneOut):
        def advantages(self, batch):
            batches.append(batch)
            return super().advantages(batch)

    policy = undecided()
    before = probability(policy, OPENING, "go east")
    phase = train(policy, lambda: corridor(1), ["3-4"], kind=Spied, **OF_16)
    assert probability(policy, OPENING, "go east") > before + 0.15
    for batch, episodes in zip(batches, phase.runner.episodes, strict=True):
        assert batch.episodes == episodes and list(batch.tasks) == ["3-4"] * 16
        assert batch.rewards.tolist() == [episode.trajectory.score for episode in episodes]
        expected = (batch.rewards - batch.rewards.mean()) / (batch.rewards.std() + 1e-4)
        torch.testing.assert_close(batch.advantages, expected)
        assert not batch.demonstrated.any()


def test_advantages_per_token_do_not_repeat_an_episode(undecided, corridor, train):
    """The same advantage at every token trains like one advantage per episode."""

    class PerToken(GRPO):
        def advantages(self, batch):
            width = max(len(episode.completion_ids) for episode in batch.episodes)
            return batch.advantages[:, None].expand(-1, width)

    digests = []
    for kind in (GRPO, PerToken):
        phase = train(undecided(), corridor, ["1-4", "5-2"], kind=kind)
        digests.append((weights_digest(phase.policy.model), phase.meter.spent.flops))
    assert digests[0] == digests[1]


@pytest.mark.parametrize("wrong", [lambda a: a[:3], lambda a: a[:, None, None], lambda a: a * float("nan")])
def test_advantages_of_another_shape_are_named(undecided, corridor, train, wrong):
    class Wrong(GRPO):
        def advantages(self, batch):
            return wrong(batch.advantages)

    with pytest.raises(ValueError, match=r"Wrong\.advantages returned"):
        train(undecided(), corridor, ["1-4", "5-2"], kind=Wrong)


def test_a_training_that_diverges_ends_with_one_sentence(undecided, corridor, train):
    lost = r"rl(: (loss|grad_norm) is (nan|inf) at|, after) update \d"
    with pytest.raises(InputError, match=lost):
        train(undecided(), lambda: corridor(1), ["3-4"], **OF_16 | {"learning_rate": 1e38})


def test_training_ends_at_the_first_update_past_the_budget(undecided, corridor, train):
    budget = 0.5 * train(undecided(), corridor, ["1-4", "5-2"], max_steps=4).meter.spent.flops
    phase = train(undecided(), corridor, ["1-4", "5-2"], max_steps=4, phase={"flops_budget": budget, "points": 1})
    done, planned = phase.progress[-1]
    assert done < planned == 4 and phase.evaluated == [done] and len(phase.runner.asked) == done
    assert phase.meter.spent.flops > budget


@pytest.fixture
def replaceable_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have vLLM keep the weights of linear layers, as on a GPU.

    On a CPU it packs them for its kernels and forgets the originals, so that TRL cannot bring new ones into it, and
    this project refuses to try.
    """
    from vllm.model_executor.layers import utils

    def keep(layer: torch.nn.Module, remove_weight: bool) -> None:
        layer.cpu_linear = torch.nn.functional.linear

    monkeypatch.setattr(utils, "dispatch_cpu_unquantized_gemm", keep)
    monkeypatch.setattr("prism_bench.rollouts.vllm_engine._check_weights_can_follow", lambda: None)
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")


@pytest.mark.vllm
@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
def test_vllm_generates_with_the_policy_as_it_is_now(undecided, corridor, train, tmp_path, replaceable_weights, lora):
    """In TRL's colocated engine; that runs in bfloat16, since vLLM wants no float32 of its own accord."""
    from vllm import LLM

    save_policy(undecided(head_dim=32), tmp_path / "start")
    policy = with_lora(load_policy(tmp_path / "start"), lora)
    before = probability(policy, OPENING, "go east")
    settings = {"learning_rate": 1e-2 if lora else 3e-3, **OF_16}
    engine = VLLMEngine(200, 16, grpo={"vllm_mode": "colocate"})
    phase = train(policy, lambda: corridor(1), ["3-4"], phase={"engine": engine}, **settings)
    after = probability(policy, OPENING, "go east")
    assert 0.2 < before < 0.8 and after > before + 0.1
    differences = phase.values("sampling/sampling_logp_difference/max")
    assert len(differences) == 6 and max(differences) < 0.05 < abs(np.log(after / before))
    spent = phase.meter.spent
    tokens = sum(len(episode.prompt_ids) + len(episode.completion_ids) for episode in phase.all_episodes)
    assert spent.generated_tokens == sum(episode.trajectory.agent_tokens for episode in phase.all_episodes)
    # the passes in which the policy scores the completions of vLLM read everything once more
    assert spent.prefill_tokens == tokens + sum(episode.trajectory.context_tokens for episode in phase.all_episodes)
    del phase
    gc.collect()
    assert not [thing for thing in gc.get_objects() if type(thing) is LLM]
    assert not torch.distributed.is_initialized() and "RANK" not in os.environ


@pytest.mark.slow
def test_the_number_of_episodes_at_once_changes_no_weight(undecided, corridor, train):
    """In float32: therefore it is in no key of a stage (``ModelSettings.batch_size``)."""
    start = undecided()
    trained = []
    for batch_size in (1, 3, 16):
        policy = Policy(copy.deepcopy(start.model), start.tokenizer)
        train(policy, corridor, ["1-4", "5-2", "6-5", "2-6"], phase={"batch_size": batch_size}, max_steps=4)
        trained.append(weights_digest(policy.model))
    assert len(set(trained)) == 1 and trained[0] != weights_digest(start.model)


def test_the_reward_counts_successes_only_and_charges_for_actions_that_are_not_listed(undecided, corridor, train):
    batches: list[RolloutBatch] = []

    class Spied(GRPO):
        def advantages(self, batch):
            batches.append(batch)
            return super().advantages(batch)

    settings = {"reward": "success", "inadmissible_price": 0.25, "temperature": 1.6, "max_turns": 2}
    phase = train(undecided(), corridor, ["1-4", "2-3"], kind=Spied, **settings)
    seen = phase.all_episodes
    strange = [sum(s.action not in ("go east", "go west") for s in e.trajectory.steps) for e in seen]
    assert [episode.inadmissible for episode in seen] == strange
    assert any(strange) and any(0 < episode.trajectory.score < 1 for episode in seen)
    expected = [e.trajectory.success - 0.25 * count for e, count in zip(seen, strange, strict=True)]
    assert torch.cat([batch.rewards for batch in batches]).tolist() == pytest.approx(expected)
    assert phase.values("inadmissible_per_episode") == pytest.approx(np.reshape(strange, (2, -1)).mean(axis=1))
    alike = [group.min() == group.max() for group in np.reshape(expected, (-1, 4))]
    assert phase.values("frac_reward_zero_std") == pytest.approx(np.reshape(alike, (2, -1)).mean(axis=1))
