"""Tables of finished runs: ``prism-bench report RESULT [RESULT ...]``.

RESULT is the folder of a run, or its ``result.json``. One run is printed whole (:mod:`prism_bench.results.tables`),
several are compared (:mod:`prism_bench.comparison`), and so are those in the file of a comparison, or in several files
of which each has other seeds. Of several, folders without a result are left out by name, since a sweep may have
jobs that failed or still run.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from prism_bench.commands.hydra_command import CONF, reporting_mistakes
from prism_bench.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from prism_bench.comparison.counterparts import Wanted
    from prism_bench.comparison.record import Comparison


def main(arguments: Sequence[str] | None = None) -> None:
    """Print tables of finished runs."""
    parser = argparse.ArgumentParser(prog="prism-bench report", description=main.__doc__)
    parser.add_argument("result", nargs="+", type=Path, help="folder of a run, its result.json, or a comparison.json")
    parser.add_argument(
        "--baseline", action="append", metavar="KEY=VALUE", help="what configurations are compared with"
    )
    parser.add_argument("--reach", metavar="SUCCESS", help="success to which FLOPs are counted on the learning curves")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the page of these runs, too")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write the comparison of these runs as JSON, too")
    options = parser.parse_args(arguments)
    with reporting_mistakes() as console:
        from prism_bench.comparison.counterparts import check_baseline, known_settings
        from prism_bench.comparison.gather import gather
        from prism_bench.comparison.join import read_joined
        from prism_bench.comparison.page import write_page
        from prism_bench.comparison.record import holds_comparison, write_comparison
        from prism_bench.comparison.study import read_study
        from prism_bench.comparison.summary import print_tables
        from prism_bench.comparison.tables import tables_of
        from prism_bench.results.result import RESULT, read_result
        from prism_bench.results.tables import print_result

        given = [] if options.reach is None else [f"reach={options.reach}"]
        wanted = read_study(CONF, given, options.baseline).wanted
        root, folders = Path.cwd(), []
        if all(map(holds_comparison, options.result)):
            root = options.result[0].parent
            reach, baseline = options.reach is not None, options.baseline is not None
            comparison = _against(read_joined(options.result), wanted, reach=reach, baseline=baseline)
        else:
            folders = _finished(options.result, console)
            comparison = gather([folder.absolute() for folder in folders], wanted)
        if options.baseline is not None:
            check_baseline({each.name: known_settings(each) for each in comparison.configurations}, wanted.baseline)
        tables = tables_of(comparison)
        if len(folders) == 1:
            print_result(read_result(folders[0] / RESULT), console, folders[0])
        else:
            print_tables(comparison, tables, console)
        if options.save is not None:
            write_comparison(options.save, comparison, asdict(tables))
            console.print(f"data: {options.save}", markup=False, highlight=False, soft_wrap=True)
        if options.page is not None:
            write_page(options.page, comparison, tables, root)
            console.print(f"page: {options.page}", markup=False, highlight=False, soft_wrap=True)


def _finished(paths: Sequence[Path], console: Console) -> list[Path]:
    """Return the folders that hold a result; name the others, unless there is only one."""
    from prism_bench.results.result import RESULT

    for path in paths:
        if path.is_file() and path.name != RESULT:
            raise InputError(f"{path} is no result: name folders of runs, or only files of comparisons")
    folders = [path.parent if path.name == RESULT else path for path in paths]
    finished = folders if len(folders) == 1 else [folder for folder in folders if (folder / RESULT).is_file()]
    for folder in (folder for folder in folders if folder not in finished):
        text = f"left out: {folder} has no result, it failed or has not finished"
        console.print(text, style="bold", markup=False, highlight=False, soft_wrap=True)
    if not finished:
        raise InputError("none of these runs has finished, so there is nothing to report")
    return finished


def _against(comparison: Comparison, wanted: Wanted, *, reach: bool, baseline: bool) -> Comparison:
    """Return a saved comparison with the success to reach or the baseline that are wanted, where they were given."""
    from prism_bench.comparison.counterparts import with_baselines

    changes: dict[str, object] = {"reach": wanted.reach} if reach else {}
    if baseline:
        changes["configurations"] = with_baselines(comparison.configurations, wanted.baseline)
    return comparison.model_copy(update=changes)
