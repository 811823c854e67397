"""Comparisons: a run for every combination of settings, and the tables and the page that compare them.

    prism-bench compare 'router=[prism,random]' 'strategy=[split,sft]' 'seed=range(10)'

The same command again continues where the last one ended: runs that have a result are not made again.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from prism_bench.commands.hydra_command import CONF, clean_exit, new_console, quieten
from prism_bench.commands.launcher_options import add_launcher_options, launcher_settings
from prism_bench.commands.refusals import composition_refusal
from prism_bench.commands.run import choices  # and what else the configuration refers to
from prism_bench.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every combination of settings, and compare the results."""
    parser = argparse.ArgumentParser(
        prog="prism-bench compare",
        description=f"{main.__doc__} KEY=VALUES are settings of prism-bench run, as in 'seed=range(10)'.",
        epilog=f"launchers:\n{choices('launcher')}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUES", help="settings, with all values to be compared")
    parser.add_argument("--plan", action="store_true", help="print what would be run and what it costs, and stop")
    parser.add_argument("--out", type=Path, metavar="DIR", help="the folder of the comparison; by default one in runs/")
    add_launcher_options(parser)
    parser.add_argument(
        "--baseline", action="append", metavar="KEY=VALUE", help="what configurations are compared with"
    )
    parser.add_argument("--reach", metavar="SUCCESS", help="success to which FLOPs are counted")
    parser.add_argument("--verify", type=Path, metavar="FILE", help="check that the tables of a comparison.json hold")
    options = parser.parse_intermixed_args(arguments)  # settings may stand on both sides of options
    study = [*([] if options.reach is None else [f"reach={options.reach}"]), *launcher_settings(options)]
    with clean_exit(composition_refusal, resumes=True):
        console = new_console()
        if options.verify is not None:
            _verify(options.verify, console)
            return 0
        if not options.settings:
            raise InputError("name settings to compare, such as 'router=[prism,random]' 'seed=range(3)'")
        quieten()
        from prism_bench.commands.compare_job import Comparing

        comparing = Comparing(options.settings, options.out, CONF, study, options.baseline)
        if options.plan:
            comparing.print_plan(console)
            return 0
        return comparing.run(console)


def _verify(path: Path, console: Console) -> None:
    """Check that the tables of a comparison follow from its runs.

    Raises:
        ResultError: they do not.
    """
    from prism_bench.comparison.record import read_comparison
    from prism_bench.comparison.tables import check_tables

    comparison, written = read_comparison(path)
    check_tables(comparison, written)
    console.print(f"{path}: every table follows from its {len(comparison.runs)} runs", highlight=False, soft_wrap=True)
