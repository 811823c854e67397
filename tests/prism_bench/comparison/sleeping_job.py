"""A job for launchers; in a file of its own, since their processes import the file, and tests import much."""

import sys
from dataclasses import dataclass

from prism_bench.comparison.launchers import Job

PROGRAM = """
import os, pathlib, sys, time
folder, seconds = pathlib.Path(sys.argv[1]), float(sys.argv[2])
print("thread", os.environ.get("OMP_NUM_THREADS"), "extra", os.environ.get("EXTRA"), flush=True)
time.sleep(seconds)
if seconds == 0.5:
    sys.exit("error: it has to fail")
(folder / "result.json").write_text("done")
"""


@dataclass(frozen=True)
class SleepingJob(Job):
    """A job that sleeps in place of a run; half a second is a failure."""

    seconds: float = 0.0

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-c", PROGRAM, str(self.folder), str(self.seconds)]
