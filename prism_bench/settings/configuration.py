"""A composed configuration as plain values, and the place of each, for messages."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from prism_bench.errors import InputError


@dataclass(frozen=True)
class Place:
    """The path of a setting, as a user would type it.

    Attributes:
        path: with dots.
        sources: the settings that others refer to, by their paths: ``env.seed`` for ``env.make.seed``.
    """

    path: str = ""
    sources: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    def __str__(self) -> str:
        return self.path

    def below(self, name: object) -> "Place":
        """Return the place of a setting in this group; where it refers to another one, the place of that."""
        return self._at(f"{self.path}.{name}" if self.path else str(name))

    def item(self, number: int) -> "Place":
        """Return the place of an entry of this list."""
        return self._at(f"{self.path}[{number}]")

    def _at(self, path: str) -> "Place":
        for _ in self.sources:  # so often at most, if they refer to each other
            if path not in self.sources:
                break
            path = self.sources[path]
        return Place(path, self.sources)


ROOT = Place()
"""The place of a configuration as a whole."""


@dataclass(frozen=True)
class Configuration:
    """A composed configuration.

    Attributes:
        values: plain ones, all references followed.
        place: that of the whole, which knows what refers to what.
        text: as it is written.
    """

    values: dict[str, Any]
    place: Place
    text: str

    def refers_to(self, path: str) -> bool:
        """Return whether a setting refers to the one at ``path``."""
        return re.search(rf"\$\{{[^}}]*\.{re.escape(path.rpartition('.')[2])}\b", self.text) is not None


def resolve(config: DictConfig) -> Configuration:
    """Return the configuration with all references followed.

    Raises:
        InputError: a setting has no value, or refers to one that is not there.
    """
    try:
        values: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise InputError(f"{error.full_key} has no value; give it one with {error.full_key}=VALUE") from None
    except OmegaConfBaseException as error:
        reason = " ".join(str(error).splitlines()[0].split())
        raise InputError(f"{error.full_key}: {reason}" if error.full_key else reason) from None
    written = OmegaConf.to_container(config, resolve=False)
    return Configuration(values, Place("", dict(_references(written, ""))), str(written))


def group_of(override: str) -> str:
    """Return the first part of what an override of the command line sets: ``rl`` of ``++rl.max_steps=3``."""
    return re.split("[.=@]", override.lstrip("+~"), maxsplit=1)[0]


def _references(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield the path of each setting that refers to another one as a whole, and the path of that."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _references(item, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _references(item, f"{path}[{number}]")
    elif isinstance(value, str) and (named := re.fullmatch(r"\$\{(\.*)([\w.]+)\}", value)):
        above = path.split(".")[: -len(named[1])] if named[1] else []  # one dot: beside it
        yield path, ".".join([*above, named[2]])
