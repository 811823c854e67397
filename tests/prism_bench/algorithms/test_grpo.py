"""A few real steps of TRL's GRPOTrainer, in which a tiny policy plays a corridor."""

import gc
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig

from prism_bench.accounting.ledger import Meter
from prism_bench.algorithms.callbacks import ReportingCallback
from prism_bench.algorithms.grpo import explore
from prism_bench.algorithms.settings import RLSettings, SFTSettings
from prism_bench.algorithms.sft import imitate
from prism_bench.data.prompts import ActionPrompt
from prism_bench.data.rendering import Renderer
from prism_bench.data.trajectory import Step, Trajectory
from prism_bench.errors import InputError
from prism_bench.models.policy import Policy, load_policy, save_policy, weights_digest, with_lora
from prism_bench.rollouts.backend import Engine
from prism_bench.rollouts.episodes import Episode, EpisodePlayer
from prism_bench.rollouts.transformers_backend import TransformersEngine
from prism_bench.rollouts.vllm_engine import VLLMEngine

pytestmark = pytest.mark.filterwarnings("ignore:You are using 'rollout_func'")

LORA = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear")
SETTINGS = {"learning_rate": 3e-3, "steps": 2, "tasks_per_step": 2, "group_size": 4}


class Recording(EpisodePlayer):
    """A player that remembers what it was asked for and what it returned."""

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self.asked: list[list[str]] = []
        self.episodes: list[list[Episode]] = []

    def play(self, backend, task_ids, *args, **kwargs):
        self.asked.append(list(task_ids))
        self.episodes.append(super().play(backend, task_ids, *args, **kwargs))
        return self.episodes[-1]


class Run:
    """Everything a test wants to know about a short training."""

    def __init__(
        self,
        policy: Policy,
        make_environment: Callable,
        tasks,
        tmp_path,
        *,
        max_length=200,
        engine: Engine | None = None,
        **settings,
    ) -> None:
        self.policy, self.meter = policy, Meter("rl")
        self.logged: list[dict[str, float]] = []
        renderer = Renderer(policy.tokenizer, ActionPrompt(), max_length)
        self.player = Recording(make_environment, renderer, 16)
        explore(
            policy,
            tasks,
            RLSettings(**SETTINGS | settings),
            player=self.player,
            engine=engine or TransformersEngine(),
            max_reply_tokens=4,
            source="policy:test",
            seed=5,
            folder=tmp_path,
            meter=self.meter,
            report=ReportingCallback("rl", lambda values, step: self.logged.append(dict(values))),
        )

    @property
    def all_episodes(self) -> list[Episode]:
        return [episode for batch in self.player.episodes for episode in batch]

    def values(self, name: str) -> list[float]:
        return [values[name] for values in self.logged if name in values]


@pytest.fixture
def undecided(corridor_policy, tmp_path) -> Callable[[], Policy]:
    """Return a maker of policies that go east or west, but seldom do anything else."""

    def make(**changes: Any) -> Policy:
        policy = corridor_policy(initializer_range=0.05, **changes)
        renderer = Renderer(policy.tokenizer, ActionPrompt(), 200)
        episodes = [
            Trajectory(None, None, "import:x", (Step(f"You are in room {room}.{goal}", action, 0.0),), 1.0, True)
            for room in range(1, 7)
            for goal in (f" Your task is to: go to room {7 - room}.", "")
            for action in ("go east", "go west")
        ]
        imitate(
            policy,
            [renderer.render(episode) for episode in episodes],
            SFTSettings(learning_rate=1e-2, batch_size=24, epochs=25, warmup=0.0, schedule="constant"),
            seed=0,
            folder=tmp_path,
            meter=Meter("base"),
            report=ReportingCallback("base", lambda values, step: None),
        )
        return policy

    return make


def probability(policy: Policy, observation: str, action: str) -> float:
    renderer = Renderer(policy.tokenizer, ActionPrompt(), 200)
    prompt, reply = renderer.opening(observation), renderer.reply(Step(observation, action, 0.0))
    policy.model.eval()
    with torch.no_grad():
        logits = policy.model(input_ids=torch.tensor([prompt + reply])).logits[0]
    scores = torch.log_softmax(logits, dim=-1)[len(prompt) - 1 : -1]
    return float(scores[range(len(reply)), reply].sum().exp())


OPENING = "You are in room 3. Your task is to: go to room 4."


def test_what_is_rewarded_becomes_probable(undecided, corridor, tmp_path):
    policy = undecided()
    before = probability(policy, OPENING, "go east")
    assert 0.2 < before < 0.8
    run = Run(policy, lambda: corridor(1), ["3-4"], tmp_path, steps=6, tasks_per_step=1, group_size=16)
    assert probability(policy, OPENING, "go east") > before + 0.15
    assert probability(policy, OPENING, "go west") < 0.5
    rewards = run.values("rl/reward")
    assert len(rewards) == 6
    successes = [[episode.trajectory.success for episode in batch] for batch in run.player.episodes]
    np.testing.assert_allclose(rewards, np.mean(successes, axis=1), atol=1e-6)
    np.testing.assert_allclose(run.values("rl/success"), rewards, atol=1e-6)


def test_every_token_is_billed_and_agrees_with_trl(undecided, corridor, tmp_path):
    run = Run(undecided(), corridor, ["1-4", "5-2", "6-5", "2-6"], tmp_path, steps=3, gradient_accumulation=2)
    environment = sum(mask.count(0) for mask in (episode.agent_mask for episode in run.all_episodes))
    spent = run.meter.spent
    assert environment > 0
    assert spent.trained_tokens == run.values("rl/num_tokens")[-1] + environment
    assert spent.generated_tokens == sum(episode.trajectory.agent_tokens for episode in run.all_episodes)
    assert spent.prefill_tokens == sum(episode.trajectory.context_tokens for episode in run.all_episodes)
    assert spent.prefill_tokens + spent.generated_tokens == spent.trained_tokens
    assert spent.env_steps == sum(len(episode.trajectory.steps) for episode in run.all_episodes)


