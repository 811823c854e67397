"""``result.json``: what one run measured, complete enough that anyone can recompute its tables from the file alone.

    format, version      what kind of file this is
    router               the router's name as configured
    config, protocol, versions, seeds
                         the resolved configuration; how the evaluation was done; software; every seed
    allocation           {sft, rl}: how many trajectories went where
    success, score       {base, sft, final}.{split}.{all, <task type>}.{mean, low, high, n}; a stage that the run lacks
                         is absent
    paired               {sft-base, final-base, final-sft}.{split}.{mean, low, high, n}: differences of success, task by
                         task
    paired_score         the same of scores
    ledger               rows of cost, see :mod:`prism_bench.accounting.ledger`
    files                what else the run wrote, by name, as paths relative to the result
    outcomes             one row per evaluated episode, from which the four tables above follow

Intervals are those of :mod:`prism_bench.results.statistics`.
"""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from math import isclose
from pathlib import Path
from typing import Any

from prism_bench.accounting.ledger import QUANTITIES, LedgerRow, total_rows
from prism_bench.errors import InputError
from prism_bench.files import write_atomically
from prism_bench.results.statistics import paired_difference, summarise

FORMAT = "prism-bench result"
VERSION = 2
STAGES = ("base", "sft", "final")
COMPARISONS = (("sft", "base"), ("final", "base"), ("final", "sft"))
PACKAGES = ("prism-bench", "torch", "transformers", "trl", "peft", "accelerate", "datasets", "gymnasium", "numpy")


class ResultError(InputError):
    """A result that contradicts itself, or a file that does not hold one."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One evaluated episode: which task, played by the model of which stage, and how it ended."""

    stage: str
    split: str
    task_id: str
    task_type: str
    success: bool
    score: float
    steps: int

    def __post_init__(self) -> None:
        if self.stage not in STAGES:
            raise ResultError(f"the stage {self.stage!r} of task {self.task_id!r} is none of {', '.join(STAGES)}")


def build_result(
    *,
    router: str,
    config: Mapping[str, Any],
    protocol: Mapping[str, Any],
    seeds: Mapping[str, int],
    allocation: Mapping[str, int],
    outcomes: Sequence[Outcome],
    ledger: Sequence[LedgerRow],
    files: Mapping[str, str],
) -> dict[str, Any]:
    """Return the content of ``result.json``; the arguments are described at the top of this file.

    Raises:
        ResultError: a task was played twice in one stage, or two stages of a split played different tasks.
    """
    return {
        "format": FORMAT,
        "version": VERSION,
        "router": router,
        "config": dict(config),
        "protocol": dict(protocol),
        "versions": installed_versions(),
        "seeds": dict(seeds),
        "allocation": {"sft": allocation["sft"], "rl": allocation["rl"]},
        **_tables(outcomes),
        "ledger": [asdict(row) for row in total_rows(ledger)],
        "files": dict(files),
        "outcomes": [asdict(outcome) for outcome in outcomes],
    }


def write_result(path: Path, result: Mapping[str, Any]) -> None:
    """Write a result as JSON, whole or not at all, with one outcome per line.

    Raises:
        ResultError: the result holds something that JSON does not have.
    """
    try:
        head = json.dumps({key: result[key] for key in result if key != "outcomes"}, indent=2, allow_nan=False)
        rows = ",\n    ".join(json.dumps(outcome, allow_nan=False) for outcome in result["outcomes"])
    except (TypeError, ValueError) as error:
        raise ResultError(f"{path}: this result cannot be written as JSON ({error})") from None
    write_atomically(path, head.removesuffix("\n}") + f',\n  "outcomes": [\n    {rows}\n  ]\n}}\n')


def read_result(path: Path) -> dict[str, Any]:
    """Read what :func:`write_result` wrote, and check that its tables follow from its outcomes.

    Raises:
        ResultError: the file is missing, damaged, of another kind or version, or its tables were changed.
    """
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ResultError(f"{path}: not readable as a result ({error})") from None
    if not isinstance(result, dict) or result.get("format") != FORMAT:
        raise ResultError(f"{path}: not a result of prism-bench; expected the file result.json of a run")
    if result.get("version") != VERSION:
        raise ResultError(f"{path}: a result of version {result.get('version')}, this program reads version {VERSION}")
    kinds = {"router": str, "ledger": list, "outcomes": list}
    names = ("router", "config", "protocol", "versions", "seeds", "allocation", "success", "score")
    for name in (*names, "paired", "paired_score", "ledger", "files", "outcomes"):
        if not isinstance(result.get(name), kinds.get(name, dict)):
            raise ResultError(f"{path}: this result is damaged, {name!r} is missing or of another type")
    if not all(isinstance(result["allocation"].get(half), int) for half in ("sft", "rl")):
        raise ResultError(f"{path}: 'allocation' must hold the counts 'sft' and 'rl'")
    for number, row in enumerate(result["ledger"]):
        try:
            LedgerRow.from_dict(row)
        except ValueError as error:
            raise ResultError(f"{path}: row {number} of the ledger: {error}") from None
    try:
        tables = _tables([_outcome(row, number) for number, row in enumerate(result["outcomes"])])
    except ValueError as error:
        raise ResultError(f"{path}: {error}") from None
    for name, table in tables.items():
        if not _same(table, result[name]):
            raise ResultError(f"{path}: the table {name!r} does not follow from the outcomes; the file was changed")
    return result


