"""``prism-bench compare``: runs for all combinations of settings. ``python compare.py --help`` lists the options."""

import sys

from prism_bench.commands.compare import main

if __name__ == "__main__":
    sys.exit(main())
