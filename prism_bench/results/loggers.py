"""Loggers: the numbers of a run go to a file in its folder while it runs.

``metrics.jsonl`` has one JSON object per line: ``time`` (Unix seconds), ``step`` (or null) and the values of one
:meth:`Logger.log`, or ``time`` and the ``summary`` of a finished run. Keys are paths: ``sft/loss``,
``success/final/valid_seen``, ``ledger/route/flops``. Numbers that JSON does not have (NaN, infinities) are written as
null.
"""

import json
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, SupportsFloat

from prism_bench.files import writing
from prism_bench.results.result import result_metrics

METRICS_FILE = "metrics.jsonl"


@dataclass(frozen=True)
class Labels:
    """What a run is called by.

    Attributes:
        environment: its id in Gymnasium.
        strategy: the name of the choice.
        router: the name of its class; None without one.
        phases: the class of the algorithm, by the name of the phase.
        seed: of the run.
    """

    environment: str
    strategy: str
    router: str | None
    phases: Mapping[str, str]
    seed: int

    @property
    def name(self) -> str:
        """Router, strategy and seed: ``prism-split-s3``, or ``sft-s3`` without a router."""
        return "-".join([*self._router, self.strategy, f"s{self.seed}"])

    @property
    def tags(self) -> list[str]:
        """Environment, strategy, router and algorithms, each once."""
        environment = re.split("[/:]", self.environment)[-1]
        algorithms = [algorithm.lower() for algorithm in self.phases.values()]
        return list(dict.fromkeys([environment, self.strategy, *self._router, *algorithms]))

    @property
    def _router(self) -> list[str]:
        return [] if self.router is None else [re.sub("(?<=.)router$", "", self.router.lower())]


class Logger(Protocol):
    """Records the numbers of one run."""

    @property
    def location(self) -> str:
        """Path or address at which the numbers can be looked at."""

    @property
    def upload(self) -> str | None:
        """The command that uploads the numbers; None where that is not to be done."""

    def log(self, values: Mapping[str, SupportsFloat], step: int | None = None) -> None:
        """Record ``values`` at ``step``, a count of its own for every first part of the keys."""

    def result(self, result: Mapping[str, Any]) -> None:
        """Record a finished run, given what ``result.json`` in its folder holds."""

    def finish(self) -> None:
        """Write the remaining values; nothing may be recorded afterwards."""


class FileLogger:
    """Appends to ``metrics.jsonl`` in the folder of the run, which is made if it is missing.

    Args:
        folder: the folder of the run.
        config: not used, since the folder holds it already; accepted because every logger is made alike.
        labels: likewise.

    Raises:
        InputError: now or later, the folder cannot be written.
    """

    def __init__(
        self, folder: Path | str, config: Mapping[str, Any] | None = None, labels: Labels | None = None
    ) -> None:
        self._path = Path(folder) / METRICS_FILE
        with writing(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)

    @property
    def location(self) -> str:
        return str(self._path)

    @property
    def upload(self) -> str | None:
        return None

    def log(self, values: Mapping[str, SupportsFloat], step: int | None = None) -> None:
        self._append({"step": step} | _finite(values))

    def result(self, result: Mapping[str, Any]) -> None:
        self._append({"summary": _finite(result_metrics(result))})

    def finish(self) -> None:
        """Do nothing: every line is already on disk."""

    def _append(self, entry: dict[str, Any]) -> None:
        line = json.dumps({"time": round(time.time(), 3)} | entry, allow_nan=False)
        with writing(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def _finite(values: Mapping[str, SupportsFloat]) -> dict[str, float | None]:
    numbers = {key: value if isinstance(value, int) else float(value) for key, value in values.items()}
    return {key: number if math.isfinite(number) else None for key, number in numbers.items()}
