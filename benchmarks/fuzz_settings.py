"""Fuzzing of settings: drawn values, in and out of bounds and of any type, for every setting of a configuration.

    python benchmarks/fuzz_settings.py [--examples 10000] [--together 1]

A configuration is validated as at the start of a run, and nothing is loaded or made. It has to pass or to be refused
with one sentence; exits with 1 if it is not. The settings are those of the composed configurations, whatever they are.
With ``--together 3`` one to three of them get other values at once.
"""

import argparse
import copy
import itertools
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from hydra import compose, initialize_config_dir
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf, open_dict
from rich.console import Console
from rich.table import Table

from prism_bench.commands.hydra_command import CONF
from prism_bench.errors import InputError
from prism_bench.experiment import Experiment

CHOICES = (
    ("env=alfworld", "strategy=split", "router=prism"),
    ("env=alfworld", "strategy=rejection", "generation=vllm"),
    ("env=alfworld", "strategy=sft_until_plateau_then_rl", "router=loss", "algorithm=gigpo"),
    ("env=alfworld", "strategy=one_loop", "algorithm=luffy"),
    ("env=alfworld", "strategy=split", "model=qwen3-8b", "model.device=cpu"),
    ("env=webshop", "strategy=split", "router=difficulty", "logger=none"),
    ("env=webshop", "strategy=one_loop", "algorithm=chord", "router=random"),
    ("env=webshop", "strategy=one_loop", "algorithm=relift"),
    ("env=webshop", "strategy=sft_then_rl", "model=checkpoint", "model.path=somewhere"),
)
LONGEST = 600  # characters of a sentence

Path = tuple[Any, ...]
Change = tuple[Path, Any]
"""The path of a setting, and another value."""

VALUES = st.one_of(
    st.sampled_from(
        [None, True, False, 0, 1, 2, 3, -1, 64, 0.5, 1.0, -0.5, 1e-3, 1e30, "", "1", "all", "auto", "../x"]
    ),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    st.lists(st.one_of(st.integers(), st.text(max_size=4)), max_size=3),
    st.dictionaries(st.text(max_size=6), st.integers(), max_size=2),
)
"""Values of any type."""


def near(value: Any) -> st.SearchStrategy[Any]:
    """Return values of the type of ``value``, many of which are possible in its place."""
    if isinstance(value, bool):
        return st.booleans()
    if isinstance(value, int):
        return st.integers(-2, 3 * abs(value) + 3)
    if isinstance(value, float):
        return st.floats(-0.1, 2 * abs(value) + 0.1)
    return st.just(value)


def configured(*overrides: str) -> DictConfig:
    """Compose the real configuration."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides=["folder=run", "strategy.name=drawn", *overrides])


def paths(config: DictConfig) -> list[tuple[Path, Any]]:
    """Return path and value of every setting and of every group."""
    return list(_inside(OmegaConf.to_container(config, resolve=False), ()))


def _inside(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    if path:
        yield path, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _inside(item, (*path, key))


def changed(config: DictConfig, *changes: Change) -> DictConfig:
    """Return the configuration with other values of some settings, even if they refer to others."""
    made = copy.deepcopy(config)
    with open_dict(made):
        for path, value in changes:
            group: Any = made
            for key in path[:-1]:
                group = group._get_node(key)  # not the value that a reference leads to
            group[path[-1]] = value
    return made


def drawn(config: DictConfig, together: int = 1) -> st.SearchStrategy[list[Change]]:
    """Return the strategy that draws changes of at most ``together`` settings, none inside another."""

    def value(path: Path, present: Any) -> st.SearchStrategy[Change]:
        return st.tuples(st.just(path), st.booleans().flatmap(lambda plausible: near(present) if plausible else VALUES))

    change = st.sampled_from(paths(config)).flatmap(lambda found: value(*found))
    return st.lists(change, min_size=1, max_size=together).filter(_apart)


def _apart(changes: Sequence[Change]) -> bool:
    """Return whether no changed setting is inside another one, or the same."""
    places = [path for path, _ in changes]
    return not any(first == second[: len(first)] for first, second in itertools.permutations(places, 2))


def validate(config: DictConfig) -> str | None:
    """Return the sentence that refuses a configuration, None for one that passes; any other exception is a bug."""
    try:
        Experiment(config, Console(quiet=True))
    except InputError as error:
        return str(error)
    return None


def fuzz(choice: tuple[str, ...], examples: int, together: int) -> tuple[Counter[str], list[str]]:
    """Return how many drawn configurations passed, were refused and failed, and what failed."""
    config = configured(*choice)
    counts: Counter[str] = Counter()
    failures: list[str] = []

    @seed(0)
    @settings(
        max_examples=examples,
        phases=[Phase.generate],
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(drawn(config, together))
    def attempt(changes: list[Change]) -> None:
        try:
            sentence = validate(changed(config, *changes))
        except Exception as error:
            counts["failed"] += 1
            failures.append(f"{changes}: {type(error).__name__}: {error}")
            return
        counts["passed" if sentence is None else "refused"] += 1
        if sentence is not None and ("\n" in sentence or len(sentence) > LONGEST):
            failures.append(f"{changes}: no short sentence: {sentence!r}")

    attempt()
    return counts, failures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=10_000, help="all together")
    parser.add_argument("--together", type=int, default=1, help="the most settings that get another value at once")
    options = parser.parse_args()
    console = Console()
    outcomes = ("passed", "refused", "failed")
    table = Table("configuration", "settings", "drawn", *outcomes, "ms each", title="Drawn settings")
    found: list[str] = []
    for choice in CHOICES:
        start = time.process_time()
        counts, failures = fuzz(choice, -(-options.examples // len(CHOICES)), options.together)
        milliseconds = 1000 * (time.process_time() - start) / counts.total()
        numbers = [len(paths(configured(*choice))), counts.total(), *(counts[name] for name in outcomes)]
        row = (" ".join(choice), *(f"{number:,}" for number in numbers), f"{milliseconds:.0f}")
        console.print(*row, sep="  ", soft_wrap=True, highlight=False)  # at once, since all of them take minutes
        table.add_row(*row)
        found += failures
    console.print(table)
    for failure in found:
        console.print(failure, markup=False)
    if found:
        sys.exit(1)


if __name__ == "__main__":
    main()
