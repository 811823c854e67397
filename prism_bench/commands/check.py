"""The check of a run, in seconds: ``prism-bench check ...`` is ``prism-bench run check=true ...``."""

import sys

from prism_bench.commands import run


def main() -> None:
    """Check everything that a run needs, print its plan, and stop."""
    sys.argv.append("check=true")
    run.main()