def test_a_group_shares_its_task_and_groups_of_a_step_do_not(undecided, corridor, tmp_path):
    tasks = ["1-4", "5-2", "6-5", "2-6"]
    run = Run(undecided(), corridor, tasks, tmp_path, steps=4, tasks_per_step=2, group_size=4)
    assert len(run.player.asked) == 4
    seen = []
    for asked, episodes in zip(run.player.asked, run.player.episodes, strict=True):
        groups = [asked[:4], asked[4:]]
        assert [len(set(group)) for group in groups] == [1, 1] and len(set(asked)) == 2
        assert [episode.trajectory.task_id for episode in episodes] == asked
        seen += [group[0] for group in groups]
    assert sorted(seen[:4]) == sorted(seen[4:]) == sorted(tasks)
    rollouts = {tuple(tuple(episode.completion_ids) for episode in batch) for batch in run.player.episodes}
    assert len(rollouts) == 4  # every step draws anew


def test_tasks_take_turns_whatever_their_number(undecided, corridor, tmp_path):
    tasks = ["1-4", "5-2", "6-5"]
    for per_step, steps in ((2, 3), (5, 3)):
        run = Run(undecided(), corridor, tasks, tmp_path, steps=steps, tasks_per_step=per_step, group_size=2)
        played = [task for asked in run.player.asked for task in asked[::2]]
        assert len(played) == per_step * steps
        assert [played.count(task) for task in tasks] == [len(played) // 3] * 3
        assert sorted(played[:3]) == sorted(tasks)


def test_a_step_is_divided_into_equal_parts_or_refused(corridor_policy, corridor, tmp_path):
    with pytest.raises(InputError, match=r"rl\.gradient_accumulation=3 does not divide the 8 sequences"):
        Run(corridor_policy(), corridor, ["1-4"], tmp_path, gradient_accumulation=3)


def test_episodes_are_cut_at_the_context(corridor_policy, corridor, tmp_path):
    run = Run(corridor_policy(), lambda: corridor(1000), ["1-6", "6-1"], tmp_path, max_length=60)
    lengths = [len(episode.prompt_ids) + len(episode.completion_ids) for episode in run.all_episodes]
    assert max(lengths) <= 60 and np.mean(lengths) > 40
    ends = (run.policy.tokenizer.eos_token_id, run.policy.tokenizer.pad_token_id)  # as TRL sees it
    cut = [episode.completion_ids[-1] not in ends for episode in run.player.episodes[-1]]
    assert run.values("rl/completions/clipped_ratio")[-1] == pytest.approx(np.mean(cut))


def test_rollouts_are_on_policy(undecided, corridor, tmp_path):
    run = Run(undecided(), corridor, ["1-4", "5-2"], tmp_path, steps=3, gradient_accumulation=2)
    assert run.values("rl/clip_ratio/region_mean") == [0.0] * 3


def test_the_same_seed_learns_the_same(undecided, corridor, tmp_path):
    digests = {weights_digest(Run(undecided(), corridor, ["1-4", "5-2"], tmp_path).policy.model) for _ in range(2)}
    assert len(digests) == 1


def test_a_lora_policy_plays_with_its_adapter_and_learns_in_it(undecided, corridor, tmp_path):
    policy = with_lora(undecided(), LORA)
    frozen = {name: weight.clone() for name, weight in policy.model.named_parameters() if "lora" not in name}
    before = probability(policy, OPENING, "go east")
    options = {"learning_rate": 3e-2}
    Run(policy, lambda: corridor(1), ["3-4"], tmp_path, steps=6, tasks_per_step=1, group_size=16, **options)
    assert probability(policy, OPENING, "go east") > before + 0.1
    assert all(torch.equal(weight, frozen[name]) for name, weight in policy.model.named_parameters() if name in frozen)


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
def test_vllm_plays_the_policy_as_it_is_now(undecided, corridor, tmp_path, replaceable_weights, lora):
    """In TRL's colocated engine; that runs in bfloat16, since vLLM wants no float32 of its own accord."""
    from vllm import LLM

    save_policy(undecided(head_dim=32), tmp_path / "start")
    policy = with_lora(load_policy(tmp_path / "start"), lora)
    before = probability(policy, OPENING, "go east")
    options = {"learning_rate": 1e-2 if lora else 3e-3, "steps": 6, "tasks_per_step": 1, "group_size": 16}
    engine = VLLMEngine(200, 16, grpo={"vllm_mode": "colocate"})
    run = Run(policy, lambda: corridor(1), ["3-4"], tmp_path, engine=engine, **options)
    after = probability(policy, OPENING, "go east")
    assert 0.2 < before < 0.8 and after > before + 0.1
    differences = run.values("rl/sampling/sampling_logp_difference/max")
    assert len(differences) == 6 and max(differences) < 0.05 < abs(np.log(after / before))
    spent = run.meter.spent
    assert spent.generated_tokens == sum(episode.trajectory.agent_tokens for episode in run.all_episodes)
    assert spent.prefill_tokens == sum(episode.trajectory.context_tokens for episode in run.all_episodes)
    del run
    gc.collect()
    assert not [thing for thing in gc.get_objects() if type(thing) is LLM]
    assert not torch.distributed.is_initialized() and "RANK" not in os.environ
