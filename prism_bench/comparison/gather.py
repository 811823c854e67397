"""A comparison made of finished runs: which of them are one configuration, and what each of them left in its folder.

Runs are of one configuration if their configurations, as resolved, differ only in what belongs to a single run. Names
of configurations come from Hydra's record in the folder of a run (``.hydra``): the choices and settings that differ.
"""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import yaml

from prism_bench.accounting.meter import LedgerRow
from prism_bench.comparison.counterparts import Settings, Wanted, with_counterparts
from prism_bench.comparison.identity import OF_A_RUN, identity, name_of, tells_apart
from prism_bench.comparison.record import (
    Comparison,
    Configuration,
    FailedRun,
    Routing,
    Run,
    StageOutcomes,
    TaskList,
)
from prism_bench.digests import digest
from prism_bench.probe.norms import NORMS, load_probe, matrix_names, mean_norms
from prism_bench.results.result import RESULT, read_result
from prism_bench.results.schema import CurvePoint, PhaseResult
from prism_bench.routing.allocation import ALLOCATION, Stage, load_allocation, load_routed


class Lists:
    """Lists of tasks by name, each held once."""

    def __init__(self) -> None:
        self.by_name: dict[str, TaskList] = {}

    def add(self, ids: Sequence[str | None], types: Sequence[str | None]) -> str:
        name = digest([list(ids), list(types)])[:10]
        self.by_name[name] = TaskList(list(ids), list(types))
        return name


def gather(
    folders: Sequence[Path],
    wanted: Wanted,
    *,
    command: str = "",
    failed: Sequence[FailedRun] = (),
    root: Path | None = None,
) -> Comparison:
    """Return the comparison of the runs in ``folders``; of a run that is there twice, the first counts.

    Args:
        command: that made the runs.
        failed: runs without a result.
        root: the folder of the comparison; folders of runs inside of it are written as seen from there.

    Raises:
        ResultError: a result is damaged.
    """
    results = {folder: read_result(folder / RESULT) for folder in folders}
    settings = {folder: settings_of(folder, result) for folder, result in results.items()}
    identities = {folder: identity(each["config"], each["router"] is not None) for folder, each in results.items()}
    names = _names(settings, identities)
    lists, runs = Lists(), []
    seen: set[tuple[str, int]] = set()
    for folder, result in results.items():
        place = folder.relative_to(root) if root is not None and folder.is_relative_to(root) else folder
        run = _run(folder, str(place), names[folder], result, lists)
        if (run.configuration, run.seed) not in seen:
            seen.add((run.configuration, run.seed))
            runs.append(run)
    varied = _varied(list(settings.values()))
    first_of = {names[folder]: folder for folder in reversed(results)}
    configurations = [
        Configuration(
            name,
            {key: value for key, value in settings[first_of[name]].items() if key in varied},
            results[first_of[name]]["strategy"],
            settings[first_of[name]].get("router"),
        )
        for name in dict.fromkeys(names.values())
    ]
    return Comparison(
        command=command,
        reach=wanted.reach,
        configurations=with_counterparts(configurations, wanted),
        lists=lists.by_name,
        runs=runs,
        failed=list(failed),
    )


def settings_of(folder: Path, result: Mapping[str, Any]) -> dict[str, Any]:
    """Return router and strategy of a run, its other choices, and the settings that were given to it."""
    hydra = _yaml(folder / ".hydra" / "hydra.yaml") or {"hydra": {"runtime": {"choices": {}}}}
    chosen = {name: choice for name, choice in hydra["hydra"]["runtime"]["choices"].items() if "/" not in name}
    given = {}
    for override in _yaml(folder / ".hydra" / "overrides.yaml") or []:
        key, _, value = override.lstrip("+").partition("=")
        given[key] = yaml.safe_load(value)
    found = {"router": result["router"], "strategy": result["strategy"]} | chosen
    if result["router"] is None:
        del found["router"]
    found |= {key: value for key, value in given.items() if key not in chosen}
    return {key: value for key, value in found.items() if key.partition(".")[0] not in OF_A_RUN}


def _varied(settings: Sequence[Settings]) -> list[str]:
    """Return the settings that are not the same everywhere."""
    keys = dict.fromkeys(key for each in settings for key in each)
    return [key for key in keys if any(each.get(key) != settings[0].get(key) for each in settings)]


def _names(settings: Mapping[Path, Settings], identities: Mapping[Path, str]) -> dict[Path, str]:
    """Return the name of every run's configuration: router, strategy, and whatever else differs.

    Configurations that differ in something of which Hydra has no record are numbered.
    """
    varied = _varied(list(settings.values()))
    names: dict[Path, str] = {}
    known: dict[str, list[str]] = {}
    for folder, given in settings.items():
        name = name_of(given, varied)
        same = known.setdefault(name, [])
        if identities[folder] not in same:
            same.append(identities[folder])
        number = same.index(identities[folder]) + 1
        names[folder] = name if number == 1 else f"{name}#{number}"
    return names


def _run(folder: Path, place: str, name: str, result: Mapping[str, Any], lists: Lists) -> Run:
    outcomes: dict[str, dict[str, StageOutcomes]] = {}
    for stage, splits in result["success"].items():
        for split in splits:
            rows = [row for row in result["outcomes"] if (row["stage"], row["split"]) == (stage, split)]
            outcomes.setdefault(stage, {})[split] = StageOutcomes(
                lists.add([row["task_id"] for row in rows], [row["task_type"] for row in rows]),
                _flags(row["success"] for row in rows),
                [row["score"] for row in rows] if any(row["score"] != row["success"] for row in rows) else None,
                [row["steps"] for row in rows],
            )
    return Run(
        configuration=name,
        seed=result["seeds"]["seed"],
        folder=place,
        command=_command(folder),
        versions=result["versions"],
        protocol=result["protocol"],
        outcomes=outcomes,
        phases=[PhaseResult(**phase) for phase in result["phases"]],
        curves=[CurvePoint(**point) for point in result["curves"]],
        ledger=[LedgerRow(**row) for row in result["ledger"]],
        routing=_routing(folder, lists) if (folder / ALLOCATION).is_file() else None,
    )


def _command(folder: Path) -> str:
    """Return the command line that makes a run again, without the settings of its place."""
    overrides = _yaml(folder / ".hydra" / "overrides.yaml") or []
    return shlex.join(["python", "run.py", *filter(tells_apart, overrides)])


def _routing(folder: Path, lists: Lists) -> Routing:
    allocation, (ids, types) = load_allocation(folder / ALLOCATION), load_routed(folder / ALLOCATION)
    matrices: list[str] = []
    norms: dict[str, list[list[float]]] | None = None
    if (folder / NORMS).is_file():
        probe = load_probe(folder / NORMS)
        matrices = matrix_names(probe)
        norms = {part: np.round(mean_norms(probe, allocation.indices(part)), 4).tolist() for part in get_args(Stage)}
    return Routing(
        demonstrations=lists.add(ids, types),
        to_rl=_flags(stage == "rl" for stage in allocation.stages),
        scores=[float(f"{score:.6g}") for score in allocation.scores],
        threshold=allocation.threshold,
        matrices=matrices,
        norms=norms,
    )


def _flags(values: Iterable[bool]) -> str:
    return "".join("1" if value else "0" for value in values)


def _yaml(file: Path) -> Any:
    return yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else None
