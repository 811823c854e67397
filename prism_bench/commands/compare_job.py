"""The job of ``prism-bench compare``: cells, plan, runs, and the files that compare them."""

import logging
import os
import shlex
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from prism_bench.accounting.meter import LedgerRow
from prism_bench.comparison.cached import cached_phases
from prism_bench.comparison.counterparts import check_baseline
from prism_bench.comparison.forecast import Costs, phases_of, plan
from prism_bench.comparison.gather import gather
from prism_bench.comparison.grid import Cell, cells, in_turns
from prism_bench.comparison.identity import tells_apart
from prism_bench.comparison.launchers import Job, Launcher
from prism_bench.comparison.page import write_page
from prism_bench.comparison.power import SPREAD, smallest_for, spread_of
from prism_bench.comparison.record import Comparison, FailedRun, write_comparison
from prism_bench.comparison.study import read_study
from prism_bench.comparison.summary import markdown, print_tables
from prism_bench.comparison.tables import tables_of
from prism_bench.comparison.watch import reason, watch
from prism_bench.digests import digest
from prism_bench.errors import InputError
from prism_bench.files import write_atomically
from prism_bench.results.outcomes import ResultError
from prism_bench.results.result import RESULT, read_result
from prism_bench.results.significance import POWER
from prism_bench.results.units import count, duration
from prism_bench.settings.making import make

RUNS = "runs"

_log = logging.getLogger(__name__)


