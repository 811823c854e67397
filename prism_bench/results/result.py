"""``result.json``: built from the parts of a run, written, read, and asked for its numbers.

The content is a dict as :mod:`prism_bench.results.schema` describes it. A file is read only if its tables follow from
the outcomes and the ledger that it holds.
"""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from math import isclose
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from prism_bench.accounting.meter import QUANTITIES, LedgerRow, total_rows
from prism_bench.errors import first_mistake
from prism_bench.files import write_atomically
from prism_bench.results.outcomes import Outcome, ResultError, tables_of
from prism_bench.results.schema import BASE, CurvePoint, Division, PhaseResult, ResultFile, Selection, Truncation

RESULT = "result.json"
"""Name of the file in the folder of a run."""

PACKAGES = ("prism-bench", "torch", "transformers", "trl", "peft", "accelerate", "datasets", "gymnasium", "numpy")


def build_result(
    *,
    strategy: str,
    router: str | None,
    config: Mapping[str, Any],
    protocol: Mapping[str, Any],
    seeds: Mapping[str, int],
    selections: Mapping[str, Selection],
    allocation: Mapping[str, int] | None,
    phases: Sequence[Mapping[str, Any]],
    curves: Sequence[Mapping[str, Any]],
    outcomes: Sequence[Outcome],
    ledger: Sequence[LedgerRow],
    files: Mapping[str, str],
) -> dict[str, Any]:
    """Return the content of ``result.json``; the arguments are described in :mod:`prism_bench.results.schema`.

    ``phases`` have the fields of :class:`PhaseResult`, ``curves`` those of :class:`CurvePoint`. Stages have the order
    in which they first appear in ``outcomes``.

    Raises:
        ResultError: the parts contradict each other: two phases have one name, an outcome or a point belongs to no
            phase, a task occurs twice in a stage, two stages of a split have different tasks, or a value has
            another type than its field.
    """
    rows = total_rows(ledger)
    try:
        result = ResultFile(
            format="prism-bench result",
            version=5,
            strategy=strategy,
            router=router,
            config=dict(config),
            protocol=dict(protocol),
            versions=installed_versions(),
            seeds=dict(seeds),
            selections=dict(selections),
            allocation=None if allocation is None else Division(**allocation),
            phases=[PhaseResult(**phase) for phase in phases],
            **_derived(outcomes, rows),
            curves=[CurvePoint(**point) for point in curves],
            ledger=rows,
            files=dict(files),
            outcomes=list(outcomes),
        )
    except ValidationError as error:
        raise ResultError(first_mistake(error)) from None
    return result.model_dump()


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
    """Read a file of :func:`write_result`; refuse it if its tables do not follow from outcomes and ledger.

    Raises:
        ResultError: the file is missing, damaged, of another kind or version, or was changed.
    """
    try:
        result = ResultFile.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ResultError(f"{path}: not readable as a result ({error})") from None
    except ValidationError as error:
        raise ResultError(f"{path}: not a result of prism-bench: {first_mistake(error)}") from None
    try:
        expected = _derived(result.outcomes, result.ledger)
    except ValueError as error:
        raise ResultError(f"{path}: {error}") from None
    content = result.model_dump()
    for name, table in expected.items():
        if not same_numbers(_PLAIN.dump_python(table), content[name]):
            source = "ledger" if name == "truncation" else "outcomes"
            raise ResultError(f"{path}: the table {name!r} does not follow from the {source}; the file was changed")
    return content


def final_stage(result: Mapping[str, Any]) -> str:
    """Return the last stage that was evaluated, ``base`` if none was."""
    return next(reversed(result["success"]), BASE)


def result_metrics(result: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a result that a dashboard shows, by key.

    ``success/<stage>/<split>`` and ``score/<stage>/<split>`` are means over all tasks; the last stage is there as
    ``final`` too, so that runs of different strategies have a key in common. ``ledger/<phase>/<quantity>`` counts fresh
    and cached costs together.
    """
    metrics: dict[str, float] = {}
    for table in ("success", "score"):
        stages = {"final": result[table].get(final_stage(result), {})} | result[table]
        for stage, splits in stages.items():
            metrics |= {f"{table}/{stage}/{split}": groups["all"]["mean"] for split, groups in splits.items()}
    for row in phase_costs(result):
        metrics |= {f"ledger/{row.phase}/{quantity}": getattr(row, quantity) for quantity in QUANTITIES}
    return metrics


def phase_costs(result: Mapping[str, Any]) -> list[LedgerRow]:
    """Return the ledger of a result with one row per phase, ``cached`` if this run spent nothing of it."""
    return _merged([LedgerRow(**row) for row in result["ledger"]])


def installed_versions() -> dict[str, str]:
    """Return the versions of Python, of the operating system and of the packages that can change a result."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # used from a folder, without being installed
            found[package] = "not installed"
    return found


_PLAIN: TypeAdapter[Any] = TypeAdapter(Any)  # turns dataclasses into dicts


def _derived(outcomes: Sequence[Outcome], ledger: Sequence[LedgerRow]) -> dict[str, Any]:
    """Return the parts of a result that follow from others."""
    tables = tables_of(outcomes)
    shares = {row.phase: _truncation(row) for row in _merged(ledger) if row.episodes or row.demonstrations}
    return {
        "success": tables.success,
        "score": tables.score,
        "paired": tables.paired,
        "paired_score": tables.paired_score,
        "truncation": shares,
    }


def _merged(rows: Sequence[LedgerRow]) -> list[LedgerRow]:
    fresh = {row.phase for row in rows if not row.cached}
    return total_rows([replace(row, cached=row.phase not in fresh) for row in rows])


def _truncation(row: LedgerRow) -> Truncation:
    def share(count: int, total: int) -> float | None:
        return count / total if total else None

    return Truncation(
        context_full=share(row.context_full, row.episodes),
        out_of_turns=share(row.out_of_turns, row.episodes),
        strayed=share(row.strayed, row.episodes),
        lost=share(row.lost_episodes, row.episodes),
        demonstrations_truncated=share(row.demonstrations_truncated, row.demonstrations),
    )


def same_numbers(one: Any, other: Any) -> bool:
    """Compare two tables, order of keys included; numbers may differ by rounding, which depends on the processor."""
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(same_numbers(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_numbers, one, other))
    if isinstance(one, int | float) and isinstance(other, int | float):
        return isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
    return bool(one == other)
