"""The phases of a run and what each of them cost: tokens, floating-point operations, environment steps, time, memory.

What a phase spends is added to its :class:`~prism_bench.accounting.meter.Meter`. A router that rolls out episodes gets
the meter of ``route``, so routing pays for them, although evaluation uses the same function.

Rules:

* A phase opened inside another one has its own row: its time and memory are not charged to the outer one as well.
* A phase that ends in an exception is recorded like any other, since its cost was spent.
* Where several processes share a phase (:mod:`prism_bench.processes`), the first one's row has the tokens, operations,
  steps and episodes of all, and its own time and memory.
* ``seconds`` is wall time with the devices synchronised at both ends; ``device_seconds`` multiplies it by the number
  of devices in use, idle or not, because a cluster bills them all.
* ``peak_memory_bytes`` is the CUDA allocator's peak during the phase (of the fullest device), or on a CPU the highest
  resident set size of the process, sampled 20 times a second and at both ends of the phase.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch

from prism_bench.accounting.memory import CudaPeak, MemoryPeak, ResidentPeak
from prism_bench.accounting.meter import LedgerRow, Meter, total_rows


@dataclass(slots=True)
class _OpenPhase:
    """Time and memory of a phase that has not ended."""

    since: float
    seconds: float = 0.0
    peak: int = 0


class Ledger:
    """The costs of a run: one row per phase that has ended, in that order. Phases are opened by one thread.

    Args:
        devices: the devices of this process, ``["cpu"]`` or CUDA devices; they are synchronised and their memory is
            watched.
        device_count: number of all devices, if other processes use more (a tensor-parallel engine, several trainers).
    """

    def __init__(self, devices: Sequence[torch.device | str] = ("cpu",), device_count: int | None = None) -> None:
        self.rows: list[LedgerRow] = []
        self._device_count = len(devices) if device_count is None else device_count
        self._cuda = [torch.device(device) for device in devices if torch.device(device).type == "cuda"]
        self._memory: MemoryPeak = CudaPeak(self._cuda) if self._cuda else ResidentPeak()
        self._open: list[_OpenPhase] = []

    @contextmanager
    def phase(self, name: str) -> Iterator[Meter]:
        """Open a phase; its row is appended to ``rows`` when the block ends, by an exception too."""
        meter = Meter(name)
        self._charge_innermost()
        if not self._open:
            self._memory.start()
        phase = _OpenPhase(since=time.perf_counter())
        self._open.append(phase)
        try:
            yield meter
            meter.put_together()
        finally:
            self._charge_innermost()
            self._open.pop()
            if not self._open:
                self._memory.stop()
            else:
                self._open[-1].since = time.perf_counter()
            seconds = meter.spent.seconds + phase.seconds
            self.rows.append(
                replace(
                    meter.spent,
                    seconds=seconds,
                    device_seconds=seconds * self._device_count,
                    peak_memory_bytes=phase.peak,
                )
            )

    def _charge_innermost(self) -> None:
        """Charge time and memory up to now to the innermost open phase, if there is one."""
        for device in self._cuda:
            torch.cuda.synchronize(device)
        if self._open:
            phase = self._open[-1]
            phase.seconds += time.perf_counter() - phase.since
            phase.peak = max(phase.peak, self._memory.take())

    def add_cached(self, rows: Iterable[LedgerRow]) -> None:
        """Add the rows of an earlier run whose result is reused."""
        self.rows.extend(replace(row, cached=True) for row in rows)

    def totals(self) -> list[LedgerRow]:
        """Return the rows added up per phase, see :func:`total_rows`."""
        return total_rows(self.rows)
