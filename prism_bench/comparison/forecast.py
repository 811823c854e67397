"""What cells are going to cost: every phase as much as the same phase of the finished run that is most like them.

Cells share stages. A phase that several of them have in common is counted once, by a key of what it depends on. It is
coarser than that of the cache, and serves nothing but sums.
"""

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from prism_bench.accounting.meter import LedgerRow
from prism_bench.comparison.grid import Cell
from prism_bench.comparison.identity import OF_A_RUN, SOURCES
from prism_bench.digests import digest
from prism_bench.errors import InputError
from prism_bench.marks import before_measuring
from prism_bench.results.result import phase_costs
from prism_bench.routing.router import Router
from prism_bench.settings.making import make

LATER = ("strategy", "router", "rollout", "budget", "eval")
"""Settings that collection and the base stage do not read."""


@functools.cache
def phases_of(cell: Cell) -> dict[str, str]:
    """Return the phases of a cell in their order, each with the key under which cells share it."""
    config = cell.config
    start = digest({key: config[key] for key in config if key not in (*OF_A_RUN, *SOURCES, *LATER)})
    found = {"collect": start}
    if "base" in config["model"]:
        found["base"] = digest([start, cell.seed])
    if cell.has_router:
        found["route"] = _routing(cell, found.get("base", start))
    before: list[Any] = [start, cell.seed, config["rollout"], config["budget"]]
    for phase in cell.phases:
        data = [found["route"], config["router"]] if phase.needs_router else ""
        before = [*before, phase.name, dict(phase.algorithm), phase.demonstrations, phase.tasks, data]
        found[phase.name] = digest(before)
    return found | {"eval": digest([cell.name])}


def _routing(cell: Cell, policy: str) -> str:
    """Return the key of the measurement of a cell's router, as far as it draws and rolls out."""
    router, seed, rollout = cell.config["router"], cell.seed, cell.config["rollout"]
    try:
        made: Router = make(router, "router", Router)
    except InputError:  # the run says what is wrong
        return digest([policy, router, seed, rollout])
    measurement = before_measuring(router)
    return digest([policy, measurement, seed if made.draws else None, rollout if made.needs_tasks else None])


class Costs:
    """Costs of phases, read off finished runs."""

    def __init__(self, results: Iterable[Mapping[str, Any]] = ()) -> None:
        self._known: list[tuple[dict[str, str], dict[str, LedgerRow]]] = []
        self._expected: dict[tuple[str, str], LedgerRow | None] = {}  # until more is known
        for result in results:
            self.add(result)

    def add(self, result: Mapping[str, Any]) -> None:
        """Learn the costs of a finished run."""
        made = {**result, "ledger": [row for row in result["ledger"] if row["phase"] != "eval" or not row["cached"]]}
        # What a run found of its evaluation, above all that of the base model, other cells find as well.
        costs = [*phase_costs(result), *phase_costs(made)]
        rows = {row.phase: replace(row, cached=False) for row in costs}
        self._known.append((_settings(result["config"]), rows))
        self._expected.clear()

    def expected(self, cell: Cell, phase: str) -> LedgerRow | None:
        """Return the cost of a phase in the run that has most settings in common with ``cell``; None if none has it.

        Of several such runs, which differ in their seeds, it is that of the last.

        Runs of another environment or another model tell nothing.
        """
        if (cell.configuration, phase) not in self._expected:
            self._expected[cell.configuration, phase] = self._nearest(cell, phase)
        return self._expected[cell.configuration, phase]

    def _nearest(self, cell: Cell, phase: str) -> LedgerRow | None:
        own = _settings(cell.config)
        best, most = None, -1
        for settings, rows in reversed(self._known):
            likeness = sum(settings.get(key) == value for key, value in own.items())
            if phase in rows and likeness > most and _comparable(own, settings):
                best, most = rows[phase], likeness
        return best


def _settings(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings of a run by their path, without those that are its own."""
    return dict(_leaves({key: value for key, value in config.items() if key not in OF_A_RUN}))


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}")
    else:
        yield path, str(value)


def _comparable(own: Mapping[str, str], other: Mapping[str, str]) -> bool:
    decisive = [key for key in own if key.startswith((".env.make.", ".model."))]
    return all(own[key] == other.get(key) for key in decisive)


@dataclass(frozen=True)
class PhasePlan:
    """One phase of all cells.

    Attributes:
        there: how many cells have it already.
        to_make: how many times it will be made.
        unknown: for how many of these no cost is known.
        cost: of the others, added up.
    """

    phase: str
    there: int
    to_make: int
    unknown: int
    cost: LedgerRow


def plan(cells: Sequence[Cell], there: Mapping[str, frozenset[str]], costs: Costs) -> list[PhasePlan]:
    """Return what is to be done, by phase.

    Args:
        there: the phases of every cell, by its name, that need not be made.
    """
    made = {key for cell in cells for phase, key in phases_of(cell).items() if phase in there[cell.name]}
    rows: dict[str, PhasePlan] = {}
    for cell in cells:
        for phase, key in phases_of(cell).items():
            row = rows.get(phase, PhasePlan(phase, 0, 0, 0, LedgerRow(phase)))
            if key in made:
                rows[phase] = replace(row, there=row.there + 1)
                continue
            made.add(key)
            cost = costs.expected(cell, phase)
            unknown = row.unknown + (cost is None)
            total = row.cost + (cost or LedgerRow(phase))
            rows[phase] = replace(row, to_make=row.to_make + 1, unknown=unknown, cost=total)
    return list(rows.values())
