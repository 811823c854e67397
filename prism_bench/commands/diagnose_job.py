"""The job of ``prism-bench diagnose``: scores of routers on known regimes, and the files that describe them."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown

from prism_bench.comparison.grid import ROUTER, SEED, Cell, cells
from prism_bench.comparison.identity import tells_apart
from prism_bench.diagnosis.scoring import check_alike, scored
from prism_bench.diagnosis.show import markdown, plot
from prism_bench.diagnosis.tables import diagnosis_of
from prism_bench.digests import digest
from prism_bench.errors import InputError
from prism_bench.files import write_atomically


class Diagnosing:
    """A diagnosis to be made.

    Args:
        settings: ``KEY=VALUES``, as the command line has them; without ``router`` all routers.
        out: the folder of the scores and of the diagnosis; None for one that belongs to the settings.
        conf: the folder of the configuration.
        baseline: the regime that the others are told from.
    """

    def __init__(self, settings: Sequence[str], out: Path | None, conf: Path, baseline: str) -> None:
        self.given = list(settings)
        routers = ",".join(sorted(file.stem for file in (conf / ROUTER).glob("*.yaml")))
        named = any(setting.partition("=")[0] == ROUTER for setting in settings)
        self.settings = self.given if named else [*self.given, f"{ROUTER}=[{routers}]"]
        self.out = (out or Path("runs") / f"diagnose-{digest(sorted(settings))[:8]}").absolute()
        self.conf, self.baseline = conf, baseline

    @cached_property
    def cells(self) -> list[tuple[Cell, str, str]]:
        """The cells, each with its router and with what else varies.

        Raises:
            InputError: a strategy asks for no router.
        """
        found = cells(self.settings, self.conf)
        for cell in found:
            if not cell.has_router:
                raise InputError(f"{cell.name} has no router to diagnose; leave out strategy")
        settings = [dict(override.split("=", 1) for override in cell.overrides) for cell in found]
        varied = [key for key in settings[0] if len({each.get(key) for each in settings}) > 1]
        others = [key for key in varied if key not in (ROUTER, SEED)]
        return [
            (cell, each[ROUTER], ", ".join(f"{key}={each.get(key)}" for key in others))
            for cell, each in zip(found, settings, strict=True)
        ]

    def run(self, console: Console) -> None:
        """Make the scores that are not in the cache, and write and print the diagnosis."""
        found = []
        for number, (cell, router, setting) in enumerate(self.cells, start=1):
            console.print(f"{number} of {len(self.cells)}: {cell.name}", markup=False, highlight=False, soft_wrap=True)
            found.append(scored(cell, router, setting, self.conf, self.out / "scores" / cell.name, console))
            check_alike(found[0], found[-1])
        command = shlex.join(["prism-bench", "diagnose", *filter(tells_apart, self.given)])
        diagnosis = diagnosis_of(found, self.baseline, command)
        write_atomically(self.out / "diagnosis.json", json.dumps(asdict(diagnosis), indent=1) + "\n")
        write_atomically(self.out / "diagnosis.md", text := markdown(diagnosis))
        plot(diagnosis, self.out / "diagnosis.png")
        console.print(Markdown(text))
        for name in ("diagnosis.json", "diagnosis.md", "diagnosis.png"):
            console.print(f"{self.out / name}", markup=False, highlight=False, soft_wrap=True)
