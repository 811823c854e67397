"""Loggers: the numbers of a run go to a file in its folder while it runs and, where wanted, to Weights & Biases.

``metrics.jsonl`` has one JSON object per line: ``time`` (Unix seconds), ``step`` (or null) and the values of one
:meth:`Logger.log`, or ``time`` and ``summary``. Keys are paths: ``sft/loss``, ``success/final/valid_seen``,
``ledger/route/flops``. Numbers that JSON does not have (NaN, infinities) are written as null.

W&B gets the same keys. Its steps must grow over a whole run while ours start anew with every phase, so the step of
``sft/loss`` travels as ``sft/step``, which is declared to be the x-axis of ``sft/*``. Unless the user is logged in, the
run is written offline, into the run folder; ``wandb sync`` uploads it later.
"""

import json
import logging
import math
import netrc
import os
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, SupportsFloat
from urllib.parse import urlsplit

from prism_bench.files import writing

METRICS_FILE = "metrics.jsonl"
ONLINE_TIMEOUT_SECONDS = 30.0

_log = logging.getLogger(__name__)


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

    def summary(self, values: Mapping[str, SupportsFloat]) -> None:
        """Record ``values`` that hold for the whole run."""

    def finish(self) -> None:
        """Write the remaining values; nothing may be recorded afterwards."""


class FileLogger:
    """Appends to ``metrics.jsonl`` in the folder of the run, which is made if it is missing.

    Args:
        folder: the folder of the run.
        config: not used, since the folder holds it already; accepted because every logger is made alike.

    Raises:
        InputError: now or later, the folder cannot be written.
    """

    def __init__(self, folder: Path | str, config: Mapping[str, Any] | None = None) -> None:
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

    def summary(self, values: Mapping[str, SupportsFloat]) -> None:
        self._append({"summary": _finite(values)})

    def finish(self) -> None:
        """Do nothing: every line is already on disk."""

    def _append(self, entry: dict[str, Any]) -> None:
        line = json.dumps({"time": round(time.time(), 3)} | entry, allow_nan=False)
        with writing(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


class WandbLogger:
    """Writes ``metrics.jsonl`` and a W&B run, whose local files lie in ``<folder>/wandb``.

    Args:
        folder: the folder of the run.
        config: the resolved configuration, shown beside the run.
        project: as in ``wandb.init``, and so are entity, group, name and tags.
        mode: ``online``, ``offline``, or None for what ``WANDB_MODE`` says, else online if the user is logged in.
            If None leads to online and the server cannot be reached, the run is written offline.
    """

    def __init__(
        self,
        folder: Path | str,
        config: Mapping[str, Any] | None = None,
        *,
        project: str,
        mode: Literal["online", "offline"] | None = None,
        entity: str | None = None,
        group: str | None = None,
        name: str | None = None,
        tags: Sequence[str] = (),
    ) -> None:
        import wandb  # half a second that logger=none need not wait for

        self._wandb = wandb
        self._file = FileLogger(folder)

        def start(chosen: Any) -> wandb.Run:
            return wandb.init(
                project=project,
                entity=entity,
                group=group,
                name=name,
                tags=list(tags),
                dir=str(folder),
                config=dict(config or {}),
                mode=chosen,
                reinit="create_new",  # a sweep runs many jobs in one process
                settings=wandb.Settings(silent=True, console="off", init_timeout=ONLINE_TIMEOUT_SECONDS),
            )

        chosen = mode or os.environ.get("WANDB_MODE") or ("online" if logged_in() else "offline")
        try:
            self._run = start(chosen)
        except wandb.Error as error:
            if mode is not None:
                raise
            reason = str(error).splitlines()[0]
            _log.warning("W&B cannot be reached (%s); this run is written offline, `wandb sync` uploads it", reason)
            self._run = start("offline")
        self._axes: set[str] = set()

    @property
    def location(self) -> str:
        online = None if self._run.offline else self._run.url
        return online or str(Path(self._run.dir).parent)

    @property
    def upload(self) -> str | None:
        return f"wandb sync {shlex.quote(self.location)}" if self._run.offline else None

    def log(self, values: Mapping[str, SupportsFloat], step: int | None = None) -> None:
        self._file.log(values, step)
        numbers = {key: float(value) for key, value in values.items()}
        if step is not None:
            for axis in {key.split("/")[0] for key in values if "/" in key}:
                if axis not in self._axes:
                    self._axes.add(axis)
                    self._run.define_metric(f"{axis}/step", hidden=True)
                    self._run.define_metric(f"{axis}/*", step_metric=f"{axis}/step")
                numbers[f"{axis}/step"] = step
        self._run.log(numbers)

    def summary(self, values: Mapping[str, SupportsFloat]) -> None:
        self._file.summary(values)
        self._run.summary.update({key: float(value) for key, value in values.items()})

    def finish(self) -> None:
        self._run.finish()
        self._wandb.teardown()  # finish() alone may return before W&B's own process has written the last records


def logged_in() -> bool:
    """Return whether W&B has credentials, in the environment or in the netrc file; without the network."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    file = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    try:
        entries = netrc.netrc(file)
    except (OSError, netrc.NetrcParseError):
        return False
    # the default server has two names, and wandb honours credentials of either (wandb/sdk/lib/urls.py)
    server = os.environ.get("WANDB_BASE_URL")
    hosts = [urlsplit(server).hostname or ""] if server else ["api.wandb.ai", "api.forge.coreweave.com"]
    return any(entry[2] for entry in map(entries.authenticators, hosts) if entry)


def _finite(values: Mapping[str, SupportsFloat]) -> dict[str, float | None]:
    numbers = {key: value if isinstance(value, int) else float(value) for key, value in values.items()}
    return {key: number if math.isfinite(number) else None for key, number in numbers.items()}
