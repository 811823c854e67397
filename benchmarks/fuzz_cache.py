"""Damage to stored stages: one file of a finished run is damaged, and the run is started again.

    OMP_NUM_THREADS=1 python benchmarks/fuzz_cache.py [--cases 100] [--seed 0]

A file has one bit flipped, is cut, removed, or replaced by that of a run with another seed; a whole stage is replaced
by that of the other run as well. The second start has to end with the result of the first (*right*), or with one
sentence; anything else is *wrong*: another result, or a traceback.
"""

import argparse
import logging
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from hydra import compose, initialize_config_dir
from rich.console import Console
from rich.table import Table

from prism_bench.commands.hydra_command import CONF, quieten
from prism_bench.commands.refusals import refusal
from prism_bench.experiment import Experiment

SMALL = (
    "logger=none",
    "strategy.name=split",
    "env.test_splits=[]",
    "trajectories=6",
    "model.hidden_size=16",
    "model.intermediate_size=24",
    "model.heads=2",
    "model.key_value_heads=1",
    "model.layers=1",
    "model.max_length=512",
    "model.base.episodes=4",
    "model.base.language.per_device_train_batch_size=2",
    "model.base.sft.per_device_train_batch_size=2",
    "sft.per_device_train_batch_size=3",
    "sft.num_train_epochs=1",
    "algorithm.max_steps=1",
    "algorithm.num_generations=2",
    "algorithm.per_device_train_batch_size=4",
    "algorithm.gradient_accumulation_steps=1",
    "rollout.max_turns=3",
    "eval.tasks=2",
    "eval.curve_points=1",
    "eval.curve_tasks=2",
)
REPEATABLE = ("allocation", "phases", "success", "score", "paired", "paired_score", "curves", "outcomes")
"""Parts of a result that the same seed repeats exactly."""


@dataclass(frozen=True)
class Case:
    """A kind of damage to a file of a stage, or to the whole stage if ``file`` is empty."""

    damage: str
    stage: Path  # from the root of the cache
    file: str


def flip(path: Path, other: Path | None, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(bytes(content))


def cut(path: Path, other: Path | None, rng: random.Random) -> None:
    os.truncate(path, rng.randrange(path.stat().st_size))


def remove(path: Path, other: Path | None, rng: random.Random) -> None:
    path.unlink()


def replace(path: Path, other: Path | None, rng: random.Random) -> None:
    assert other is not None
    if path.is_dir():
        shutil.rmtree(path)
        shutil.copytree(other, path)
    else:
        shutil.copyfile(other, path)


DAMAGES: dict[str, Callable[[Path, Path | None, random.Random], None]] = {
    "one bit flipped": flip,
    "cut": cut,
    "removed": remove,
    "of another run": replace,
}


class Fuzz:
    """A small finished run and another one, in caches of their own under ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cache, self.pristine, self.foreign = (folder / name for name in ("cache", "pristine", "foreign"))
        self.expected = self.run(self.cache, 0)
        self.run(self.foreign, 1)
        shutil.copytree(self.cache, self.pristine)

    def run(self, cache: Path, seed: int) -> dict[str, Any]:
        """Return the parts of the result that the same seed repeats."""
        with initialize_config_dir(str(CONF), version_base="1.3"):
            given = [f"cache={cache}", f"folder={self.folder / 'run'}", f"seed={seed}"]
            config = compose("config", overrides=[*SMALL, *given])
        result = Experiment(config, Console(quiet=True)).run()
        return {part: result[part] for part in REPEATABLE}

    def cases(self) -> Iterator[Case]:
        """Yield every damage to every file of every stage."""
        for stage in sorted(self.pristine.glob("[!.]*/[!.]*")):
            place = stage.relative_to(self.pristine)
            for file in sorted(path for path in stage.rglob("*") if path.is_file()):
                name = file.relative_to(stage).as_posix()
                for damage in DAMAGES:
                    if damage != "of another run" or self._other(place, name):
                        yield Case(damage, place, name)
            if self._other(place, ""):
                yield Case("of another run", place, "")

    def outcome(self, case: Case, rng: random.Random) -> str:
        """Return how the run ends after a damage: ``right``, ``sentence``, or ``wrong: ...``."""
        stage = self.cache / case.stage
        DAMAGES[case.damage](stage / case.file, self._other(case.stage, case.file), rng)
        try:
            return "right" if self.run(self.cache, 0) == self.expected else "wrong: another result"
        except Exception as error:
            return f"wrong: {type(error).__name__}: {error}" if refusal(error) is None else "sentence"
        finally:
            shutil.rmtree(stage, ignore_errors=True)
            shutil.copytree(self.pristine / case.stage, stage)

    def _other(self, stage: Path, file: str) -> Path | None:
        """Return the same file of the other run, where there is one that differs."""
        own = self.pristine / stage / file
        for folder in sorted(self.foreign.glob(f"{stage.parent}/[!.]*")):
            other = folder / file
            if other.is_dir() or (other.is_file() and other.read_bytes() != own.read_bytes()):
                return other if folder.name != stage.name else None
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, help="how many, drawn at random; by default all")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    quieten()
    logging.getLogger("prism_bench").setLevel(logging.ERROR)  # the warnings that are expected
    rng, console = random.Random(options.seed), Console()
    with tempfile.TemporaryDirectory() as folder:
        fuzz = Fuzz(Path(folder))
        cases = list(fuzz.cases())
        chosen = rng.sample(cases, min(options.cases or len(cases), len(cases)))
        counts: Counter[tuple[str, str]] = Counter()
        for case in chosen:
            outcome = fuzz.outcome(case, rng)
            counts[case.damage, outcome.partition(":")[0]] += 1
            if outcome.startswith("wrong"):
                console.print(f"{case.stage}/{case.file}, {case.damage}: {outcome}", markup=False, soft_wrap=True)
    table = Table("damage", "cases", "right", "sentence", "wrong", title=f"{len(chosen)} of {len(cases)} cases")
    for damage in DAMAGES:
        found = [counts[damage, outcome] for outcome in ("right", "sentence", "wrong")]
        table.add_row(damage, str(sum(found)), *map(str, found))
    console.print(table)
    if any(outcome == "wrong" for _, outcome in counts):
        sys.exit(1)


if __name__ == "__main__":
    main()
