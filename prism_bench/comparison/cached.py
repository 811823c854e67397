"""The phases of a cell that lie in the cache already, found by its real keys, without making anything."""

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console

from prism_bench.accounting.ledger import Ledger
from prism_bench.comparison.composed import experiment_of
from prism_bench.comparison.forecast import phases_of
from prism_bench.comparison.grid import Cell
from prism_bench.stage_cache.cache import Stage, StageCache
from prism_bench.stage_cache.declaration import Files, StageFunction, Tools


class _NotMadeError(Exception):
    """A stage is not in the cache."""


class _ReadOnlyCache(StageCache):
    """A cache that finds stages and makes none."""

    def get(
        self,
        function: StageFunction[Tools],
        tools: Tools,
        *,
        config: Mapping[str, Any],
        parents: Mapping[str, Files] | None = None,
        values: Mapping[str, Any] | None = None,
    ) -> Stage:
        found = self.find(function, config=config, parents=parents, values=values)
        if found is None:
            raise _NotMadeError(function.name)
        return found


def cached_phases(cell: Cell, conf: Path) -> frozenset[str]:
    """Return the phases of a cell that need not be made, up to the first that does.

    Raises:
        InputError: a setting of the cell is refused.
    """
    with (
        TemporaryDirectory() as folder,
        closing(experiment_of(cell, conf, Path(folder), Console(quiet=True))) as experiment,
    ):
        ledger = Ledger()
        experiment.cache = _ReadOnlyCache(Path(cell.config["cache"]), ledger)
        try:
            experiment.walk()
        except _NotMadeError:
            last = {row.phase for row in ledger.rows} - {"eval"}
            return frozenset(last)
    return frozenset(phases_of(cell))
