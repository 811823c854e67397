"""``python -m prism_bench``, the console command ``prism-bench``."""

import sys

from prism_bench.commands.main import main

sys.exit(main())
