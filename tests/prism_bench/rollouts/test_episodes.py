"""Episodes depend on the seed and the tasks, not on their order or the batch size; the meter counts how they ended."""

import functools
import random

import gymnasium
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from saying import Saying

from prism_bench.accounting.meter import Meter
from prism_bench.data.prompts import ActionPrompt
from prism_bench.data.rendering import Renderer
from prism_bench.models.scratch import ScratchModel, create_policy
from prism_bench.rollouts.backend import Sampling
from prism_bench.rollouts.episodes import Limits, RolloutRunner, session_numbers
from prism_bench.rollouts.expert import run_expert
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
    """A model of the default size with clear preferences, though random ones."""
    make = gymnasium.make(ID, split="train")
    expert = run_expert(make, "search", make.unwrapped.task_ids[:100], Meter("collect"))
    texts = [text for episode in expert for step in episode.steps for text in (step.observation, step.action)]
    sizes = {"hidden_size": 128, "intermediate_size": 384, "layers": 2, "heads": 4, "key_value_heads": 2}
    rest = {"max_length": 300, "max_completion_tokens": 6, "batch_size": 40, "base": None}
    policy = create_policy(ScratchModel(**sizes, **rest), texts, seed=0)
    for parameter in policy.model.parameters():
        if parameter.dim() == 2:
            parameter.data *= 4
    return policy


@pytest.mark.parametrize(
    ("temperature", "last_turns"), [pytest.param(0.0, None, marks=pytest.mark.slow), (1.0, None), (1.0, 2)]
)
def test_the_same_episodes_in_any_batch_and_order(policy, temperature, last_turns):
    renderer = Renderer(policy.tokenizer, ActionPrompt(last_turns=last_turns), max_length=300)
    names = gymnasium.make(ID, split="train").unwrapped.task_ids[:12]
    tasks = [*names, *names]
    sampling = Sampling(temperature, max_completion_tokens=6, seed=3)

    def play(tasks, batch_size, **settings):
        runner = RolloutRunner(lambda: gymnasium.make(ID, split="train"), renderer, batch_size)
        backend = TransformersBackend(policy.model, renderer.end_token_id, **settings)
        episodes = runner.run(backend, tasks, sampling, "policy:x", Meter("eval"), limits=Limits(8))
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


@pytest.mark.slow
def test_neither_batch_size_nor_workers_change_an_episode(policy):
    """They are in no stage's key, since in float32 on a CPU they change nothing."""
    renderer = Renderer(policy.tokenizer, ActionPrompt(), max_length=300)
    make = functools.partial(gymnasium.make, ID, split="train")
    tasks = make().unwrapped.task_ids[:40]

    def play(batch_size, workers):
        backend = TransformersBackend(policy.model, renderer.end_token_id)
        with RolloutRunner(make, renderer, batch_size, workers) as runner:
            episodes = runner.run(backend, tasks, Sampling(1.0, 6, seed=3), "policy:x", Meter("eval"), limits=Limits(8))
        return [
            (episode.trajectory, episode.prompt_ids, episode.completion_ids, episode.agent_mask) for episode in episodes
        ]

    expected = play(256, False)
    for batch_size, workers in ((256, True), (7, False), (7, True), (1, False)):
        assert play(batch_size, workers) == expected, (batch_size, workers)


def test_the_cache_stays_within_its_setting(policy):
    renderer = Renderer(policy.tokenizer, ActionPrompt(), max_length=200)
    names = gymnasium.make(ID, split="train").unwrapped.task_ids[:16]
    sampling = Sampling(1.0, max_completion_tokens=6, seed=3)

    def play(cache_gib):
        runner = RolloutRunner(lambda: gymnasium.make(ID, split="train"), renderer, 16)
        backend = TransformersBackend(policy.model, renderer.end_token_id, cache_gib=cache_gib)
        used, open_at_once, complete = [], [], backend.complete

        def watched(new_tokens, sampling):
            completions = complete(new_tokens, sampling)
            buffers = [buffer for pair in backend.reader.cache.buffers for buffer in pair]
            used.append(sum(buffer.nbytes for buffer in buffers))
            open_at_once.append(len(backend.sessions))
            return completions

        backend.complete = watched
        episodes = runner.run(backend, names, sampling, "x", Meter("eval"), limits=Limits(8))
        return [episode.completion_ids for episode in episodes], max(used), max(open_at_once)

    bound = 2_000_000
    free, _, all_at_once = play(8.0)
    bounded, most_bytes, few_at_once = play(bound / 2**30)
    assert (all_at_once, few_at_once) == (16, 7)  # of 250 slots with 2 layers x 2 x 2 heads x 32 numbers of 4 bytes
    assert bound / 2 < most_bytes <= bound
    assert bounded == free


