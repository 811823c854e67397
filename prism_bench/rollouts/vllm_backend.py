"""Generation with vLLM: every turn is a request that holds the session's whole context.

vLLM's prefix cache keeps the part of a context that was read before, so that only the new text and the last unfilled
block of the cache are computed. :class:`Work` is the bill of :mod:`transformers_backend` for the same tokens: every
token read once. Tokens that vLLM computes again are not on the bill.

Completions are drawn from the model's own distribution at the sampling temperature: no top-k, no top-p, no penalties,
and nothing that a checkpoint's ``generation_config`` asks for. Log-probabilities are those of that distribution. In
another batch they differ by rounding, which now and then changes a token.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from prism_bench.accounting.flops import ModelShape, decode_flops, forward_flops
from prism_bench.rollouts.backend import Completion, Sampling, Work

if TYPE_CHECKING:
    from trl.generation.vllm_client import VLLMClient
    from vllm import LLM
    from vllm.lora.request import LoRARequest

REQUESTS_AT_ONCE = 64
"""Requests to a server; as many as TRL's client keeps connections open."""


@dataclass(frozen=True, slots=True)
class Request:
    """One turn of one session: all of its tokens so far, and the seed of the completion."""

    ids: Sequence[int]
    seed: int


Generate = Callable[[Sequence[Request], Sampling], list[Completion]]
"""Function that answers each request, from :func:`generate_here` or :func:`generate_on_server`."""


class VLLMBackend:
    """A :class:`prism_bench.rollouts.backend.Backend` over anything that answers requests.

    Args:
        generate: answers requests; completions end with the end-of-turn token or are truncated.
        shape: of the model that answers, for the bill.
    """

    def __init__(self, generate: Generate, shape: ModelShape) -> None:
        self.generate = generate
        self.shape = shape
        self.contexts: dict[int, list[int]] = {}
        self._work = Work()

    def complete(self, new_tokens: Mapping[int, Sequence[int]], sampling: Sampling) -> dict[int, Completion]:
        contexts = [self.contexts.setdefault(session, []) for session in new_tokens]
        known = np.array([max(len(context) - 1, 0) for context in contexts])  # the last sampled token is read now
        for context, tokens in zip(contexts, new_tokens.values(), strict=True):
            context += tokens
        requests = [
            Request(context, _seed(sampling.seed, session, len(context)))
            for session, context in zip(new_tokens, contexts, strict=True)
        ]
        completions = self.generate(requests, sampling)
        lengths = np.array([len(context) for context in contexts])
        written = np.array([len(completion.ids) for completion in completions])
        flops = forward_flops(self.shape, lengths - known, known, logits=1)
        flops += decode_flops(self.shape, written - 1, lengths)
        for context, completion in zip(contexts, completions, strict=True):
            context += completion.ids
        work, prefill = self._work, sum(map(len, new_tokens.values()))
        self._work = Work(work.prefill_tokens + prefill, work.generated_tokens + int(written.sum()), work.flops + flops)
        return dict(zip(new_tokens, completions, strict=True))

    def most_sessions(self, tokens: int) -> None:
        """Return None: vLLM has a memory of its own, and requests wait until there is room."""

    def close(self, sessions: Sequence[int]) -> None:
        for session in sessions:
            self.contexts.pop(session, None)

    def take_work(self) -> Work:
        work, self._work = self._work, Work()
        return work


def _seed(seed: int, session: int, position: int) -> int:
    """Return the seed of the completion that a session gives at a position; 63 bits, as vLLM takes them."""
    return int(np.random.SeedSequence([seed, session, position]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def generate_here(llm: "LLM", end_token_id: int, adapter: "LoRARequest | None" = None) -> Generate:
    """Return a function that answers requests with an engine that this process started.

    The engine must have been made with ``logprobs_mode="processed_logprobs"``.
    """
    from vllm import SamplingParams

    def generate(requests: Sequence[Request], sampling: Sampling) -> list[Completion]:
        parameters = [
            SamplingParams(**_parameters(request, sampling, end_token_id), detokenize=False) for request in requests
        ]
        prompts = [{"prompt_token_ids": list(request.ids)} for request in requests]
        answers = llm.generate(prompts, parameters, lora_request=adapter, use_tqdm=False)  # in the order of prompts
        completions = []
        for (answer,) in (request.outputs for request in answers):
            ids = list(answer.token_ids)
            logprobs = [at[token].logprob for token, at in zip(ids, answer.logprobs or [], strict=True)]
            completions.append(Completion(ids, logprobs))
        return completions

    return generate


def generate_on_server(client: "VLLMClient", end_token_id: int) -> Generate:
    """Return a function that answers requests with TRL's client of ``vllm serve``.

    Every request is sent by itself, since a seed holds for all prompts of a request. The server must have been started
    with ``--logprobs-mode processed_logprobs``, as TRL requires too.
    """

    def ask(request: Request, sampling: Sampling) -> Completion:
        parameters = _parameters(request, sampling, end_token_id)
        answer: dict[str, Any] = client.generate([list(request.ids)], generation_kwargs=parameters)
        return Completion(answer["completion_ids"][0], [chosen for (chosen,) in answer["logprobs"][0]])

    def generate(requests: Sequence[Request], sampling: Sampling) -> list[Completion]:
        with ThreadPoolExecutor(min(REQUESTS_AT_ONCE, len(requests))) as pool:
            return list(pool.map(lambda request: ask(request, sampling), requests))

    return generate


def _parameters(request: Request, sampling: Sampling, end_token_id: int) -> dict[str, Any]:
    return {
        "temperature": sampling.temperature,
        "max_tokens": sampling.max_completion_tokens,
        "seed": request.seed,
        "stop_token_ids": [end_token_id],
        "ignore_eos": True,  # a checkpoint may name further tokens, but a completion ends with end_token_id
        "logprobs": 0,  # of the sampled token
    }
