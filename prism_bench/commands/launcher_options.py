"""Options of commands that start several processes: where those take place, and how many at a time."""

import argparse


def add_launcher_options(parser: argparse.ArgumentParser) -> None:
    """Add the options to the parser of a command."""
    parser.add_argument("--launcher", metavar="NAME", help="where the runs take place, see below")
    parser.add_argument("--processes", metavar="N", help="runs at the same time")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="other settings of conf/compare.yaml"
    )


def launcher_settings(options: argparse.Namespace) -> list[str]:
    """Return the given options as settings of ``compare.yaml``."""
    given = {"launcher": options.launcher, "launcher.processes": options.processes}
    return [*(f"{key}={value}" for key, value in given.items() if value is not None), *options.set]
