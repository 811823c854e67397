"""Generation with transformers: one ragged key-value cache for all running episodes, each kept until it ends.

A turn has one or a few prefills of the new tokens and then one forward per sampled token for the whole batch. A session
whose completion has ended waits for the longest completion of the turn; once fewer than half of the sessions still
write, only these are computed. The token that ends a completion gets no forward pass of its own: it is read together
with the observation that follows it. (``Work`` counts it once, as generated.) A forward can also read a draft of the
next tokens (:mod:`prism_bench.rollouts.drafts`); what it reads in vain is billed and counts as no token.

Completions do not depend on the batch if the weights are float32: a draw that is too close to call
(:mod:`prism_bench.rollouts.sampling`) is made from one forward over that session's tokens alone. With fewer bits
rounding is too coarse for this, and now and then another batch leads to another token.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import PreTrainedModel

from prism_bench.accounting.flops import decode_flops, forward_flops
from prism_bench.models.decoder import evaluation_mode, model_shape
from prism_bench.models.policy import Policy
from prism_bench.models.precision import product_dtype
from prism_bench.rollouts.backend import Completion, Sampling, Work
from prism_bench.rollouts.drafts import Lookup
from prism_bench.rollouts.ragged_cache import GROWTH
from prism_bench.rollouts.ragged_model import RaggedModel
from prism_bench.rollouts.sampling import LOGIT_NOISE, draw
from prism_bench.settings.types import Count, CountFromZero, Positive

if TYPE_CHECKING:
    from trl.trainer.grpo_trainer import GRPOTrainer


@dataclass(frozen=True)
class TransformersEngine:
    """A :class:`prism_bench.rollouts.backend.Engine`: the policy's own model generates, wherever it is.

    Attributes:
        tokens_per_forward: the most that one prefill reads, padding included.
        cache_gib: the most memory for keys and values, in GiB; fewer episodes run at once where they would need more.
        draft: the most tokens that are guessed and read together with the one before them; 0 for none.
    """

    tokens_per_forward: Count = 16_384
    cache_gib: Positive = 8.0
    draft: CountFromZero = 0

    @property
    def name(self) -> str:
        return "transformers"

    @property
    def devices(self) -> int:
        return 1

    def grpo_options(self) -> Mapping[str, Any]:
        return {}

    @contextmanager
    def start(self, policy: Policy, checkpoint: str | Path, end_token_id: int) -> Iterator["TransformersBackend"]:
        yield self.backend(policy.model, end_token_id)

    def in_trainer(self, trainer: "GRPOTrainer", end_token_id: int) -> "TransformersBackend":
        return self.backend(trainer.accelerator.unwrap_model(trainer.model), end_token_id)

    def backend(self, model: PreTrainedModel, end_token_id: int) -> "TransformersBackend":
        """Return what generates with a model, within the limits of this engine."""
        return TransformersBackend(model, end_token_id, self.tokens_per_forward, self.cache_gib, self.draft)

    def leave_trainer(self, trainer: "GRPOTrainer") -> None:
        """Do nothing: the model is the trainer's own."""


class _Session:
    """A session: its tokens, of which the cache holds the first in ``row``, and its random numbers."""

    def __init__(self, row: int, stream: np.random.Generator) -> None:
        self.row = row
        self.stream = stream
        self.lookup = Lookup()

    @property
    def ids(self) -> list[int]:
        """All its tokens."""
        return self.lookup.ids


