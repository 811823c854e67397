"""Comparisons made in parts, of other seeds or on other machines, as one."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from prism_bench.comparison.record import Comparison, Run, read_comparison
from prism_bench.comparison.tables import check_tables
from prism_bench.errors import InputError


def read_parts(files: list[Path]) -> Comparison:
    """Return the runs of several files of the same configurations as one comparison; of one file, its own.

    Folders of runs are as seen from that of the first file, or absolute.

    Raises:
        ResultError: a file is damaged, or its tables do not follow from its runs.
        InputError: the files have other configurations, or a run is in two of them.
    """
    parts = {}
    for file in files:
        parts[file], written = read_comparison(file)
        check_tables(parts[file], written)
    _check(parts)
    comparisons = list(parts.values())
    there = {(run.configuration, run.seed) for part in comparisons for run in part.runs}
    return comparisons[0].model_copy(
        update={
            "command": " && ".join(dict.fromkeys(part.command for part in comparisons if part.command)),
            "lists": {name: tasks for part in comparisons for name, tasks in part.lists.items()},
            "runs": [_placed(run, file.parent, files[0].parent) for file, part in parts.items() for run in part.runs],
            "failed": [
                run for part in comparisons for run in part.failed if (run.configuration, run.seed) not in there
            ],
        }
    )


def _check(parts: Mapping[Path, Comparison]) -> None:
    (first, one), *others = parts.items()
    where = {(run.configuration, run.seed): first for run in one.runs}
    expected = {each.name: each for each in one.configurations}
    for file, part in others:
        found = {each.name: each for each in part.configurations}
        different = [name for name in {**expected, **found} if expected.get(name) != found.get(name)]
        if different or part.reach != one.reach:
            what = f"the configuration {different[0]}" if different else "the success that is to be reached"
            raise InputError(f"{file} and {first} differ in {what}; only parts of one comparison can be joined")
        for run in part.runs:
            if (run.configuration, run.seed) in where:
                other = where[run.configuration, run.seed]
                raise InputError(f"seed {run.seed} of {run.configuration} is in {other} and in {file}; leave one out")
            where[run.configuration, run.seed] = file


def _placed(run: Run, folder: Path, root: Path) -> Run:
    return run if folder == root else replace(run, folder=str((folder / run.folder).absolute()))
