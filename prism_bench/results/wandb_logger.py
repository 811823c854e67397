"""A logger that writes a Weights & Biases run beside ``metrics.jsonl``.

A run is one W&B run, not one for each phase: a learning curve over FLOPs goes through all phases, a phase from the
cache would be an empty run, and W&B has one level of groups, which belongs to the comparison (``group``). Phases are
the first part of the keys (``sft/loss``), and the job type names those that the run trains (``sft+rl``), so that runs
with the same phases can be set side by side whatever the strategy. Name and tags follow from :class:`Labels`;
``WANDB_NAME``, ``WANDB_TAGS`` and ``WANDB_JOB_TYPE`` replace them, and settings replace those.

W&B's steps must grow over a whole run while ours start anew with every phase, so the step of ``sft/loss`` travels as
``sft/step``, which is declared to be the x-axis of ``sft/*``. When the run is finished, the learning curves of all its
phases follow, phases from the cache included: ``curve_over_flops/*`` over ``flops`` and ``curve_over_updates/*`` over
``updates``, two axes that go through all phases, so that each chart has one line per run.

W&B dropped ``define_metric(goal=...)``; the goal of a metric is the aggregate of its summary. The best is the highest
for success, score and learning curves, the lowest for ``ledger/*``.

A finished run also stores the tables ``tables/episodes`` and ``tables/allocation``, the routers' plots, and artifacts:
``result.json``, the allocation, and the checkpoint that the last phase ends with if it is small. Artifacts name the
files where they are; nothing is copied, so ``wandb sync`` needs run folder and cache. What W&B cannot store is reported
in a warning and stops nothing: the run's folder has it all. A run that ends without a result is marked as failed.

Unless the user is logged in, the run is written offline, into the run folder; ``wandb sync`` uploads it later.
"""

import logging
import netrc
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, SupportsFloat
from urllib.parse import urlsplit

from prism_bench.errors import InputError
from prism_bench.results.dashboard import Rows, allocation_rows, curve_rows, episode_rows
from prism_bench.results.loggers import FileLogger, Labels
from prism_bench.results.result import RESULT, final_stage, result_metrics
from prism_bench.results.schema import BASE
from prism_bench.settings.types import CountFromZero, NotNegative

ONLINE_TIMEOUT_SECONDS = 30.0
GOALS = {"success/*": "max", "score/*": "max", "ledger/*": "min"}

_log = logging.getLogger(__name__)


