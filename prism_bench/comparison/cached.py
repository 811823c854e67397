"""The phases of a cell that lie in the cache already, found by its real keys, without making anything."""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console

from prism_bench.comparison.forecast import phases_of
from prism_bench.comparison.grid import Cell
from prism_bench.comparison.in_process import experiment_of
from prism_bench.experiment import Experiment
from prism_bench.stage_cache.cache import Stage, StageCache
from prism_bench.stage_cache.declaration import Files, StageFunction, Tools


class NotMadeError(Exception):
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
            raise NotMadeError(function.name)
        return found


@contextmanager
def finding(cell: Cell) -> Iterator[Experiment]:
    """Give the experiment of a cell, which raises :class:`NotMadeError` where a stage is not in the cache.

    Raises:
        InputError: a setting of the cell is refused.
    """
    with (
        TemporaryDirectory() as folder,
        closing(experiment_of(cell, Path(folder), Console(quiet=True))) as experiment,
    ):
        experiment.cache = _ReadOnlyCache(Path(cell.config["cache"]), experiment.ledger)
        yield experiment


def cached_phases(cell: Cell) -> frozenset[str]:
    """Return the phases of a cell that need not be made, up to the first that does.

    Raises:
        InputError: a setting of the cell is refused.
    """
    with finding(cell) as experiment:
        try:
            experiment.walk()
        except NotMadeError:
            return frozenset({row.phase for row in experiment.ledger.rows} - {"eval"})
    return frozenset(phases_of(cell))
