"""``comparison.json``: several runs in one file, small enough for a repository and complete enough for every table.

Of each run it keeps what its tables follow from: the outcome of every evaluated task, the points of its learning
curves, its ledger, and the router's decisions. Tasks are written once, in lists that runs refer to.

    format, version   the kind of file
    command           the command line that made the runs, if one did
    reach             the success to which FLOPs are counted
    configurations    what was compared, see :class:`Configuration`
    lists             tasks, demonstrations included, by the name that runs refer to, see :class:`TaskList`
    runs              see :class:`Run`
    failed            runs without a result, see :class:`FailedRun`
    tables            everything that follows from the above, see :mod:`prism_bench.comparison.tables`

A file is read only if its tables follow from its runs.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, Field, ValidationError, with_config

from prism_bench.accounting.meter import StoredRow
from prism_bench.errors import first_mistake
from prism_bench.files import write_atomically
from prism_bench.results.outcomes import EXACT, ResultError
from prism_bench.results.schema import CurvePoint, PhaseResult
from prism_bench.results.units import count

FORMAT: Final = "prism-bench comparison"

Flags = Annotated[str, Field(pattern="^[01]*$")]
"""Yes and no by task, as ``1`` and ``0``."""


@with_config(EXACT)
@dataclass(frozen=True, slots=True)
class TaskList:
    """Tasks in a fixed order, and the type of each; None where it is not known."""

    ids: list[str | None]
    types: list[str | None]


@with_config(EXACT)
@dataclass(frozen=True, slots=True)
class Configuration:
    """Runs that differ in nothing but their seeds.

    Attributes:
        name: what tells it from the others, such as ``prism split``.
        settings: the settings in which configurations differ, by dotted path, with choices of ``conf/`` by name.
        strategy, router: as in the result; no router where the strategy does not ask for one.
        baseline: the configuration that it is compared with; None for none.
        reference: the configuration whose compute is the unit of its own; None for none.
        oracle: the configuration of which its gain is a share; None for none.
    """

    name: str
    settings: dict[str, Any]
    strategy: str
    router: str | None
    baseline: str | None = None
    reference: str | None = None
    oracle: str | None = None


@with_config(EXACT)
@dataclass(frozen=True, slots=True)
class StageOutcomes:
    """All episodes of one stage on one split.

    Attributes:
        tasks: the name of the list of tasks.
        success, score, steps: by task, in the order of the list. ``score`` is None where it equals success.
    """

    tasks: str
    success: Flags
    score: list[float] | None
    steps: list[int]


@with_config(EXACT)
@dataclass(frozen=True, slots=True)
class Routing:
    """The decisions of a router.

    Attributes:
        demonstrations: the name of the list of trajectories.
        to_rl: by trajectory.
        scores: by trajectory, with six digits.
        threshold: the highest score that went to SFT; where reversed, the lowest.
        matrices: names of the columns of ``norms``.
        norms: by part (``sft``, ``rl``), layer and matrix: mean gradient norms, each trajectory's divided by their
            mean; None if the router read no gradients.
    """

    demonstrations: str
    to_rl: Flags
    scores: list[float]
    threshold: float
    matrices: list[str]
    norms: dict[str, list[list[float]]] | None


@with_config(EXACT)
@dataclass(frozen=True, slots=True)
class Run:
    """One finished run.

    Attributes:
        configuration: its name.
        seed: of training.
        folder: of its files, as seen from the folder of the comparison or absolute.
        command: the command line that makes it again.
        versions: of the software.
        protocol: settings that have to be equal before two runs may be compared.
        outcomes: by stage and split, stages in the order of the run.
        phases, curves, ledger: as in the result.
        routing: None without a router.
    """

    configuration: str
    seed: int
    folder: str
    command: str
    versions: dict[str, str]
    protocol: dict[str, Any]
    outcomes: dict[str, dict[str, StageOutcomes]]
    phases: list[PhaseResult]
    curves: list[CurvePoint]
    ledger: list[StoredRow]
    routing: Routing | None


@with_config(EXACT)
@dataclass(frozen=True, slots=True)
class FailedRun:
    """A run that ended without a result: its configuration, its seed, and why."""

    configuration: str
    seed: int
    reason: str


class Comparison(BaseModel):
    """The content of ``comparison.json`` without its tables, described at the top of this module."""

    model_config = EXACT

    format: Literal["prism-bench comparison"] = FORMAT
    version: Literal[2] = 2
    command: str
    reach: float
    configurations: list[Configuration]
    lists: dict[str, TaskList]
    runs: list[Run]
    failed: list[FailedRun]

    def of(self, configuration: str) -> dict[int, Run]:
        """Return the runs of a configuration by seed, in the order of the seeds."""
        runs = [run for run in self.runs if run.configuration == configuration]
        return {run.seed: run for run in sorted(runs, key=lambda run: run.seed)}

    def groups(self) -> dict[str, list[str]]:
        """Return the names of the configurations that may be compared, by what they have in common: data or compute."""
        found: dict[str, list[str]] = {}
        for configuration in self.configurations:
            limit = configuration.settings.get("budget.flops")
            name = "Equal data" if limit is None else f"Equal compute: {count(float(limit))} FLOPs"
            found.setdefault(name, []).append(configuration.name)
        return found


def write_comparison(path: Path, comparison: Comparison, tables: Mapping[str, Any]) -> None:
    """Write a comparison with its tables as JSON, whole or not at all, with one run per line."""
    content = comparison.model_dump() | {"tables": tables}
    fields = []
    for name, value in content.items():
        if isinstance(value, list) and value:
            rows = ",\n  ".join(json.dumps(item, allow_nan=False) for item in value)
            fields.append(f"{json.dumps(name)}: [\n  {rows}\n ]")
        else:
            fields.append(f"{json.dumps(name)}: {json.dumps(value, allow_nan=False)}")
    write_atomically(path, "{\n " + ",\n ".join(fields) + "\n}\n")


def holds_comparison(path: Path) -> bool:
    """Return whether a path is a file of :func:`write_comparison`, by how it begins."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return FORMAT.encode() in file.read(100)


def read_comparison(path: Path) -> tuple[Comparison, Mapping[str, Any]]:
    """Read a file of :func:`write_comparison`: the comparison, and the tables as they stand in the file.

    Raises:
        ResultError: the file is missing, damaged, or of another kind or version.
    """
    try:
        content = json.loads(path.read_bytes())
        tables = content.pop("tables")
        return Comparison.model_validate_json(json.dumps(content)), tables
    except OSError as error:
        raise ResultError(f"{path}: not readable as a comparison ({error})") from None
    except ValidationError as error:
        raise ResultError(f"{path}: not a comparison of prism-bench: {first_mistake(error)}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ResultError(f"{path}: not a comparison of prism-bench") from None