def test_an_episode_does_not_change_with_the_tasks_beside_it(policy):
    renderer = Renderer(policy.tokenizer, ActionPrompt(), max_length=300)
    names = gymnasium.make(ID, split="train").unwrapped.task_ids[:6]
    runner = RolloutRunner(lambda: gymnasium.make(ID, split="train"), renderer, 6)
    backend = TransformersBackend(policy.model, renderer.end_token_id)
    torch.manual_seed(1)  # no global generator takes part
    all_of_them = runner.run(backend, names, Sampling(seed=1), "x", Meter("eval"), limits=Limits(3))
    torch.manual_seed(2)
    last_only = runner.run(backend, names[5:], Sampling(seed=1), "x", Meter("eval"), limits=Limits(3))
    assert last_only[0].completion_ids == all_of_them[5].completion_ids
    assert {tuple(episode.logprobs) for episode in all_of_them} != {tuple(last_only[0].logprobs)}


@pytest.mark.parametrize(
    ("text", "max_length", "max_turns", "context_full", "out_of_turns"),
    [
        ("go east", 1000, None, 0, 0),
        ("go east", 1000, 1, 0, 2),  # room 2 is reached with the last turn that is allowed
        ("go west", 1000, 7, 0, 3),
        ("go west", 1000, 8, 0, 0),  # the environment's own limit
        ("go west", 50, 8, 3, 0),
        ("go west", 50, 1, 0, 3),
    ],
)
def test_the_meter_counts_why_episodes_ended(
    corridor, corridor_policy, text, max_length, max_turns, context_full, out_of_turns
):
    renderer = Renderer(corridor_policy().tokenizer, ActionPrompt(), max_length)
    meter = Meter("rl")
    with RolloutRunner(corridor, renderer, batch_size=2) as runner:
        sampling = Sampling(max_completion_tokens=3)
        episodes = runner.run(
            Saying(renderer, text), ["1-2", "1-6", "2-6"], sampling, "x", meter, limits=Limits(max_turns)
        )
    spent = meter.spent
    assert (spent.episodes, spent.context_full, spent.out_of_turns) == (3, context_full, out_of_turns)
    steps = [len(episode.trajectory.steps) for episode in episodes]
    assert spent.env_steps == sum(steps)
    unfinished = [n for n, episode in zip(steps, episodes, strict=True) if not episode.trajectory.success and n < 8]
    assert len(unfinished) == context_full + out_of_turns


@pytest.mark.parametrize(("most", "steps"), [(None, 8), (0, 1), (2, 3), (7, 8)])
def test_an_episode_may_end_after_some_actions_that_are_not_admissible(corridor, corridor_policy, most, steps):
    renderer = Renderer(corridor_policy().tokenizer, ActionPrompt(), 1000)
    meter = Meter("rl")
    with RolloutRunner(corridor, renderer, batch_size=2) as runner:
        sampling = Sampling(max_completion_tokens=3)
        episodes = runner.run(Saying(renderer, "stay"), ["1-2", "1-6"], sampling, "x", meter, limits=Limits(None, most))
    assert [(len(episode.trajectory.steps), episode.inadmissible) for episode in episodes] == [(steps, steps)] * 2
    assert meter.spent.strayed == (2 if steps < 8 else 0)


def test_episodes_of_an_expert_are_counted(corridor):
    meter = Meter("collect")
    run_expert(corridor(), "straight", ["1-2", "1-6", "6-1"], meter)
    assert (meter.spent.episodes, meter.spent.env_steps) == (3, 11)
