"""Diagnosis of routers: whether their scores tell known conflicts with the base model from what it was taught.

    prism-bench diagnose experiment=conflict 'router=[prism,loss]' 'seed=range(5)'

Nothing is trained but the base models. The same command again continues where the last one ended.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from prism_bench.commands.hydra_command import CONF, clean_exit, new_console, quieten
from prism_bench.commands.launcher_options import add_launcher_options, launcher_settings
from prism_bench.commands.refusals import composition_refusal
from prism_bench.commands.run import choices


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure how well routers detect known conflicts, and at what price."""
    parser = argparse.ArgumentParser(
        prog="prism-bench diagnose",
        description=f"{main.__doc__} KEY=VALUES are settings of prism-bench run, as in 'seed=range(5)'.",
        epilog=f"routers, all of which are diagnosed where router=[NAME,NAME] names none:\n{choices('router')}\n"
        f"launchers:\n{choices('launcher')}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUES", help="settings, with all values to be crossed")
    parser.add_argument("--out", type=Path, metavar="DIR", help="the folder of the diagnosis; by default one in runs/")
    parser.add_argument("--baseline", default="clean", metavar="REGIME", help="what the others are told from")
    add_launcher_options(parser)
    options = parser.parse_intermixed_args(arguments)
    quieten()
    with clean_exit(composition_refusal, resumes=True):
        from prism_bench.commands.diagnose_job import Diagnosing

        Diagnosing(options.settings, options.out, CONF, options.baseline, launcher_settings(options)).run(new_console())
    return 0
