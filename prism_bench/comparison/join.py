"""One comparison out of several files, of other seeds or from other machines."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from prism_bench.comparison.record import Comparison, Run, read_comparison
from prism_bench.comparison.tables import check_tables
from prism_bench.errors import InputError


def read_joined(files: Sequence[Path]) -> Comparison:
    """Return the runs of all files as one comparison.

    Folders of runs are as seen from that of the first file, or absolute.

    Raises:
        ResultError: a file is damaged, or its tables do not follow from its runs.
        InputError: the files have other configurations, or give one other settings, or a run is in two of them.
    """
    found = {}
    for file in files:
        found[file], written = read_comparison(file)
        check_tables(found[file], written)
    _check(found)
    comparisons = list(found.values())
    finished = {(run.configuration, run.seed) for each in comparisons for run in each.runs}
    return comparisons[0].model_copy(
        update={
            "command": " && ".join(dict.fromkeys(each.command for each in comparisons if each.command)),
            "lists": {name: tasks for each in comparisons for name, tasks in each.lists.items()},
            "runs": [_placed(run, file.parent, files[0].parent) for file, each in found.items() for run in each.runs],
            "failed": [
                run for each in comparisons for run in each.failed if (run.configuration, run.seed) not in finished
            ],
        }
    )


def _check(found: Mapping[Path, Comparison]) -> None:
    (first, one), *others = found.items()
    where = {(run.configuration, run.seed): first for run in one.runs}
    expected = {each.name: each for each in one.configurations}
    given = {run.configuration: _settings(run) for run in one.runs}
    for file, other in others:
        names = {each.name: each for each in other.configurations}
        different = [name for name in expected | names if expected.get(name) != names.get(name)]
        if different or other.reach != one.reach:
            what = f"the configuration {different[0]}" if different else "the success that is to be reached"
            raise InputError(
                f"{file} and {first} differ in {what}: only files of the same configurations can be joined; to compare "
                "others, name the folders of their runs"
            )
        for run in other.runs:
            if changed := given[run.configuration] ^ _settings(run):
                raise InputError(
                    f"{file} and {first} give {run.configuration} other settings, {' '.join(sorted(changed))}; "
                    "only runs that differ in their seeds can be joined"
                )
            holder = where.setdefault((run.configuration, run.seed), file)
            if holder != file:
                raise InputError(f"seed {run.seed} of {run.configuration} is in {holder} and in {file}; leave one out")


def _settings(run: Run) -> set[str]:
    """Return what was given to a run but for its seed: settings that are the same within a file are in no name."""
    return {word for word in shlex.split(run.command) if not word.startswith("seed=")}


def _placed(run: Run, folder: Path, root: Path) -> Run:
    return run if folder == root else replace(run, folder=str((folder / run.folder).absolute()))
