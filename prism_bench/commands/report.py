"""Tables of finished runs: ``prism-bench report RESULT [RESULT ...]``.

RESULT is the file ``result.json``, or the folder of the run that holds it. One result is printed whole
(:mod:`prism_bench.results.tables`), several beside each other (:mod:`prism_bench.results.comparison`). Of several,
folders without a result are left out by name, since a sweep may have jobs that failed or still run.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from prism_bench.commands.hydra_command import reporting_mistakes
from prism_bench.errors import InputError


def main(arguments: Sequence[str] | None = None) -> None:
    """Print tables of finished runs."""
    parser = argparse.ArgumentParser(prog="prism-bench report", description=main.__doc__)
    parser.add_argument("result", nargs="+", type=Path, help="result.json of a run, or the run's folder")
    parser.add_argument(
        "--reach",
        type=_success,
        default=0.6,
        metavar="SUCCESS",
        help="for several runs: show the FLOPs to this success (0 to 1, default 0.6) on the learning curves",
    )
    options = parser.parse_args(arguments)
    paths = [path / "result.json" if path.is_dir() else path for path in options.result]
    with reporting_mistakes() as console:
        from prism_bench.results.comparison import print_comparison
        from prism_bench.results.result import read_result
        from prism_bench.results.tables import print_result

        finished = paths if len(paths) == 1 else [path for path in paths if path.is_file()]
        for path in (path for path in paths if path not in finished):
            unfinished = f"left out: {path.parent} has no result, it failed or has not finished"
            console.print(unfinished, style="bold", markup=False, highlight=False, soft_wrap=True)
        if not finished:
            raise InputError("none of these runs has finished, so there is nothing to report")
        results = {str(path.parent if path.name == "result.json" else path): read_result(path) for path in finished}
        if len(results) == 1:
            print_result(next(iter(results.values())), console, finished[0].parent)
        else:
            print_comparison(results, console, options.reach)


def _success(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no success rate; give a number from 0 to 1")
    return value
