"""What every phase of a run costs: tokens, floating-point operations, environment steps, time, memory.

And how many processes of environments died in it, each of which may have cost an episode
(:mod:`prism_bench.rollouts.workers`).

Code that spends something takes a :class:`Meter` and adds to it; only the code that decides *what the cost is for*
opens a phase. A router that plays episodes is handed the meter of ``route``, so its episodes are billed to routing
although evaluation plays with the same function.

Rules:

* A phase opened inside another one has its own bill: its time and memory are not charged to the outer one as well.
* A phase that ends in an exception is recorded like any other, since its cost was spent.
* ``seconds`` is wall time with the devices synchronised at both ends; ``device_seconds`` multiplies it by the number
  of devices, idle or not, because that is what a cluster bills.
* ``peak_memory_bytes`` is the CUDA allocator's peak during the phase (of the fullest device), or on a CPU the highest
  resident set size of the process, sampled 20 times a second and at both ends of the phase.
"""

import json
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from prism_bench.accounting.memory import CudaPeak, MemoryPeak, ResidentPeak
from prism_bench.errors import InputError
from prism_bench.files import write_atomically

PHASES = ("collect", "base", "route", "sft", "rl", "eval")
"""The phases of a run in the order of the procedure; other names are allowed and come after them."""


class LedgerError(InputError):
    """Costs that contradict themselves or cannot be read; the message says where and why."""


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """The cost of one phase. ``cached`` marks a cost recorded by an earlier run whose product was used again."""

    phase: str
    prefill_tokens: int = 0
    generated_tokens: int = 0
    trained_tokens: int = 0
    flops: int = 0
    env_steps: int = 0
    worker_deaths: int = 0
    seconds: float = 0.0
    device_seconds: float = 0.0
    peak_memory_bytes: int = 0
    cached: bool = False

    def __post_init__(self) -> None:
        for name in QUANTITIES:
            if not getattr(self, name) >= 0:
                raise LedgerError(f"phase {self.phase!r}: {name} cannot be {getattr(self, name)}")

    def __add__(self, other: "LedgerRow") -> "LedgerRow":
        """Add every quantity of two rows of the same phase; of the memory peaks the higher one counts."""
        if (self.phase, self.cached) != (other.phase, other.cached):
            raise LedgerError(f"cannot add the cost of phase {other.phase!r} to that of {self.phase!r}")
        summed = {name: getattr(self, name) + getattr(other, name) for name in QUANTITIES}
        summed["peak_memory_bytes"] = max(self.peak_memory_bytes, other.peak_memory_bytes)
        return replace(self, **summed)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str = "ledger row") -> "LedgerRow":
        """Read what ``dataclasses.asdict`` made.

        Raises:
            LedgerError: a field is missing, unknown, negative or of another type; ``where`` opens the message.
        """
        defaults = asdict(cls(phase=""))
        if isinstance(values, Mapping):
            values = {"worker_deaths": 0, **values}  # files had no such value once
        if not isinstance(values, Mapping) or set(values) != set(defaults):
            raise LedgerError(f"{where}: expected exactly the fields {', '.join(defaults)}")
        for name, default in defaults.items():
            value, kind = values[name], type(default)
            if type(value) is not kind and not (kind is float and type(value) is int):
                raise LedgerError(f"{where}: {name} is {value!r}, expected a value of type {kind.__name__}")
        try:
            return cls(**values)
        except LedgerError as error:
            raise LedgerError(f"{where}: {error}") from None


QUANTITIES = tuple(field.name for field in fields(LedgerRow) if field.name not in ("phase", "cached"))
"""The numbers of a row, in the order of its fields."""


class Meter:
    """What a running phase has spent so far; may be shared between threads."""

    def __init__(self, phase: str) -> None:
        self._lock = threading.Lock()
        self._spent = LedgerRow(phase)

    @property
    def spent(self) -> LedgerRow:
        """What was added so far; the phase's own time and memory are known only when it ends."""
        return self._spent

    def add(
        self,
        *,
        prefill_tokens: int = 0,
        generated_tokens: int = 0,
        trained_tokens: int = 0,
        flops: float = 0,
        env_steps: int = 0,
        worker_deaths: int = 0,
        seconds: float = 0.0,
    ) -> None:
        """Charge the phase with more of each quantity; fractions of an operation are cut off.

        ``seconds`` are those of an earlier process whose work the phase continues; its own are measured.
        """
        more = LedgerRow(
            self._spent.phase,
            prefill_tokens=int(prefill_tokens),
            generated_tokens=int(generated_tokens),
            trained_tokens=int(trained_tokens),
            flops=int(flops),
            env_steps=int(env_steps),
            worker_deaths=int(worker_deaths),
            seconds=seconds,
        )
        with self._lock:
            self._spent += more


@dataclass(slots=True)
class _OpenPhase:
    """Time and memory of a phase that has not ended."""

    since: float
    seconds: float = 0.0
    peak: int = 0


class Ledger:
    """The costs of a run: one row per phase that has ended, in that order. Phases are opened by one thread.

    Args:
        devices: where the models run, ``["cpu"]`` or every CUDA device in use.
    """

    def __init__(self, devices: Sequence[torch.device | str] = ("cpu",)) -> None:
        self.rows: list[LedgerRow] = []
        self._device_count = len(devices)
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
        """Enter the cost of something that an earlier run made, as recorded then."""
        self.rows.extend(replace(row, cached=True) for row in rows)

    def totals(self) -> list[LedgerRow]:
        """Return the rows added up per phase, see :func:`total_rows`."""
        return total_rows(self.rows)


def total_rows(rows: Iterable[LedgerRow]) -> list[LedgerRow]:
    """Return one row per phase and ``cached`` (fresh and cached costs stay apart), in the order of :data:`PHASES`."""
    totals: dict[tuple[str, bool], LedgerRow] = {}
    for row in rows:
        key = (row.phase, row.cached)
        totals[key] = totals[key] + row if key in totals else row
    order = {phase: position for position, phase in enumerate(PHASES)}
    return sorted(totals.values(), key=lambda row: (order.get(row.phase, len(order)), not row.cached))


def save_rows(rows: Iterable[LedgerRow], path: Path) -> None:
    """Write ``rows`` to the JSON file ``path``, whole or not at all."""
    write_atomically(path, json.dumps([asdict(row) for row in rows], indent=1) + "\n")


def load_rows(path: Path) -> list[LedgerRow]:
    """Read the JSON file ``path``.

    Raises:
        LedgerError: the file is missing, damaged or of another kind.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LedgerError(f"{path}: not readable as a ledger ({error})") from None
    if not isinstance(values, list):
        raise LedgerError(f"{path}: not a ledger, expected a list of rows")
    return [LedgerRow.from_dict(row, f"{path}: row {number}") for number, row in enumerate(values)]
