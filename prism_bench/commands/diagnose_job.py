"""The job of ``prism-bench diagnose``: scores of routers on known regimes, and the files that describe them."""

import json
import shlex
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown

from prism_bench.comparison.grid import ROUTER, SEED, Cell, cells
from prism_bench.comparison.identity import tells_apart
from prism_bench.comparison.launchers import OUTPUT, Job, Launcher
from prism_bench.comparison.study import read_study
from prism_bench.comparison.watch import LOOK_SECONDS, reason
from prism_bench.diagnosis.scoring import check_alike, is_scored, scored
from prism_bench.diagnosis.show import markdown, plot
from prism_bench.diagnosis.tables import diagnosis_of
from prism_bench.digests import digest
from prism_bench.errors import InputError
from prism_bench.files import write_atomically
from prism_bench.settings.configuration import group_of
from prism_bench.settings.making import make

DIAGNOSIS = "diagnosis.json"

LAUNCHING = ("launcher", "modules")
"""Settings of ``compare.yaml`` that a diagnosis has a use for."""


class Diagnosing:
    """A diagnosis to be made.

    Args:
        settings: ``KEY=VALUES``, as the command line has them; without ``router`` all routers.
        out: the folder of the scores and of the diagnosis; None for one that belongs to the settings.
        conf: the folder of the configuration.
        baseline: the regime that the others are told from.
        study: settings of ``compare.yaml``, as overrides; its launcher is where the base models are made and probed.

    Raises:
        InputError: a setting is refused.
        HydraException: the configuration cannot be composed.
    """

    def __init__(
        self, settings: Sequence[str], out: Path | None, conf: Path, baseline: str, study: Sequence[str] = ()
    ) -> None:
        for setting in study:
            if group_of(setting) not in LAUNCHING:
                raise InputError(f"{setting} has no effect on a diagnosis, which compares nothing; leave it out")
        self.launcher: Launcher = make(read_study(conf, study).launcher, "launcher", Launcher)
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
        self._launch(console)
        found = []
        for number, (cell, router, setting) in enumerate(self.cells, start=1):
            console.print(f"{number} of {len(self.cells)}: {cell.name}", markup=False, highlight=False, soft_wrap=True)
            found.append(scored(cell, router, setting, self.out / "scores" / cell.name, console))
            check_alike(found[0], found[-1])
        command = shlex.join(["prism-bench", "diagnose", *filter(tells_apart, self.given)])
        diagnosis = diagnosis_of(found, self.baseline, command)
        write_atomically(self.out / DIAGNOSIS, json.dumps(asdict(diagnosis), indent=1) + "\n")
        write_atomically(self.out / "diagnosis.md", text := markdown(diagnosis))
        plot(diagnosis, self.out / "diagnosis.png")
        console.print(Markdown(text))
        for name in (DIAGNOSIS, "diagnosis.md", "diagnosis.png"):
            console.print(f"{self.out / name}", markup=False, highlight=False, soft_wrap=True)

    def _launch(self, console: Console) -> None:
        """Fill the cache side by side, where there are several base models: each has a diagnosis of its own.

        Raises:
            InputError: one of them failed, whose work belongs on the machines of the launcher and not on this one.
        """
        models: dict[tuple[str, ...], list[tuple[Cell, str]]] = {}
        for cell, router, _ in self.cells:
            others = tuple(override for override in cell.overrides if override.partition("=")[0] != ROUTER)
            models.setdefault(others, []).append((cell, router))
        if len(models) < 2:
            return
        jobs = [
            self._job(number, overrides, [router for _, router in group])
            for number, (overrides, group) in enumerate(models.items())
            if not all(is_scored(cell) for cell, _ in group)
        ]
        known = f"{len(models) - len(jobs)} are in the cache with all scores"
        text = f"{len(models)} base models, of which {known}; {self.launcher.description}"
        console.print(text, markup=False, highlight=False, soft_wrap=True)
        if jobs:
            for job in jobs:
                (job.folder / DIAGNOSIS).unlink(missing_ok=True)  # of an earlier start
            self.launcher.start(jobs)
            try:
                self._wait(console)
            except BaseException:
                self.launcher.stop()
                raise
        if failed := [job for job in jobs if not (job.folder / DIAGNOSIS).is_file()]:
            first = failed[0]
            raise InputError(
                f"{len(failed)} of {len(models)} base models failed, the others are in the cache; {first.name} with: "
                f"{reason(first.folder)} ({first.folder / OUTPUT})"
            )

    def _job(self, number: int, overrides: Sequence[str], routers: Sequence[str]) -> Job:
        pairs = [override.partition("=") for override in overrides]
        settings = [f"{key}=[{value}]" for key, _, value in pairs]  # one value, which may be a list
        folder = self.out / "models" / str(number)
        names = f"{ROUTER}=[{','.join(routers)}]"
        words = ("diagnose", *settings, names, "--baseline", self.baseline, "--out", str(folder))
        return Job(" ".join(overrides), folder, words)

    def _wait(self, console: Console) -> None:
        ended: set[str] = set()
        while True:
            states = self.launcher.states()
            for name in [name for name, state in states.items() if state == "ended" and name not in ended]:
                ended.add(name)
                text = f"{len(ended)} of {len(states)} base models have ended: {name}"
                console.print(text, markup=False, highlight=False, soft_wrap=True)
            if len(ended) == len(states):
                return
            time.sleep(LOOK_SECONDS)
