"""The cost of one phase: the meter that counts it while the phase runs, and its row on the ledger, also on disk.

Beside costs, a row counts events that make results incomparable when they are frequent: rollouts that ended because the
context was full or ``max_turns`` was reached, demonstrations truncated at the context, failures of environments
(:mod:`prism_bench.rollouts.faults`).

Code that spends something takes a :class:`Meter` and adds to it; only the code that decides *what the cost is for*
opens a phase (:mod:`prism_bench.accounting.ledger`).
"""

import threading
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, Strict, TypeAdapter, ValidationError, with_config

from prism_bench import processes
from prism_bench.errors import InputError, first_mistake
from prism_bench.files import write_atomically

Count = Annotated[int, Strict()]
Seconds = Annotated[float, Field(strict=True, allow_inf_nan=False)]


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, slots=True)
class LedgerRow:
    """The cost of one phase.

    Attributes:
        phase: the phase's name.
        prefill_tokens, generated_tokens: tokens read and written by policies in rollouts and the probe.
        trained_tokens: tokens of forward passes with a backward pass.
        flops: floating-point operations of all of it.
        env_steps: steps of environments.
        episodes: finished rollouts, of policies and of experts.
        context_full: rollouts that ended because the next turn did not fit the context.
        out_of_turns: rollouts that ended at ``max_turns``, before the environment's own limit.
        strayed: rollouts that ended past ``max_inadmissible``.
        demonstrations: trajectories rendered for training.
        demonstrations_truncated: how many of them lost steps at the end, because the context was full.
        lost_episodes: rollouts that ended because the environment failed, in one of the following ways; a failure in
            ``reset`` is tried again if there are worker processes.
        hangs: calls of ``reset`` and ``step`` that exceeded ``env.step_seconds``, or a limit of the environment's own.
        errors: exceptions of environments and their calls of ``sys.exit``.
        invalid_answers: answers that are no text, without a score from 0 to 1, or otherwise against the contract.
        worker_deaths: processes of environments that died, and servers that were not to be reached.
        seconds, device_seconds, peak_memory_bytes: see the rules of :mod:`prism_bench.accounting.ledger`.
        cached: an earlier run spent this, and its result was reused.
    """

    phase: Annotated[str, Strict()]
    prefill_tokens: Count = 0
    generated_tokens: Count = 0
    trained_tokens: Count = 0
    flops: Count = 0
    env_steps: Count = 0
    episodes: Count = 0
    context_full: Count = 0
    out_of_turns: Count = 0
    strayed: Count = 0
    demonstrations: Count = 0
    demonstrations_truncated: Count = 0
    lost_episodes: Count = 0
    hangs: Count = 0
    errors: Count = 0
    invalid_answers: Count = 0
    worker_deaths: Count = 0
    seconds: Seconds = 0.0
    device_seconds: Seconds = 0.0
    peak_memory_bytes: Count = 0
    cached: Annotated[bool, Strict()] = False

    def __post_init__(self) -> None:
        for name in QUANTITIES:
            if not getattr(self, name) >= 0:
                raise ValueError(f"phase {self.phase!r}: {name} cannot be {getattr(self, name)}")

    def __add__(self, other: "LedgerRow") -> "LedgerRow":
        """Add every quantity of two rows of the same phase; the higher memory peak counts."""
        if (self.phase, self.cached) != (other.phase, other.cached):
            raise ValueError(f"cannot add the cost of phase {other.phase!r} to that of {self.phase!r}")
        summed = {name: getattr(self, name) + getattr(other, name) for name in QUANTITIES}
        summed["peak_memory_bytes"] = max(self.peak_memory_bytes, other.peak_memory_bytes)
        return replace(self, **summed)


QUANTITIES = tuple(field.name for field in fields(LedgerRow) if field.name not in ("phase", "cached"))
"""The numbers of a row, in the order of its fields."""


def _complete(values: Any) -> Any:
    """Refuse a stored row that lacks a quantity: the default of 0 would make its phase cheaper than it was."""
    missing = [name for name in ("phase", *QUANTITIES, "cached") if isinstance(values, dict) and name not in values]
    if missing:
        raise ValueError(f"{', '.join(missing)} missing")
    return values


StoredRow = Annotated[LedgerRow, BeforeValidator(_complete)]
"""Type of a stored row, for pydantic: every field is present, and no other."""

_ROWS = TypeAdapter(list[StoredRow])


class Meter:
    """The cost of a running phase so far; may be shared between threads."""

    def __init__(self, phase: str) -> None:
        self._lock = threading.Lock()
        self._spent = LedgerRow(phase)

    @property
    def spent(self) -> LedgerRow:
        """Everything added so far; the phase's own time and memory are known only when it ends."""
        return self._spent

    def add(self, **quantities: float) -> None:
        """Charge the phase with more of some quantities of :class:`LedgerRow`; counts are rounded down to whole ones.

        ``seconds`` were spent by an earlier process, which this phase continues; the phase's own time is measured.

        Raises:
            TypeError: a row has no such quantity.
            ValueError: a quantity is negative.
        """
        whole: dict[str, Any] = {name: n if name == "seconds" else int(n) for name, n in quantities.items()}
        more = LedgerRow(self._spent.phase, **whole)
        with self._lock:
            self._spent += more

    def add_once(self, **quantities: float) -> None:
        """Charge the phase with what all processes of a call count alike: the first one's meter alone."""
        if processes.number() == 0:
            self.add(**quantities)

    def put_together(self) -> None:
        """Charge the first process of a call with what all of them have spent, and the others with nothing."""
        rows = processes.gather(self._spent)
        with self._lock:
            self._spent = sum(rows[1:], rows[0]) if processes.number() == 0 else LedgerRow(self._spent.phase)

    def resume(self, spent: LedgerRow) -> None:
        """Replace everything added so far by what an earlier process had spent, which this phase continues."""
        with self._lock:
            self._spent = spent


def total_rows(rows: Iterable[LedgerRow]) -> list[LedgerRow]:
    """Return one row per phase and ``cached`` (fresh and cached costs stay apart).

    Phases keep the order in which they first appear; of one phase the cached row comes first.
    """
    totals: dict[tuple[str, bool], LedgerRow] = {}
    order: dict[str, int] = {}
    for row in rows:
        key = (row.phase, row.cached)
        totals[key] = totals[key] + row if key in totals else row
        order.setdefault(row.phase, len(order))
    return sorted(totals.values(), key=lambda row: (order[row.phase], not row.cached))


def save_rows(rows: Iterable[LedgerRow], path: Path) -> None:
    """Write ``rows`` to the JSON file ``path``, whole or not at all."""
    write_atomically(path, _ROWS.dump_json(list(rows), indent=1).decode() + "\n")


def load_rows(path: Path) -> list[LedgerRow]:
    """Read the JSON file ``path``.

    Raises:
        InputError: the file is missing, damaged or of another kind; the message names the row and the value.
    """
    try:
        return _ROWS.validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: not readable as a ledger ({error})") from None
    except ValidationError as error:
        raise InputError(f"{path}: not a ledger: {first_mistake(error, 'row')}") from None
