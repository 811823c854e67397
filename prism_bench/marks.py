"""Marks on settings, in their annotations, that say where a value does not count.

A stage is made again when a setting that it reads changes (:mod:`prism_bench.stage_cache`). A class that is made from
configuration may mark fields for which that would be a waste::

    batch_size: Annotated[int, Execution(counted_batch_size)]  # decides how fast, not what
    quantile: Annotated[float, AfterMeasuring()]  # read when the expensive part of routing is done

A field without a mark counts, as do all settings of classes that are no dataclasses.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any, TypeVar

from hydra.utils import get_object

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Execution:
    """Mark of a setting that decides where or how fast something is computed, and changes no file of any stage.

    Attributes:
        counted: returns the part of a value that can change a file all the same, from the value and the settings
            beside it.
    """

    counted: Callable[[Any, Settings], Any]


@dataclass(frozen=True)
class AfterMeasuring:
    """Mark of a setting that the router's own ``measure`` does not read (:mod:`prism_bench.routing.router`)."""


Mark = TypeVar("Mark", Execution, AfterMeasuring)


def marked(settings: Settings, kind: type[Mark]) -> dict[str, Mark]:
    """Return the marks of one kind on the settings of the class that ``_target_`` names, by the setting's name.

    Fields whose annotations are strings (``from __future__ import annotations``) have no marks.
    """
    named = _named(settings)
    if named is None or not is_dataclass(named):
        return {}
    return {
        field.name: mark
        for field in fields(named)
        for mark in getattr(field.type, "__metadata__", ())
        if isinstance(mark, kind)
    }


def before_measuring(settings: Settings) -> dict[str, Any]:
    """Return the settings of what measures for a router, which is the router itself or a class that others share.

    A router that inherits ``measure`` from a dataclass that is no router leaves it to that class: of the router's
    settings it gets its own, and routers that inherit from it measure once for all of them. Any other router measures
    itself, without the settings that are marked :class:`AfterMeasuring`.
    """
    router = _named(settings)
    owner = next((kind for kind in router.__mro__ if "measure" in vars(kind)), router) if router else None
    if router is None or hasattr(owner, "route") or not (is_dataclass(owner) and is_dataclass(router)):
        marks = marked(settings, AfterMeasuring)
        return {name: value for name, value in settings.items() if name not in marks}
    names = {field.name for field in fields(owner)}
    defaults = {field.name: field.default for field in fields(router) if field.default is not MISSING}
    values = {name: value for name, value in (defaults | dict(settings)).items() if name in names}
    return naming(owner) | values


def naming(made: type) -> dict[str, Any]:
    """Return the settings that name a class and leave all others to their defaults."""
    return {"_target_": f"{made.__module__}.{made.__qualname__}"}


def _named(settings: Settings) -> type | None:
    """Return the class that settings name; None if they name a function or nothing."""
    target = settings.get("_target_")
    named = get_object(target) if isinstance(target, str) else None
    return named if isinstance(named, type) else None


def as_counted(value: Any) -> Any:
    """Return a part of the configuration with every value reduced to what can change a file."""
    if isinstance(value, Mapping):
        marks = marked(value, Execution)
        return {
            name: as_counted(marks[name].counted(item, value) if name in marks else item)
            for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [as_counted(item) for item in value]
    return value
