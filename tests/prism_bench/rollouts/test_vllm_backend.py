"""Sessions over an engine that is asked turn by turn; the engine is a model that reads every context from its start."""

import numpy as np
import pytest
import torch
from test_transformers_backend import END, GREEDY, SAMPLED, assert_agrees_with_full_forward, play

from prism_bench.models.decoder import model_shape
from prism_bench.rollouts.backend import Completion, Sampling
from prism_bench.rollouts.transformers_backend import TransformersBackend
from prism_bench.rollouts.vllm_backend import Request, VLLMBackend


class Engine:
    """Answers requests without any cache, drawing with each request's own seed, and remembers them."""

    def __init__(self, model) -> None:
        self.model = model.eval()
        self.asked: list[Request] = []

    def __call__(self, requests, sampling: Sampling) -> list[Completion]:
        self.asked += [Request(list(request.ids), request.seed) for request in requests]
        return [self.answer(request, sampling) for request in requests]

    @torch.no_grad()
    def answer(self, request: Request, sampling: Sampling) -> Completion:
        ids, completion = list(request.ids), Completion([], [])
        stream = torch.Generator().manual_seed(request.seed)
        while len(completion.ids) < sampling.max_completion_tokens and completion.ids[-1:] != [END]:
            logits = self.model(input_ids=torch.tensor([ids])).logits[0, -1]
            logprobs = torch.log_softmax(logits / (sampling.temperature or 1.0), dim=-1)
            drawn = logits.argmax() if sampling.temperature == 0 else logprobs.exp().multinomial(1, generator=stream)
            completion.ids.append(int(drawn))
            completion.logprobs.append(float(logprobs[drawn]))
            ids.append(int(drawn))
        return completion


@pytest.mark.parametrize("lora", [(), ("q_proj", "down_proj")], ids=["full", "lora"])
def test_episodes_and_bill_are_those_of_the_other_backend(tiny_model, lora):
    model = tiny_model(lora=lora)
    backend, other = VLLMBackend(Engine(model), model_shape(model)), TransformersBackend(model, END)
    played, expected = (play(each, GREEDY, sessions=9, places=4) for each in (backend, other))
    assert {session: c.completions for session, c in played.items()} == {s: c.completions for s, c in expected.items()}
    work, billed = backend.take_work(), other.take_work()
    assert (work.prefill_tokens, work.generated_tokens) == (billed.prefill_tokens, billed.generated_tokens)
    assert work.flops == pytest.approx(billed.flops, rel=1e-12) and work.flops > 0
    assert backend.take_work().flops == 0
    assert not backend.contexts


def test_sampled_conversations_agree_with_one_forward_over_the_whole(tiny_model):
    model = tiny_model("qwen3")
    assert_agrees_with_full_forward(
        model, play(VLLMBackend(Engine(model), model_shape(model)), SAMPLED, sessions=6, places=3), SAMPLED
    )


def test_every_turn_of_every_session_has_a_seed_of_its_own_that_the_batch_does_not_change(tiny_model):
    model = tiny_model()
    engines = [Engine(model) for _ in range(3)]
    for engine, places, sampling in zip(engines, (1, 9, 9), (SAMPLED, SAMPLED, Sampling(0.8, 6, seed=12)), strict=True):
        play(VLLMBackend(engine, model_shape(model)), sampling, sessions=9, places=places, seed=places)
    alone, batched, reseeded = ({request.seed for request in engine.asked} for engine in engines)
    assert len(alone) == len(engines[0].asked) > 20
    assert alone == batched and not alone & reseeded
    assert max(alone) < 2**63


def test_sessions_are_numbers_of_64_bits(tiny_model):
    model = tiny_model()
    engine = Engine(model)
    sessions = [2**64 - 1, 2**63, 2**32, 1, 0]
    completions = VLLMBackend(engine, model_shape(model)).complete({session: [5] for session in sessions}, SAMPLED)
    assert list(completions) == sessions
    assert len({request.seed for request in engine.asked}) == len(sessions)
    assert np.array([request.seed for request in engine.asked], dtype=np.int64).min() >= 0
