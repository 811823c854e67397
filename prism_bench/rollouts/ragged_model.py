"""A transformers model that continues many sequences of different lengths at once.

New tokens are read in one or a few forwards: rows of similar length together, so that little is padded, and no more
than a budget of tokens at once, so that memory is bounded for any number and length of prompts.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext

import numpy as np
import torch
from transformers import PreTrainedModel

from prism_bench.data.batching import groups_of_similar_length
from prism_bench.errors import InputError
from prism_bench.models.decoder import decoder_and_head
from prism_bench.rollouts.grouped_attention import grouped_attention
from prism_bench.rollouts.ragged_cache import RaggedCache


class RaggedModel:
    """Sequences are the rows 0, 1, 2, ... of a cache; ``lengths`` are the numbers of tokens read, by row.

    Args:
        model: in evaluation mode whenever it reads.
        padding_id: any token.
        tokens_per_forward: the most that :meth:`read` puts into one forward, padding included.

    Raises:
        InputError: the model's kind of attention or logits is not supported.
    """

    def __init__(self, model: PreTrainedModel, padding_id: int, tokens_per_forward: int) -> None:
        self.model = model
        self.padding_id = padding_id
        self.tokens_per_forward = tokens_per_forward
        self.decoder, self.head = decoder_and_head(model)
        self.additive_mask = _needs_additive_mask(model)
        self.cache = RaggedCache(model.config.num_hidden_layers)
        self.lengths: list[int] = []

    def read(self, new: Mapping[int, Sequence[int]]) -> torch.Tensor:
        """Append ``new`` tokens to rows and return the logits after the last of each, (rows, vocabulary) in float32."""
        order: list[int] = []
        logits: list[torch.Tensor] = []
        for group in groups_of_similar_length(new, lambda row: len(new[row]), factor=1.5, slack=16):
            rows_at_once = max(1, self.tokens_per_forward // len(new[group[-1]]))
            for first in range(0, len(group), rows_at_once):
                rows = sorted(group[first : first + rows_at_once])
                for start in range(0, max(len(new[row]) for row in rows), self.tokens_per_forward):
                    end = start + self.tokens_per_forward
                    scores = self._append(rows, [new[row][start:end] for row in rows])
                order += rows
                logits.append(scores[:, 0])
        if order == list(new):
            return torch.cat(logits)
        place = {row: number for number, row in enumerate(order)}
        return torch.cat(logits)[[place[row] for row in new]]

    def step(self, new: Mapping[int, Sequence[int]]) -> torch.Tensor:
        """Append a few tokens to each row in ``new`` and return the logits after each, (rows, most tokens, vocabulary).

        If most rows take part, the others get an idle token, since a view of the whole cache is
        cheaper than a copy of some of its rows; the idle token is overwritten later.
        """
        rows = list(range(len(self.lengths))) if len(new) >= 0.5 * len(self.lengths) else sorted(new)
        scores = self._append(rows, [new.get(row, ()) for row in rows], after_each=True)
        if rows == list(new):
            return scores
        place = {row: number for number, row in enumerate(rows)}
        return scores[[place[row] for row in new]]

    def read_alone(self, ids: Sequence[int]) -> torch.Tensor:
        """Return the logits after a whole sequence, (1, vocabulary), read at once without batch, cache or budget."""
        hidden = self.decoder(input_ids=torch.tensor([ids], device=self.model.device), use_cache=False)
        return self.head(hidden.last_hidden_state[:, -1]).float()

    def add_row(self) -> int:
        """Return the number of a new, empty row."""
        self.lengths.append(0)
        return len(self.lengths) - 1

    def keep(self, rows: Sequence[int]) -> None:
        """Drop every row but ``rows``, which become rows 0, 1, 2, ..."""
        self.cache.keep(torch.tensor(rows, dtype=torch.long, device=self.model.device))
        self.lengths = [self.lengths[row] for row in rows]

    def forward(
        self, ids: torch.Tensor, rows: torch.Tensor, positions: torch.Tensor, wanted: torch.Tensor
    ) -> torch.Tensor:
        """Run the model once and return the logits of each row's tokens number ``wanted``, (rows, wanted, vocabulary).

        Args:
            ids: (rows, new tokens), padded behind.
            rows: their rows of the cache, ascending.
            positions: (rows, new tokens), those of ``ids``.
            wanted: (rows, wanted).
        """
        self.cache.select(rows, positions, len(self.lengths))
        mask = self.cache.additive_mask(self.model.dtype) if self.additive_mask else self.cache.mask()
        with nullcontext() if self.additive_mask else grouped_attention(self.model):
            hidden = self.decoder(
                input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=self.cache, use_cache=True
            ).last_hidden_state
        return self.head(hidden[torch.arange(len(rows), device=rows.device)[:, None], wanted]).float()

    def _append(self, rows: Sequence[int], new: Sequence[Sequence[int]], *, after_each: bool = False) -> torch.Tensor:
        """Return the logits after the last of the ``new`` tokens of each row, (rows, 1, vocabulary), or after each."""
        width = max(map(len, new))
        padded = [[*ids, *[self.padding_id] * (width - len(ids))] for ids in new]
        wanted = [[*range(width)] if after_each else [max(len(ids), 1) - 1] for ids in new]
        ids, index, before, places = (
            torch.from_numpy(np.array(numbers)).to(self.model.device)
            for numbers in (padded, rows, [self.lengths[row] for row in rows], wanted)
        )
        scores = self.forward(ids, index, before[:, None] + torch.arange(width, device=ids.device), places)
        for row, ids_of_row in zip(rows, new, strict=True):
            self.lengths[row] += len(ids_of_row)
        self._check_window()
        return scores

    def _check_window(self) -> None:
        window = getattr(self.model.config.get_text_config(), "sliding_window", None)
        if window is not None and max(self.lengths) > window:
            raise InputError(
                f"{type(self.model).__name__} attends to the last {window} tokens only, and an episode has grown to "
                f"{max(self.lengths)}; set model.max_length to at most {window}"
            )


def _needs_additive_mask(model: PreTrainedModel) -> bool:
    """Return whether masked positions get minus infinity added (eager attention) or are marked False (SDPA)."""
    kind = model.config._attn_implementation
    if kind not in ("eager", "sdpa"):
        raise InputError(f"episodes cannot be generated with attn_implementation={kind!r}; load the model with sdpa")
    return bool(kind == "eager")