class Comparing:
    """A comparison to be made.

    Args:
        settings: ``KEY=VALUES``, as the command line has them.
        out: the folder of the runs and of the files that compare them; None for one that belongs to the settings.
        conf: the folder of the configuration.
        study: settings of ``compare.yaml``, as overrides.
        baseline: ``KEY=VALUE`` of the baseline, in place of those in ``compare.yaml``.

    Raises:
        InputError: a setting is refused.
        HydraException: the configuration cannot be composed.
    """

    def __init__(
        self,
        settings: Sequence[str],
        out: Path | None,
        conf: Path,
        study: Sequence[str] = (),
        baseline: Sequence[str] | None = None,
    ) -> None:
        self.study = read_study(conf, study, baseline)
        self.launcher: Launcher = make(self.study.launcher, "launcher", Launcher)
        self.out = (out or Path("runs") / f"compare-{digest(sorted(settings))[:8]}").absolute()
        self._conf, self._settings, self._baseline_given = conf, settings, baseline is not None

    @cached_property
    def cells(self) -> dict[str, Cell]:
        """All runs, by name."""
        found = cells(self._settings, self._conf)
        named = {cell.name: cell for cell in found}
        if len(named) < len(found):
            raise InputError("two configurations of this comparison would have one name; write their values shorter")
        if self._baseline_given:
            check_baseline({cell.configuration: cell.settings for cell in found}, self.study.wanted.baseline)
        return named

    def run(self, console: Console) -> int:
        """Make the runs that have no result, write and print the comparison; return the exit status."""
        unfinished = [cell for cell in self.cells.values() if not self._finished(cell)]
        left = {cell.name: cell for cell in in_turns(unfinished, self.launcher.side_by_side)}
        done = len(self.cells) - len(left)
        console.print(f"{len(self.cells)} runs, of which {done} have a result; {self.launcher.description}")
        for name in left:
            (self._folder(name) / RESULT).unlink(missing_ok=True)  # of other settings
        costs = Costs(self._results() if left else ())
        jobs = [Job(name, self._folder(name), self._words(cell), self._environment) for name, cell in left.items()]

        def ended(name: str) -> str:
            if not self._finished(self.cells[name]):
                return f"{name} failed: {reason(self._folder(name))}"
            costs.add(read_result(self._folder(name) / RESULT))
            return f"{name} has ended"

        if jobs:
            self.launcher.start(jobs)
            try:
                folders = {name: self._folder(name) for name in left}
                watch(left, folders, self.launcher, console, ended, costs, self._cached)
            except BaseException:
                self.launcher.stop()
                raise
        finished = {name for name, cell in self.cells.items() if self._finished(cell)}
        if not finished:
            first = self._folder(next(iter(self.cells)))
            raise InputError(f"no run has a result; the first failed with: {reason(first)}")
        self._write(finished, console)
        return 0 if len(finished) == len(self.cells) else 1

    def _cached(self, cell: Cell) -> frozenset[str]:
        """Return the phases of a run that need not be made; none if that fails, as the run itself then does."""
        try:
            return cached_phases(cell)
        except Exception:
            _log.debug("cannot look up what of %s is in the cache", cell.name, exc_info=True)
            return frozenset()

    def print_plan(self, console: Console) -> None:
        """Print the runs, what of them is cached, the cost of the rest, and what these seeds can show."""
        names = list(self.cells)
        finished = {name for name in names if self._finished(self.cells[name])}
        there = {
            name: frozenset(phases_of(cell)) if name in finished else cached_phases(cell)
            for name, cell in self.cells.items()
        }
        for name, cell in self.cells.items():
            missing = [phase for phase in phases_of(cell) if phase not in there[name]]
            state = "has a result" if name in finished else f"to make: {', '.join(missing)}" if missing else "cached"
            console.print(f"{name}: {state}", markup=False, highlight=False, soft_wrap=True)
        rows = plan(list(self.cells.values()), there, Costs(self._results()))
        table = Table("phase", title="Expected cost", title_justify="left")
        for header in ("shared or cached", "to make", "of unknown cost", "tokens", "FLOPs", "time"):
            table.add_column(header, justify="right")
        total = LedgerRow("total")
        for row in rows:
            unknown = str(row.unknown) if row.unknown else ""
            table.add_row(row.phase, str(row.there), str(row.to_make), unknown, *_cost(row.cost))
            total += LedgerRow(**asdict(row.cost) | {"phase": "total"})
        table.add_section()
        table.add_row("total", "", "", str(sum(row.unknown for row in rows) or ""), *_cost(total), style="bold")
        console.print(table)
        slots = self.launcher.side_by_side or len(names)
        known = "" if all(row.unknown == 0 for row in rows) else ", and what is unknown as yet"
        console.print(f"{self.launcher.description}: {duration(total.seconds / slots)}{known}", highlight=False)
        console.print(self._power(finished), markup=False, highlight=False, soft_wrap=True)

    def _power(self, finished: Collection[str]) -> str:
        """Return the sentence on the difference that these seeds can show."""
        seeds = len({cell.seed for cell in self.cells.values()})
        if seeds < 2:
            return "One seed cannot show a difference between configurations; add 'seed=range(5)'."
        seen = spread_of(tables_of(self._gathered(finished)).differences) if finished else None
        spread = SPREAD if seen is None else seen
        return (
            f"{seeds} seeds show differences from {100 * smallest_for(seeds, spread):.1f} points on with a power of "
            f"{100 * POWER:.0f} %, if differences vary by {100 * spread:.1f} points between seeds, "
            f"{'a guess' if seen is None else 'as they do so far'}."
        )

    def _results(self) -> list[dict[str, Any]]:
        """Return results that tell what phases cost: those of this comparison, and those beside it."""
        places = (f"*/{RESULT}", f"*/*/{RESULT}", f"*/{RUNS}/*/{RESULT}")
        files = {file for place in places for file in self.out.parent.glob(place)}
        found = []
        for file in sorted(files | {*self.out.glob(f"{RUNS}/*/{RESULT}")}, key=lambda file: file.stat().st_mtime):
            with suppress(ResultError):  # of another version; it would have told nothing but a cost
                found.append(read_result(file))
        return found

    def _folder(self, name: str) -> Path:
        return self.out / RUNS / name

    def _words(self, cell: Cell) -> tuple[str, ...]:
        place = str(self._folder(cell.name)).replace("'", "\\'")  # Hydra's quotes, since names have equals signs
        return ("run", *cell.overrides, f"hydra.run.dir='{place}'")

    @property
    def _environment(self) -> dict[str, str]:
        return {"WANDB_RUN_GROUP": self.out.name} if "WANDB_RUN_GROUP" not in os.environ else {}

    def _finished(self, cell: Cell) -> bool:
        """Return whether a run has a result, made with these settings."""
        folder = self._folder(cell.name)
        record = folder / ".hydra" / "overrides.yaml"
        if not (folder / RESULT).is_file() or not record.is_file():
            return False
        return set(yaml.safe_load(record.read_text(encoding="utf-8")) or ()) == set(cell.overrides)

    def _gathered(self, finished: Collection[str]) -> Comparison:
        """Return the comparison of the runs that have a result, with the reasons why others have none."""
        return gather(
            [self._folder(name) for name in self.cells if name in finished],
            self.study.wanted,
            command=shlex.join(["prism-bench", "compare", *filter(tells_apart, self._settings)]),
            failed=[
                FailedRun(cell.configuration, cell.seed, reason(self._folder(name)))
                for name, cell in self.cells.items()
                if name not in finished
            ],
            root=self.out,
        )

    def _write(self, finished: Collection[str], console: Console) -> None:
        comparison = self._gathered(finished)
        tables = tables_of(comparison)
        write_comparison(self.out / "comparison.json", comparison, asdict(tables))
        write_atomically(self.out / "comparison.md", markdown(comparison, tables))
        write_page(self.out / "comparison.html", comparison, tables, self.out)
        print_tables(comparison, tables, console)
        for name, kind in (("comparison.json", "data"), ("comparison.md", "tables"), ("comparison.html", "page")):
            console.print(f"{kind}: {self.out / name}", markup=False, highlight=False, soft_wrap=True)


def _cost(row: LedgerRow) -> list[str]:
    tokens = row.prefill_tokens + row.generated_tokens + row.trained_tokens
    return [count(tokens), count(row.flops), duration(row.seconds)]