class WandbLogger:
    """Writes ``metrics.jsonl`` and a W&B run, whose local files lie in ``<folder>/wandb``.

    Args:
        folder: the folder of the run.
        config: the resolved configuration, shown beside the run.
        labels: name, tags and job type follow from them.
        project: as in ``wandb.init``, and so are entity and group.
        name: likewise; None for the one that follows from ``labels``.
        tags: likewise.
        mode: ``online``, ``offline``, or None for what ``WANDB_MODE`` says, else online if the user is logged in.
            If None leads to online and the server cannot be reached, the run is written offline.
        episodes: how many evaluated episodes of every stage and split the table has; 0 for none.
        largest_checkpoint: MiB up to which the final checkpoint is stored as an artifact; 0 for never.
    """

    def __init__(
        self,
        folder: Path | str,
        config: Mapping[str, Any] | None = None,
        labels: Labels | None = None,
        *,
        project: str,
        mode: Literal["online", "offline"] | None = None,
        entity: str | None = None,
        group: str | None = None,
        name: str | None = None,
        tags: Sequence[str] | None = None,
        episodes: CountFromZero = 32,
        largest_checkpoint: NotNegative = 100.0,
    ) -> None:
        import wandb  # half a second that logger=none need not wait for

        self._wandb = wandb
        self._folder = Path(folder)
        self._file = FileLogger(folder)
        self._episodes, self._largest_checkpoint = episodes, largest_checkpoint

        def start(chosen: Any) -> wandb.Run:
            return wandb.init(
                project=project,
                entity=entity,
                group=group,
                dir=str(folder),
                config=dict(config or {}),
                mode=chosen,
                reinit="create_new",  # a sweep runs many jobs in one process
                settings=wandb.Settings(silent=True, console="off", init_timeout=ONLINE_TIMEOUT_SECONDS),
                **_described(labels, name, tags),
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
        for metrics, best in GOALS.items():
            self._run.define_metric(metrics, summary=best)
        for axis in ("flops", "updates"):
            self._run.define_metric(axis, hidden=True)
            self._run.define_metric(f"curve_over_{axis}/*", step_metric=axis, summary="max")
        self._axes: set[str] = set()
        self._not_stored: set[str] = set()
        self._complete = False

    @property
    def location(self) -> str:
        online = None if self._run.offline else self._run.url
        return online or str(Path(self._run.dir).parent)

    @property
    def upload(self) -> str | None:
        return f"wandb sync {shlex.quote(self.location)}" if self._run.offline else None

    def log(self, values: Mapping[str, SupportsFloat], step: int | None = None) -> None:
        self._file.log(values, step)
        with self._warning("values of training"):
            self._log(values, step)

    def result(self, result: Mapping[str, Any]) -> None:
        self._file.result(result)
        self._complete = True
        files = {name: self._folder / path for name, path in result["files"].items()}
        with self._warning("summary and learning curves"):
            self._run.summary.update({key: float(value) for key, value in result_metrics(result).items()})
            for row in curve_rows(result):
                self._run.log(row)
        with self._warning("evaluated episodes"):
            self._table("episodes", episode_rows(self._folder, result, self._episodes))
        if result["allocation"] is not None:
            allocation = files["allocation"]
            with self._warning("allocation"):
                self._table("allocation", allocation_rows(allocation))
                self._artifact("allocation", {allocation.name: allocation})
        for path in files.values():
            if path.suffix == ".png":
                with self._warning(path.name):
                    self._run.log({f"plots/{path.stem}": self._wandb.Image(str(path))})
        with self._warning(RESULT):
            self._artifact("result", {RESULT: self._folder / RESULT})
        if final_stage(result) != BASE:
            with self._warning("final checkpoint"):
                self._checkpoint(files[f"checkpoint {final_stage(result)}"])

    def finish(self) -> None:
        with self._warning("last values"):
            self._run.finish(exit_code=0 if self._complete else 1)
            self._wandb.teardown()  # finish() alone may return before W&B's own process has written the last records

    def _log(self, values: Mapping[str, SupportsFloat], step: int | None) -> None:
        numbers = {key: float(value) for key, value in values.items()}
        if step is not None:
            for axis in {key.split("/")[0] for key in values if "/" in key}:
                if axis not in self._axes:
                    self._axes.add(axis)
                    self._run.define_metric(f"{axis}/step", hidden=True)
                    self._run.define_metric(f"{axis}/*", step_metric=f"{axis}/step")
                numbers[f"{axis}/step"] = step
        self._run.log(numbers)

    def _table(self, name: str, rows: Rows) -> None:
        if rows:
            table = self._wandb.Table(columns=list(rows[0]), data=[list(row.values()) for row in rows])
            with _copies_in(Path(self._run.dir).parent):
                self._run.log({f"tables/{name}": table})

    def _checkpoint(self, folder: Path) -> None:
        paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        if sum(path.stat().st_size for path in paths) <= self._largest_checkpoint * 2**20:
            self._artifact("model", {path.relative_to(folder).as_posix(): path for path in paths})

    def _artifact(self, kind: str, files: Mapping[str, Path]) -> None:
        artifact = self._wandb.Artifact(f"{kind}-{self._run.id}", kind)
        for name, path in files.items():
            artifact.add_file(str(path), name, policy="immutable", skip_cache=True)  # else it is copied twice
        self._run.log_artifact(artifact)

    @contextmanager
    def _warning(self, what: str) -> Iterator[None]:
        """Turn an exception of a block that stores something in W&B into a warning, once for each thing."""
        try:
            yield
        except (OSError, InputError, self._wandb.Error) as error:
            if what not in self._not_stored:
                self._not_stored.add(what)
                _log.warning("W&B did not store: %s (%s); the run goes on, and its folder has it all", what, error)


def _described(labels: Labels | None, name: str | None, tags: Sequence[str] | None) -> dict[str, Any]:
    """Return name, tags and job type for ``wandb.init``; None leaves them to W&B, which reads the environment."""
    derived: dict[str, Any] = {}
    if labels is not None:
        tags_of_run = [tag[:64] for tag in labels.tags]  # W&B refuses longer ones
        job_type = "+".join(labels.phases) or "evaluation"
        derived = {"name": labels.name, "tags": tags_of_run, "job_type": job_type}
    left = {key: value for key, value in derived.items() if f"WANDB_{key.upper()}" not in os.environ}
    chosen = {"name": name, "tags": None if tags is None else list(tags)}
    return left | {key: value for key, value in chosen.items() if value is not None}


@contextmanager
def _copies_in(folder: Path) -> Iterator[None]:
    """Have W&B keep its copies of tables in ``folder`` during a block, if nobody has chosen a place.

    It would keep them in the user's home, and leave those of offline runs there.
    """
    if "WANDB_DATA_DIR" in os.environ:
        yield
        return
    os.environ["WANDB_DATA_DIR"] = str(folder)
    try:
        yield
    finally:
        del os.environ["WANDB_DATA_DIR"]


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
