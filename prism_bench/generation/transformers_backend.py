"""Generation with transformers: one ragged key-value cache for all episodes in play, kept until each of them ends.

A turn is one or a few prefills of what is new (rows of similar length together, so that little is padded) and then one
forward per sampled token for the whole batch. The token that ends a reply is not given a forward of its own: it is read
together with the observation that follows it. (``Work`` counts it once, as generated.)
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import PreTrainedModel

from prism_bench.batching import groups_of_similar_length
from prism_bench.decoder import decoder_and_head, evaluation_mode, model_shape
from prism_bench.flops import UnsupportedModelError, forward_flops
from prism_bench.generation.backend import Reply, Sampling, Work
from prism_bench.generation.ragged_cache import RaggedCache
from prism_bench.models import Policy

if TYPE_CHECKING:
    from trl.trainer.grpo_trainer import GRPOTrainer


class TransformersEngine:
    """A :class:`prism_bench.generation.backend.Engine`: the policy's own model plays, wherever it is."""

    name = "transformers"

    def grpo_options(self) -> Mapping[str, Any]:
        return {}

    @contextmanager
    def start(self, policy: Policy, checkpoint: str | Path, end_token_id: int) -> Iterator["TransformersBackend"]:
        yield TransformersBackend(policy.model, end_token_id)

    def in_trainer(self, trainer: "GRPOTrainer", end_token_id: int) -> "TransformersBackend":
        return TransformersBackend(trainer.accelerator.unwrap_model(trainer.model), end_token_id)

    def leave_trainer(self, trainer: "GRPOTrainer") -> None:
        """The model is the trainer's own."""


