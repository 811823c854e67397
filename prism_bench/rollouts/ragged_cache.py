"""A key-value cache whose rows have lengths of their own.

Every row keeps its tokens at the slots 0, 1, 2, ... of a preallocated buffer, so slot and position are the same number
and the causal mask ``slot <= position`` hides both the future and the traces of idle or padded tokens: a trace lies at
or beyond the row's length, and the next real token of the row overwrites it.
"""

from typing import Any

import torch
from transformers.cache_utils import Cache

GROWTH = 1.25
"""Factor by which the slots of a cache grow if it needs more: what may be there in excess, against frequent copies."""


class RaggedCache(Cache):
    """Keys and values of many sequences, for forwards over some of them: :meth:`select` comes before each forward.

    Buffers (rows, heads, slots, width) grow as needed; ``capacity`` is their (rows, slots), and ``span`` the number of
    slots that the next forward can see.
    """

    def __init__(self, layers: int) -> None:
        self.buffers: list[tuple[torch.Tensor, torch.Tensor] | None] = [None] * layers
        self.capacity = (0, 0)
        self.rows = torch.empty(0, dtype=torch.long)
        self.positions = torch.empty(0, 0, dtype=torch.long)
        self.span = 0

    def select(self, rows: torch.Tensor, positions: torch.Tensor, size: int) -> None:
        """Point the next forward at ``rows``, in ascending order, of a cache that has to hold ``size`` rows.

        ``positions`` (rows, new tokens) are those of the new tokens.
        """
        self.rows, self.positions = rows, positions
        self.span = int(positions.max()) + 1
        rows_now, slots_now = self.capacity
        if size > rows_now or self.span > slots_now:
            slots = slots_now if self.span <= slots_now else max(self.span, int(GROWTH * slots_now))
            self._grow(max(size, rows_now), slots)

    def mask(self) -> torch.Tensor:
        """Return the boolean attention mask of the next forward, (rows, 1, new tokens, span); True may be attended."""
        slots = torch.arange(self.span, device=self.positions.device)
        return slots[None, None, None, :] <= self.positions[:, None, :, None]

    def additive_mask(self, dtype: torch.dtype) -> torch.Tensor:
        """Return the same mask as numbers to add to attention scores: 0, and the lowest number of ``dtype``."""
        hidden = ~self.mask()
        return torch.zeros_like(hidden, dtype=dtype).masked_fill_(hidden, torch.finfo(dtype).min)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store new keys and values (rows, heads, new tokens, width) and return all that the rows may attend to."""
        buffers = self.buffers[layer_idx]
        if buffers is None:
            shape = (self.capacity[0], key_states.shape[1], self.capacity[1], key_states.shape[3])
            buffers = (key_states.new_zeros(shape), value_states.new_zeros(shape[:3] + value_states.shape[3:]))
            self.buffers[layer_idx] = buffers
        whole = len(self.rows) == self.capacity[0]  # then the rows stand in order and a view will do
        index = self.rows[:, None], slice(None), self.positions
        seen = []
        for buffer, states in zip(buffers, (key_states, value_states), strict=True):
            buffer[index] = states.transpose(1, 2)
            kept = buffer[:, :, : self.span]
            seen.append(kept if whole else kept[self.rows])
        return seen[0], seen[1]

    def keep(self, rows: torch.Tensor) -> None:
        """Drop every row but ``rows``, which become rows 0, 1, 2, ..."""
        self.capacity = (len(rows), self.capacity[1])
        for layer, pair in enumerate(self.buffers):  # one after the other, so that never two whole caches exist
            if pair is not None:
                self.buffers[layer] = (pair[0][rows], pair[1][rows])

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.span

    def _grow(self, rows: int, slots: int) -> None:
        self.capacity = (rows, slots)
        for layer, pair in enumerate(self.buffers):
            if pair is None:
                continue
            grown = []
            for buffer in pair:
                larger = buffer.new_zeros(rows, buffer.shape[1], slots, buffer.shape[3])
                larger[: buffer.shape[0], :, : buffer.shape[2]] = buffer
                grown.append(larger)
            self.buffers[layer] = (grown[0], grown[1])
