"""Which episodes are played depends on the seed and the tasks, not on their order or on how many are in play."""

import random

import gymnasium
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prism_bench.accounting.ledger import Meter
from prism_bench.data.prompts import ActionPrompt
from prism_bench.data.rendering import Renderer
from prism_bench.models.policy import ScratchModel, create_policy
from prism_bench.rollouts.backend import Sampling
from prism_bench.rollouts.episodes import EpisodePlayer, session_numbers
from prism_bench.rollouts.expert import play_expert
from prism_bench.rollouts.transformers_backend import TransformersBackend

ID = "envs.alfworld:prism_bench/ALFWorld-v0"


@given(st.lists(st.sampled_from(["a", "b", "1 a", "0 b", "c"])), st.randoms(use_true_random=False))
def test_a_session_is_named_by_task_and_repetition(tasks, rng):
    numbers = session_numbers(tasks)
    assert len(set(numbers)) == len(tasks) and all(0 <= number < 2**63 for number in numbers)
    shuffled = rng.sample(tasks, len(tasks))
    assert sorted(zip(shuffled, session_numbers(shuffled), strict=True)) == sorted(zip(tasks, numbers, strict=True))


@pytest.fixture(scope="module")
def policy():
    """A model of the default size that has opinions, though not of its own."""
    make = gymnasium.make(ID, split="train")
    expert = play_expert(make, "search", make.unwrapped.task_ids[:100], Meter("collect"))
    texts = [text for episode in expert for step in episode.steps for text in (step.observation, step.action)]
    sizes = {"hidden_size": 128, "intermediate_size": 384, "layers": 2, "heads": 4, "key_value_heads": 2}
    rest = {"max_length": 300, "max_reply_tokens": 6, "batch_size": 40, "base": None}
    policy = create_policy(ScratchModel(**sizes, **rest), texts, seed=0)
    for parameter in policy.model.parameters():
        if parameter.dim() == 2:
            parameter.data *= 4
    return policy


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_same_episodes_in_any_batch_and_order(policy, temperature):
    renderer = Renderer(policy.tokenizer, ActionPrompt(), max_length=300)
    names = gymnasium.make(ID, split="train").unwrapped.task_ids[:12]
    tasks = [*names, *names]
    sampling = Sampling(temperature, max_reply_tokens=6, seed=3)

    def play(tasks, batch_size, **settings):
        player = EpisodePlayer(lambda: gymnasium.make(ID, split="train"), renderer, batch_size)
        backend = TransformersBackend(policy.model, renderer.end_token_id, **settings)
        episodes = player.play(backend, tasks, sampling, "policy:x", Meter("eval"), max_turns=8)
        assert [episode.trajectory.task_id for episode in episodes] == tasks
        tokens = [(episode.prompt_ids, episode.completion_ids, episode.agent_mask) for episode in episodes]
        return dict(zip(session_numbers(tasks), tokens, strict=True))

    expected = play(tasks, 24)
    assert sum(sum(mask) for _, _, mask in expected.values()) > 500
    if temperature:
        pairs = [[expected[session] for session in session_numbers([name, name])] for name in names]
        assert all(first != second for first, second in pairs)
    for batch_size, settings in ((1, {}), (7, {"tokens_per_forward": 100})):
        shuffled = random.Random(batch_size).sample(tasks, 24)
        assert play(shuffled, batch_size, **settings) == expected


def test_an_episode_does_not_change_with_the_tasks_beside_it(policy):
    renderer = Renderer(policy.tokenizer, ActionPrompt(), max_length=300)
    names = gymnasium.make(ID, split="train").unwrapped.task_ids[:6]
    player = EpisodePlayer(lambda: gymnasium.make(ID, split="train"), renderer, 6)
    backend = TransformersBackend(policy.model, renderer.end_token_id)
    torch.manual_seed(1)  # no global generator takes part
    all_of_them = player.play(backend, names, Sampling(seed=1), "x", Meter("eval"), max_turns=3)
    torch.manual_seed(2)
    last_only = player.play(backend, names[5:], Sampling(seed=1), "x", Meter("eval"), max_turns=3)
    assert last_only[0].completion_ids == all_of_them[5].completion_ids
    assert {tuple(episode.logprobs) for episode in all_of_them} != {tuple(last_only[0].logprobs)}
