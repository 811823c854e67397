"""The record of a phase that has not ended: its learning curve and its bill, which a resumed run carries on."""

import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from prism_bench.accounting.ledger import Ledger
from prism_bench.accounting.meter import LedgerRow, Meter

UNFINISHED = "unfinished"
"""Name of the folder for checkpoints, inside that of a stage."""


class UnfinishedPhase:
    """State of the stage in the checkpoints of a phase, an :class:`prism_bench.algorithms.contract.Unfinished`.

    Costs of work after the last checkpoint, which is done again, are on no bill: it is that of a run which was not
    interrupted, apart from the peak of memory.

    Args:
        folder: of the checkpoints.
        ledger: of the run; rows added since now belong to the phase.
        meter: of the phase.
    """

    def __init__(self, folder: Path, ledger: Ledger, meter: Meter) -> None:
        self.folder = folder
        self.curve: list[dict[str, Any]] = []
        self._ledger = ledger
        self._meter = meter
        self._first = len(ledger.rows)
        self._restored = 0  # rows
        self._began = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds that the phase has taken so far, in earlier processes too."""
        rows = self._ledger.rows[self._first + self._restored :]
        elsewhere = sum(row.seconds for row in rows)  # time inside another phase is not this one's
        return self._meter.spent.seconds + time.perf_counter() - self._began - elsewhere

    def export_state(self) -> dict[str, Any]:
        """Return learning curve and bill as plain JSON."""
        rows = self._ledger.rows[self._first :]
        spent = replace(self._meter.spent, seconds=self.seconds)
        return {"curve": self.curve, "rows": [asdict(row) for row in rows], "spent": asdict(spent)}

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Go on with a learning curve and a bill; what this phase has spent since its start is part of them."""
        self.curve[:] = state["curve"]
        self._ledger.rows[self._first :] = [LedgerRow(**row) for row in state["rows"]]
        self._restored = len(state["rows"])
        self._meter.resume(LedgerRow(**state["spent"]))