class TransformersBackend:
    """A :class:`prism_bench.generation.backend.Backend` over any decoder-only transformers model.

    Args:
        model: in evaluation mode while it is used here; its weights are read, never changed. LoRA policies are welcome.
        end_token_id: the token with which a reply ends.

    Raises:
        UnsupportedModelError: the model's attention or logits are of a kind that this cannot reproduce.
    """

    def __init__(self, model: PreTrainedModel, end_token_id: int) -> None:
        self.model = model
        self.end_token_id = end_token_id
        self.shape = model_shape(model)
        self.decoder, self.head = decoder_and_head(model)
        self.additive_mask = _needs_additive_mask(model)
        self.cache = RaggedCache(model.config.num_hidden_layers)
        self.sessions: list[int | None] = []  # by row of the cache
        self.lengths: list[int] = []  # tokens in the cache, by row
        self.unread: dict[int, int] = {}  # the last sampled token of a session, not yet in the cache
        self.sampled: dict[int, int] = {}  # how many tokens a session has drawn: the place in its random stream
        self._work = Work()

    @torch.inference_mode()
    def reply(self, new_tokens: Mapping[int, Sequence[int]], sampling: Sampling) -> dict[int, Reply]:
        with evaluation_mode(self.model):
            return self._reply(new_tokens, sampling)

    def close(self, sessions: Sequence[int]) -> None:
        gone = set(sessions)
        self.sessions = [None if session in gone else session for session in self.sessions]
        for session in gone:
            self.unread.pop(session, None)
            self.sampled.pop(session, None)
        kept = [row for row, session in enumerate(self.sessions) if session is not None]
        if len(kept) <= 0.75 * len(self.sessions):
            self.cache.keep(torch.tensor(kept, dtype=torch.long, device=self.model.device))
            self.sessions = [self.sessions[row] for row in kept]
            self.lengths = [self.lengths[row] for row in kept]

    def take_work(self) -> Work:
        work, self._work = self._work, Work()
        return work

    def _reply(self, new_tokens: Mapping[int, Sequence[int]], sampling: Sampling) -> dict[int, Reply]:
        rows = {session: self._row(session) for session in new_tokens}
        pending = {
            session: [*([self.unread.pop(session)] if session in self.unread else []), *tokens]
            for session, tokens in new_tokens.items()
        }
        streams = {
            session: np.random.Generator(np.random.Philox(key=[sampling.seed, session])) for session in new_tokens
        }
        for session, stream in streams.items():
            stream.random(self.sampled.setdefault(session, 0))
        ids: dict[int, list[int]] = {session: [] for session in new_tokens}
        logprobs: dict[int, list[float]] = {session: [] for session in new_tokens}
        logits: dict[int, torch.Tensor] = {}
        for group in groups_of_similar_length(pending, lambda session: len(pending[session]), factor=2, slack=32):
            scores = self._forward([rows[s] for s in group], [pending[s] for s in group])
            logits.update(zip(group, scores, strict=True))
        active = list(new_tokens)
        scores = torch.stack([logits[session] for session in active])
        while True:
            tokens, chosen = _sample(scores, sampling, [streams[session] for session in active])
            for session, token, logprob in zip(active, tokens, chosen, strict=True):
                ids[session].append(token)
                logprobs[session].append(logprob)
                self.unread[session] = token
            going = [s for s in active if ids[s][-1] != self.end_token_id and len(ids[s]) < sampling.max_reply_tokens]
            if not going:
                break
            scores = self._decode({rows[session]: self.unread.pop(session) for session in going})
            active = going
        for session in new_tokens:
            self.sampled[session] += len(ids[session])
        self._count(sum(map(len, new_tokens.values())), sum(map(len, ids.values())), 0.0)
        return {session: Reply(ids[session], logprobs[session]) for session in new_tokens}

    def _row(self, session: int) -> int:
        if session in self.sampled:
            return self.sessions.index(session)
        if None in self.sessions:
            row = self.sessions.index(None)
            self.sessions[row], self.lengths[row] = session, 0
            return row
        self.sessions.append(session)
        self.lengths.append(0)
        return len(self.sessions) - 1

    def _decode(self, tokens: dict[int, int]) -> torch.Tensor:
        """Return the logits after one more token of each row in ``tokens``.

        Where most rows take part the others come along with an idle token, since a view of the whole cache is
        cheaper than a copy of some of its rows; the idle token is overwritten later.
        """
        if len(tokens) < 0.5 * len(self.sessions):
            return self._forward(list(tokens), [[token] for token in tokens.values()])
        everyone = list(range(len(self.sessions)))
        new = [[tokens.get(row, self.end_token_id)] for row in everyone]
        scores = self._forward(everyone, new, idle={row for row in everyone if row not in tokens})
        return scores[list(tokens)]

    def _forward(self, rows: list[int], new: list[list[int]], idle: Collection[int] = ()) -> torch.Tensor:
        """Append ``new`` tokens to ``rows`` and return the logits after the last of each, (rows, vocabulary)."""
        order = sorted(range(len(rows)), key=rows.__getitem__)  # the cache takes its rows in order
        device = self.model.device
        width = max(map(len, new))
        padded = torch.tensor([new[i] + [self.end_token_id] * (width - len(new[i])) for i in order], device=device)
        lengths = torch.tensor([self.lengths[rows[i]] for i in order], device=device)
        last = torch.tensor([len(new[i]) - 1 for i in order], device=device)
        index = torch.tensor([rows[i] for i in order], device=device)
        self.cache.select(index, lengths[:, None] + torch.arange(width, device=device), len(self.sessions))
        hidden = self.decoder(
            input_ids=padded,
            attention_mask=self.cache.additive_mask(self.model.dtype) if self.additive_mask else self.cache.mask(),
            position_ids=self.cache.positions,
            past_key_values=self.cache,
            use_cache=True,
        ).last_hidden_state
        scores: torch.Tensor = self.head(hidden[torch.arange(len(order), device=device), last])
        counted = [i for i in order if rows[i] not in idle]
        before = np.array([self.lengths[rows[i]] for i in counted])
        added = np.array([len(new[i]) for i in counted])
        self._count(0, 0, float(forward_flops(self.shape, added, before, logits=1)))
        for i in counted:
            self.lengths[rows[i]] += len(new[i])
        self._check_window()
        inverse = torch.empty(len(order), dtype=torch.long)
        inverse[torch.tensor(order)] = torch.arange(len(order))
        return scores[inverse.to(device)].float()

    def _check_window(self) -> None:
        window = getattr(self.model.config.get_text_config(), "sliding_window", None)
        if window is not None and max(self.lengths) > window:
            raise UnsupportedModelError(
                f"{type(self.model).__name__} attends to the last {window} tokens only, and an episode has grown to "
                f"{max(self.lengths)}; set model.max_length to at most {window}"
            )

    def _count(self, prefill: int, generated: int, flops: float) -> None:
        work = self._work
        self._work = Work(work.prefill_tokens + prefill, work.generated_tokens + generated, work.flops + flops)


def _needs_additive_mask(model: PreTrainedModel) -> bool:
    """Return whether masked positions get minus infinity added (eager attention) or are marked False (SDPA)."""
    kind = model.config._attn_implementation
    if kind not in ("eager", "sdpa"):
        raise UnsupportedModelError(
            f"episodes cannot be played with attn_implementation={kind!r}; load the model with sdpa"
        )
    return bool(kind == "eager")


def _sample(
    logits: torch.Tensor, sampling: Sampling, streams: Sequence[np.random.Generator]
) -> tuple[list[int], list[float]]:
    """Draw one token per row by inverting its cumulative distribution at the next number of its own stream."""
    if sampling.temperature == 0.0:
        tokens = logits.argmax(dim=-1)
        logprobs = torch.log_softmax(logits, dim=-1)
    else:
        logprobs = torch.log_softmax(logits / sampling.temperature, dim=-1)
        cumulative = logprobs.exp().double().cumsum(dim=-1)
        uniform = torch.tensor([stream.random() for stream in streams], dtype=torch.double, device=logits.device)
        targets = uniform * cumulative[:, -1]
        tokens = torch.searchsorted(cumulative, targets[:, None], right=True)[:, 0].clamp_(max=logits.shape[1] - 1)
    return tokens.tolist(), logprobs.gather(1, tokens[:, None])[:, 0].tolist()
