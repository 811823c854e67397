"""The real vLLM against transformers: a checkpoint must act the same. ``make test-vllm`` runs this on a CPU."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from test_transformers_backend import GREEDY, SAMPLED, assert_agrees_with_full_forward, play

from prism_bench.accounting.meter import Meter
from prism_bench.data.prompts import ActionPrompt
from prism_bench.data.rendering import Renderer
from prism_bench.errors import InputError
from prism_bench.models.decoder import model_shape
from prism_bench.models.policy import Policy, load_policy, save_policy
from prism_bench.models.tokenizer import build_tokenizer
from prism_bench.rollouts.backend import Sampling
from prism_bench.rollouts.episodes import Episode, RolloutRunner
from prism_bench.rollouts.transformers_backend import TransformersBackend
from prism_bench.rollouts.vllm_backend import VLLMBackend, generate_on_server
from prism_bench.rollouts.vllm_engine import VLLMEngine

pytestmark = pytest.mark.vllm

TASKS = [f"{start}-{goal}" for start in range(1, 7) for goal in range(1, 7) if start != goal]
ENGINE = VLLMEngine(512, 16, gpu_memory_utilization=0.2, options={"enforce_eager": True})  # compiles nothing: faster


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """Engines within this process, since processes of their own take most of a minute to start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        patch.setenv("TORCHDYNAMO_DISABLE", "1")  # what ranks log-probabilities compiles for seconds
        yield


@dataclass
class Subject:
    """A policy as it was loaded from disk, and an engine that serves it."""

    policy: Policy
    checkpoint: Path
    backend: VLLMBackend

    @property
    def end_token_id(self) -> int:
        return self.policy.tokenizer.eos_token_id


@pytest.fixture(scope="module")
def saved(tiny_model, corridor_episodes, tmp_path_factory):
    """Return a maker of checkpoints that know the corridor's words; arguments as for ``tiny_model``."""
    steps = [step for episode in corridor_episodes for step in episode.steps]
    tokenizer = build_tokenizer([text for step in steps for text in (step.observation, step.action)])

    def make(*args, lora=False, **changes) -> Path:
        folder = tmp_path_factory.mktemp("checkpoint")
        ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
        sizes = {"vocab_size": max(40, len(tokenizer)), "head_dim": 32, "max_position_embeddings": 512}
        model = tiny_model(*args, **sizes | ids | changes)
        model.generation_config.update(do_sample=True, top_k=2, repetition_penalty=3.0, eos_token_id=[4, 5, 6, 7, 8, 9])
        save_policy(Policy(model, tokenizer), folder / "model")
        if not lora:
            return folder / "model"
        adapter = LoraConfig(
            r=4, lora_alpha=4, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False
        )
        base = load_policy(folder / "model")
        save_policy(Policy(get_peft_model(base.model, adapter), tokenizer), folder / "adapter")
        return folder / "adapter"

    return make


@contextmanager
def started(checkpoint: Path) -> Iterator[Subject]:
    policy = load_policy(checkpoint)
    with ENGINE.start(policy, checkpoint, policy.tokenizer.eos_token_id) as backend:
        yield Subject(policy, checkpoint, backend)


KINDS = {"llama": {"tie_word_embeddings": True}, "qwen3": {"architecture": "qwen3"}, "llama lora": {"lora": True}}


@pytest.fixture(scope="module", params=KINDS)
def subject(request, saved) -> Iterator[Subject]:
    with started(saved(**KINDS[request.param])) as subject:
        yield subject


def first_difference(one: Episode, other: Episode) -> int | None:
    """Return the position at which two episodes part, in the tokens of prompt and rest together."""
    first, second = (np.array(episode.prompt_ids + episode.completion_ids) for episode in (one, other))
    common = min(len(first), len(second))
    differing = np.flatnonzero(first[:common] != second[:common])
    if len(differing):
        return int(differing[0])
    return None if len(first) == len(second) else common