def result_metrics(result: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a result that a dashboard shows, by key.

    ``success/<stage>/<split>`` and ``score/<stage>/<split>`` are means over all tasks; ``ledger/<phase>/<quantity>``
    counts fresh and cached costs together.
    """
    metrics: dict[str, float] = {
        f"{table}/{stage}/{split}": groups["all"]["mean"]
        for table in ("success", "score")
        for stage, splits in result[table].items()
        for split, groups in splits.items()
    }
    for row in phase_costs(result):
        metrics |= {f"ledger/{row.phase}/{quantity}": getattr(row, quantity) for quantity in QUANTITIES}
    return metrics


def phase_costs(result: Mapping[str, Any]) -> list[LedgerRow]:
    """Return the ledger of a result with one row per phase, ``cached`` where nothing of it was spent by this run."""
    rows = [LedgerRow.from_dict(row) for row in result["ledger"]]
    fresh = {row.phase for row in rows if not row.cached}
    return total_rows([LedgerRow(**asdict(row) | {"cached": row.phase not in fresh}) for row in rows])


def installed_versions() -> dict[str, str]:
    """Return the versions of Python, of the operating system and of the packages that can change a result."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # used from a folder, without being installed
            found[package] = "not installed"
    return found


def _tables(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Compute success, score and the differences of both from the outcomes."""
    played: dict[tuple[str, str], dict[str, Outcome]] = {}
    for outcome in outcomes:
        tasks = played.setdefault((outcome.stage, outcome.split), {})
        if outcome.task_id in tasks:
            raise ResultError(f"task {outcome.task_id!r} was played twice in {outcome.stage} on {outcome.split}")
        tasks[outcome.task_id] = outcome
    tables: dict[str, Any] = {"success": {}, "score": {}, "paired": {}, "paired_score": {}}
    for (stage, split), tasks in sorted(played.items(), key=lambda item: STAGES.index(item[0][0])):
        types = [episode.task_type for episode in tasks.values()]
        successes = summarise([float(episode.success) for episode in tasks.values()], types)
        scores = summarise([episode.score for episode in tasks.values()], types)
        for name, groups in (("success", successes), ("score", scores)):
            table = {group: asdict(estimate) for group, estimate in groups.items()}
            tables[name].setdefault(stage, {})[split] = table
    for later, earlier in COMPARISONS:
        for split in tables["success"].get(earlier, {}):
            before, after = played[earlier, split], played.get((later, split))
            if after is None:
                continue
            if before.keys() != after.keys():
                raise ResultError(f"{earlier} and {later} played different tasks of {split}, so they cannot be paired")
            for paired, quantity in (("paired", "success"), ("paired_score", "score")):
                difference = paired_difference(
                    [getattr(episode, quantity) for episode in before.values()],
                    [getattr(after[task], quantity) for task in before],
                )
                tables[paired].setdefault(f"{later}-{earlier}", {})[split] = asdict(difference)
    return tables


def _outcome(row: Any, number: int) -> Outcome:
    names = [field.name for field in fields(Outcome)]
    if not isinstance(row, dict) or set(row) != set(names):
        raise ResultError(f"outcome {number}: expected exactly the fields {', '.join(names)}")
    good = isinstance(row["success"], bool) and isinstance(row["score"], int | float) and isinstance(row["steps"], int)
    if not good or not all(isinstance(row[name], str) for name in ("split", "task_id", "task_type")):
        raise ResultError(f"outcome {number}: a field is of another type than it should be")
    return Outcome(**row)


def _same(one: Any, other: Any) -> bool:
    """Compare two tables; numbers may differ by rounding, since other processors add in another order."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    numbers = isinstance(one, int | float) and isinstance(other, int | float)
    return numbers and isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
