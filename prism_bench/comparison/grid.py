"""The cells of a comparison: the values of any settings, crossed.

Values are written as in Hydra's sweeps, or as a list: ``router=prism,random``, ``router=[prism,random]``,
``seed=range(10)``. A setting that is itself a list is written as a list in a list.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict

from prism_bench.comparison.identity import identity, name_of
from prism_bench.errors import InputError
from prism_bench.strategy import Phase, read_strategy

SEED, ROUTER = "seed", "router"
CHOSEN = ("folder", "force", "check", "hydra")
"""Settings that a comparison chooses for every run."""


@dataclass(frozen=True)
class Cell:
    """One run of a comparison.

    Attributes:
        configuration: the name of its configuration, from the values that vary.
        seed: of training.
        overrides: its settings, as ``run.py`` takes them.
        composed: the same, as Hydra composes them, with the seed and the folder of the configuration.
        config: what that is with all references followed.
        phases: of its strategy.
        settings: its strategy, its router if it has one, and the settings that vary.
    """

    configuration: str
    seed: int
    overrides: tuple[str, ...]
    composed: DictConfig = field(repr=False, compare=False)
    config: Mapping[str, Any] = field(repr=False, compare=False)
    phases: tuple[Phase, ...] = field(repr=False, compare=False)
    settings: Mapping[str, Any] = field(repr=False, compare=False)

    @property
    def name(self) -> str:
        """The name of the run and of its folder."""
        return re.sub(r"[^\w.=,+-]", "_", f"{self.configuration}-s{self.seed}")

    @property
    def has_router(self) -> bool:
        return any(phase.needs_router for phase in self.phases)


def cells(arguments: Sequence[str], conf: Path) -> list[Cell]:
    """Return the cells of a comparison, seed by seed, so that the first of them already compare everything.

    A strategy that asks for no router has one cell for all of them, as have configurations that are equal once
    resolved.

    Args:
        arguments: ``KEY=VALUES``; a key that is not among them has the value of the configuration.
        conf: the folder of the configuration.

    Raises:
        InputError: an argument belongs to a single run, is given twice or has no value, or a seed is no whole number.
        HydraException: an argument cannot be read, or the configuration of a cell cannot be composed.
    """
    values = _values(arguments)
    seeds = [_seed(value) for value in values.pop(SEED, ["0"])]
    varied = [key for key, choices in values.items() if len(choices) > 1]
    found: dict[str, Cell] = {}
    with initialize_config_dir(str(conf), version_base="1.3"):
        for combination in product(*values.values()):
            given = dict(zip(values, combination, strict=True))
            composed, choices = _composed(given)
            config: Any = OmegaConf.to_container(composed, resolve=True)
            phases = read_strategy(config["strategy"]["phases"])
            has_router = any(phase.needs_router for phase in phases)
            if not has_router:
                given = {key: value for key, value in given.items() if key.partition(".")[0] != ROUTER}
                del choices[ROUTER]
            chosen = {key: choices[key] for key in (ROUTER, "strategy") if key in choices}
            settings = chosen | {key.lstrip("+"): yaml.safe_load(given[key]) for key in varied if key in given}
            cell = Cell(name_of(chosen | given, varied), 0, _written(given), composed, config, phases, settings)
            found.setdefault(identity(config, has_router), cell)
    return [
        replace(cell, seed=seed, overrides=(*cell.overrides, f"{SEED}={seed}"))
        for seed in seeds
        for cell in found.values()
    ]


def in_turns(cells: Sequence[Cell], side_by_side: int | None) -> list[Cell]:
    """Return cells in the order in which to start them: as many seeds take turns as run side by side.

    Cells of one seed share stages: side by side, one would make them and the others wait.

    Args:
        side_by_side: how many cells run at once; None for all of them.
    """
    seeds = list(dict.fromkeys(cell.seed for cell in cells))
    at_once = side_by_side or len(seeds)
    before: Counter[int] = Counter()
    places: list[tuple[int, int, int]] = []
    for cell in cells:
        seed = seeds.index(cell.seed)
        places.append((seed // at_once, before[seed], seed))
        before[seed] += 1
    return [cells[number] for number in sorted(range(len(cells)), key=places.__getitem__)]


def _values(arguments: Sequence[str]) -> dict[str, list[str]]:
    """Return the values of every setting, as they are written."""
    values: dict[str, list[str]] = {}
    for argument in arguments:
        key, _, text = argument.partition("=")
        if not text or text == "[]":
            raise InputError(f"{argument} has no value; write {key}=VALUE or '{key}=[VALUE,VALUE]'")
        if text.startswith("[") and text.endswith("]"):
            text = text[1:-1]
        (override,) = OverridesParser.create().parse_overrides([f"{key}={text}"])
        name = key.lstrip("+")
        if name.partition(".")[0] in CHOSEN:
            raise InputError(f"{argument}: a comparison chooses {name} of every run itself")
        if key in values:
            raise InputError(f"{key} is given twice; write '{key}=[VALUE,VALUE]'")
        values[key] = list(dict.fromkeys(override.sweep_string_iterator())) if override.is_sweep_override() else [text]
    return values


def _seed(value: str) -> int:
    if not value.isdecimal():
        raise InputError(f"seed={value} is no whole number; write 'seed=range(10)' or 'seed=[0,1,2]'")
    return int(value)


def _composed(given: dict[str, str]) -> tuple[DictConfig, dict[str, str]]:
    """Return a configuration without the folder of a run, and the choices of its groups."""
    config = compose("config", list(_written(given)), return_hydra_config=True)
    with open_dict(config):
        choices = config.pop("hydra").runtime.choices
        config.folder, config.strategy.name = "", choices.strategy
    return config, {str(group): str(choice) for group, choice in choices.items()}


def _written(given: dict[str, str]) -> tuple[str, ...]:
    return tuple(f"{key}={value}" for key, value in given.items())