class TransformersBackend:
    """A :class:`prism_bench.rollouts.backend.Backend` over any decoder-only transformers model.

    Args:
        model: in evaluation mode while it is used here; its weights are read, never changed. It may have a LoRA
            adapter.
        end_token_id: the token with which a completion ends.
        tokens_per_forward: the most tokens that a forward reads at once, padding included.
        cache_gib: the most memory for keys and values, in GiB.
        draft: the most tokens of a draft.

    Raises:
        InputError: the model's kind of attention or logits is not supported.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        end_token_id: int,
        tokens_per_forward: int = 16_384,
        cache_gib: float = 8.0,
        draft: int = 0,
    ) -> None:
        self.model = model
        self.draft = draft
        self.cache_gib = cache_gib
        self.end_token_id = end_token_id
        self.shape = model_shape(model)
        self.reader = RaggedModel(model, end_token_id, tokens_per_forward)
        self.noise = LOGIT_NOISE if product_dtype(model) == torch.float32 else 0.0
        self.sessions: dict[int, _Session] = {}
        self.free_rows: list[int] = []
        self._work = Work()

    @torch.inference_mode()
    def complete(self, new_tokens: Mapping[int, Sequence[int]], sampling: Sampling) -> dict[int, Completion]:
        with evaluation_mode(self.model):
            return self._complete(new_tokens, sampling)

    def most_sessions(self, tokens: int) -> int:
        """Return how many sessions of up to ``tokens`` tokens the cache can hold, at least one."""
        shape = self.shape
        bytes_per_token = 2 * shape.layers * shape.kv_heads * shape.head_dim * product_dtype(self.model).itemsize
        return max(1, int(self.cache_gib * 2**30 / (bytes_per_token * GROWTH * tokens)))

    def close(self, sessions: Sequence[int]) -> None:
        self.free_rows += [self.sessions.pop(session).row for session in sessions if session in self.sessions]
        if len(self.free_rows) >= 0.25 * len(self.reader.lengths):
            remaining = sorted(self.sessions.values(), key=lambda session: session.row)
            self.reader.keep([session.row for session in remaining])
            for row, session in enumerate(remaining):
                session.row = row
            self.free_rows = []

    def take_work(self) -> Work:
        work, self._work = self._work, Work()
        return work

    def _complete(self, new_tokens: Mapping[int, Sequence[int]], sampling: Sampling) -> dict[int, Completion]:
        speaking = {name: self.sessions.get(name) or self._open(name, sampling.seed) for name in new_tokens}
        cached = [self.reader.lengths[session.row] for session in speaking.values()]
        for name, session in speaking.items():
            session.lookup.extend(new_tokens[name])
        unread = {session.row: session.ids[length:] for session, length in zip(speaking.values(), cached, strict=True)}
        scores = self.reader.read(unread)[:, None]
        completions = {name: Completion([], []) for name in new_tokens}
        going = [(session, completions[name], list[int]()) for name, session in speaking.items()]
        while True:
            self._write(going, scores, sampling)
            going = [
                (session, completion, session.lookup.draft(min(self.draft, left - 1), self.end_token_id))
                for session, completion, _ in going
                if (left := self._left(completion, sampling))
            ]
            if not going:
                break
            scores = self.reader.step({session.row: [session.ids[-1], *draft] for session, _, draft in going})
        read, before = np.array([len(ids) for ids in unread.values()]), np.array(cached)
        written = np.array([len(completion.ids) for completion in completions.values()])
        flops = forward_flops(self.shape, read, before, logits=1) + decode_flops(self.shape, written - 1, before + read)
        self._count(sum(map(len, new_tokens.values())), int(written.sum()), flops)
        return completions

    def _write(
        self, going: Sequence[tuple[_Session, Completion, list[int]]], scores: torch.Tensor, sampling: Sampling
    ) -> None:
        """Draw a token for each session, and one more wherever the draft has foreseen the last.

        Args:
            going: sessions, their completions and the drafts that were read.
            scores: logits after the token before the draft and after each of the draft, (sessions, tokens, vocabulary).
        """
        right, place = list(range(len(going))), 0
        while right:
            chosen = scores[:, place] if len(right) == len(going) else scores[right, place]
            drawn = self._draw([going[number][0] for number in right], chosen, sampling)
            foreseen = []
            for number, token, logprob in zip(right, *drawn, strict=True):
                session, completion, draft = going[number]
                session.lookup.extend([token])
                completion.ids.append(token)
                completion.logprobs.append(logprob)
                if draft[place : place + 1] == [token] and self._left(completion, sampling):
                    foreseen.append(number)
                elif missed := len(draft) - place:
                    self._count(0, 0, forward_flops(self.shape, missed, len(session.ids) - 1, logits=missed))
            right, place = foreseen, place + 1
        for session, _, _ in going:
            self.reader.lengths[session.row] = len(session.ids) - 1  # what the draft has added is overwritten

    def _left(self, completion: Completion, sampling: Sampling) -> int:
        """Return how many tokens the completion may still have."""
        return 0 if completion.ids[-1] == self.end_token_id else sampling.max_completion_tokens - len(completion.ids)

    def _open(self, name: int, seed: int) -> _Session:
        row = self.free_rows.pop() if self.free_rows else self.reader.add_row()
        self.reader.lengths[row] = 0
        session = _Session(row, np.random.Generator(np.random.Philox(key=[seed, name])))
        self.sessions[name] = session
        return session

    def _draw(
        self, sessions: Sequence[_Session], scores: torch.Tensor, sampling: Sampling
    ) -> tuple[list[int], list[float]]:
        """Draw a token for each session; return tokens and log-probabilities."""
        numbers = [session.stream.random() for session in sessions] if sampling.temperature > 0 else []
        tokens, logprobs, close = draw(scores, sampling.temperature, numbers, self.noise)
        for place in close:
            ids = sessions[place].ids
            alone = self.reader.read_alone(ids)
            (tokens[place],), (logprobs[place],), _ = draw(alone, sampling.temperature, numbers[place : place + 1], 0.0)
            self._count(0, 0, forward_flops(self.shape, len(ids), logits=1))
        return tokens, logprobs

    def _count(self, prefill: int, generated: int, flops: int) -> None:
        work = self._work
        self._work = Work(work.prefill_tokens + prefill, work.generated_tokens + generated, work.flops + flops)