def test_greedy_episodes_are_those_of_transformers(subject, corridor):
    renderer = Renderer(subject.policy.tokenizer, ActionPrompt(), 200)
    runner = RolloutRunner(corridor, renderer, batch_size=8)
    other = TransformersBackend(subject.policy.model, renderer.end_token_id)
    other.noise = 0.0  # draws too close to call are not made, and billed, once more
    meters = [Meter("eval"), Meter("eval")]
    played, expected = (
        runner.run(backend, TASKS, Sampling(0.0, 6), "policy:x", meter)
        for backend, meter in zip((subject.backend, other), meters, strict=True)
    )
    places = [first_difference(one, other) for one, other in zip(played, expected, strict=True)]
    for episode, place in zip(expected, places, strict=True):
        if place is not None:
            ids = torch.tensor([episode.prompt_ids + episode.completion_ids])
            with torch.no_grad():
                best = subject.policy.model(input_ids=ids).logits[0, place - 1].topk(2).values
            assert best[0] - best[1] < 1e-3
    assert len({tuple(episode.completion_ids) for episode in played}) > 10
    assert max(len(episode.trajectory.steps) for episode in played) == 8
    if not any(places):
        assert meters[0].spent.prefill_tokens == meters[1].spent.prefill_tokens
        assert meters[0].spent.flops == pytest.approx(meters[1].spent.flops)


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_logprobs_agree_with_one_forward_over_the_whole_conversation(subject, sampling):
    played = play(subject.backend, sampling, sessions=9, places=4)
    assert_agrees_with_full_forward(subject.policy.model, played, sampling)
    completions = [completion for conversation in played.values() for completion in conversation.completions]
    end = subject.end_token_id
    assert all(
        end not in completion[:-1] and len(completion) <= sampling.max_completion_tokens for completion in completions
    )
    assert any(
        completion[-1] != end and len(completion) == sampling.max_completion_tokens for completion in completions
    )


def test_the_same_session_and_seed_reply_alike_in_any_batch(subject):
    played = [play(subject.backend, SAMPLED, sessions=9, places=places, seed=places) for places in (1, 5, 9)]
    alone, *batched = [{session: c.completions for session, c in conversations.items()} for conversations in played]
    assert batched == [alone, alone]


def test_seeds_sessions_and_turns_have_streams_of_their_own(subject):
    def ask(seed: int) -> list[tuple[int, ...]]:
        sampling = Sampling(max_completion_tokens=20, seed=seed)
        completions = subject.backend.complete({session: [5, 6] for session in range(8)}, sampling)
        subject.backend.close(range(8))
        return [tuple(completion.ids) for completion in completions.values()]

    assert ask(0) == ask(0) != ask(1)
    assert len(set(ask(0))) > 4


def test_samples_follow_the_distribution(subject):
    draws = 2000
    completions = subject.backend.complete({session: [5, 6] for session in range(draws)}, Sampling(1.3, 1, seed=4))
    subject.backend.close(range(draws))
    model = subject.policy.model
    counts = np.bincount([completion.ids[0] for completion in completions.values()], minlength=model.config.vocab_size)
    with torch.no_grad():
        expected = torch.softmax(model(input_ids=torch.tensor([[5, 6]])).logits[0, -1] / 1.3, dim=-1).numpy() * draws
    standard = np.sqrt(expected * (1 - expected / draws)).clip(min=1)
    assert (np.abs(counts - expected) < 4.5 * standard).all()


def test_a_server_answers_alike(saved):
    """Asked by TRL's client; new weights reach a server by NCCL only, which a CPU does not have."""
    from trl.generation.vllm_client import VLLMClient

    checkpoint = saved()
    policy = load_policy(checkpoint)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["-m", "vllm.entrypoints.openai.api_server", "--model", str(checkpoint), "--port", str(port)]
    command += ["--host", "127.0.0.1", "--dtype", "float32", "--max-model-len", "512", "--enforce-eager"]
    command += ["--gpu-memory-utilization", "0.2", "--logprobs-mode", "processed_logprobs"]
    server = subprocess.Popen([sys.executable, *command])
    try:
        client = VLLMClient(base_url=f"http://127.0.0.1:{port}", connection_timeout=180)
        backend = VLLMBackend(generate_on_server(client, policy.tokenizer.eos_token_id), model_shape(policy.model))
        assert_agrees_with_full_forward(policy.model, play(backend, GREEDY, sessions=9, places=4), GREEDY)
        played, again = (play(backend, SAMPLED, sessions=9, places=places) for places in (4, 9))
        assert_agrees_with_full_forward(policy.model, played, SAMPLED)
        assert [played[session].completions for session in range(9)] == [
            again[session].completions for session in range(9)
        ]
    finally:
        server.terminate()
        server.wait(60)


def test_an_adapter_takes_part(saved):
    checkpoint = saved(lora=True)
    with started(checkpoint) as subject:
        adapted = play(subject.backend, GREEDY, sessions=2, places=2)
        with subject.policy.model.disable_adapter():
            without = play(TransformersBackend(subject.policy.model, subject.end_token_id), GREEDY, 2, 2)
    assert adapted != without


def test_training_on_a_cpu_is_refused():
    with pytest.raises(InputError, match=r"no new weights on a CPU.*take generation=transformers, or a strategy"):
        ENGINE.grpo_options()


def test_the_other_device_is_refused(saved):
    checkpoint = saved()
    policy = load_policy(checkpoint)
    policy.model.to("meta")
    with pytest.raises(InputError, match=r"computes on cpu, but model\.device=meta"):
        ENGINE.start(policy, checkpoint, 3).__enter__()
