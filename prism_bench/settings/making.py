"""Objects made of settings that name a class: ``{_target_: package.module.Class, argument: value}``.

:func:`make` checks all arguments before it calls anything. Every class of a configuration is made by it, so classes of
other people are checked by their type hints, too.
"""

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import is_dataclass
from typing import Any, TypeVar, cast, get_args

import gymnasium
from typing_extensions import get_protocol_members, is_protocol

from prism_bench.errors import InputError
from prism_bench.settings.configuration import ROOT, Place
from prism_bench.settings.signatures import Arguments, arguments_of, marks
from prism_bench.settings.targets import OTHERS, arguments_of_environment, find
from prism_bench.settings.types import AS_WRITTEN
from prism_bench.settings.values import Type, nearest, shown

_WORDS = ("_target_", "_partial_")
_BOOLEAN, _ANYTHING = Type(bool), Type(Any)

Built = TypeVar("Built")


def make(settings: Mapping[str, Any], where: str | Place, kind: Any = None, **given: Any) -> Any:
    """Return the object that ``settings`` describe.

    Args:
        settings: ``_target_``, the path of a class or function; its arguments; and ``_partial_: true`` if further
            arguments are given later, for a function that takes them.
        where: the place of these settings, for messages.
        kind: the class or protocol of the object; None also allows functions, and what they return is not checked.
        given: further arguments, which are not checked and which settings cannot replace.

    Raises:
        InputError: there is no such class, or it does not take these arguments.
    """
    where = Place(where) if isinstance(where, str) else where
    if not isinstance(settings, Mapping) or "_target_" not in settings:
        raise InputError(f"{where}={shown(settings)} is not possible; it should be a group of settings with _target_")
    function = find(settings["_target_"], where.below("_target_"), class_only=kind is not None)
    partial = _BOOLEAN.check(settings.get("_partial_", False), where.below("_partial_"))
    own = {name: value for name, value in settings.items() if name not in _WORDS}
    if function is gymnasium.make:
        takes = arguments_of_environment(own.get("id"), where.below("id"))
    else:
        takes = arguments_of(function)
    arguments = _check(takes, own, where, given, partial)
    if partial:
        _check_kind(function, kind, where)
        return functools.partial(function, **arguments, **given)
    made = _call(function, {**arguments, **given}, where)
    _check_kind(made, kind, where)
    return made


def build(kind: type[Built], settings: Any, where: Place = ROOT) -> Built:
    """Return a dataclass made of settings that name no class, with the dataclasses among its fields.

    Raises:
        InputError: a setting is missing, unknown or has an impossible value.
    """
    if not isinstance(settings, Mapping):
        raise InputError(f"{where}={shown(settings)} is not possible; it should be a group of settings")
    return _call(kind, _check(arguments_of(cast(Any, kind)), settings, where), where)  # type: ignore[no-any-return]


def _check(
    takes: Arguments,
    settings: Mapping[Any, Any],
    where: Place,
    given: Collection[str] = (),
    partial: bool = False,
) -> dict[str, Any]:
    """Return the arguments, checked; those named in ``given`` are there, and with ``partial`` all may be missing."""
    for name in settings:
        if name in takes.withheld or name in given:
            raise InputError(f"{where.below(name)} is set by the run; leave it out")
        if name not in takes.types and not takes.others:
            owner, possible = where.path or "the configuration", takes.types.keys() - takes.withheld - set(given)
            advice = f"the nearest are {nearest(str(name), possible)}" if possible else "it has none"
            raise InputError(f"{owner} has no setting {name!r}; {advice}")
    if not partial:
        for name in sorted(takes.required - settings.keys() - set(given)):
            place = where.below(name)
            raise InputError(f"{place} has no value; give it one with {place}=VALUE")
    types = {name: takes.types.get(name, _ANYTHING) for name in settings}
    return {name: _value(types[name], value, where.below(name)) for name, value in settings.items()}


def _value(hint: Type, value: Any, where: Place) -> Any:
    """Return the value of one argument: what settings in it name is made, and the rest is checked."""
    if AS_WRITTEN in marks(hint.hint):
        return hint.check(value, where)
    if (kind := _dataclass(hint.hint)) is not None and isinstance(value, Mapping) and "_target_" not in value:
        return build(kind, value, where)
    made = _make_inside(value, where)
    return hint.check(value, where) if made is value else hint.check_object(made, where)


def _make_inside(value: Any, where: Place) -> Any:
    """Return ``value`` with the objects made that it describes, or ``value`` itself if there is none."""
    if isinstance(value, Mapping) and "_target_" in value:
        return make(value, where)
    if isinstance(value, Mapping):
        items = {key: _make_inside(item, where.below(key)) for key, item in value.items()}
        return value if all(items[key] is value[key] for key in value) else items
    if isinstance(value, list):
        made = [_make_inside(item, where.item(number)) for number, item in enumerate(value)]
        return value if all(new is old for new, old in zip(made, value, strict=True)) else made
    return value


def _dataclass(hint: Any) -> type[Any] | None:
    """Return the one dataclass that a hint allows besides None."""
    kinds = [kind for kind in (get_args(hint) or (hint,)) if kind is not type(None)]
    return kinds[0] if len(kinds) == 1 and inspect.isclass(kinds[0]) and is_dataclass(kinds[0]) else None


def _call(function: Callable[..., Any], arguments: Mapping[str, Any], where: Place) -> Any:
    try:
        return function(**arguments)
    except InputError as error:
        if function is gymnasium.make or not where.path or str(error).startswith(where.path):
            raise
        raise InputError(f"{where}: {error}") from error
    except (TypeError, ValueError, AttributeError) as error:
        if f"{function.__module__}.".startswith(tuple(f"{name.partition('.')[0]}." for name in OTHERS[1:])):
            raise InputError(f"{where}: {' '.join(str(error).split())}") from error
        raise


def _check_kind(made: Any, kind: Any, where: Place) -> None:
    """Check an object, or a class whose objects will be made later, against a class or a protocol."""
    if kind is None:
        return
    if is_protocol(kind):
        members = get_protocol_members(kind)
        missing = sorted(name for name in members if inspect.getattr_static(made, name, kind) is kind)
        fits = not missing
    else:
        missing, fits = [], issubclass(made, kind) if inspect.isclass(made) else isinstance(made, kind)
    if not fits:
        name = (made if inspect.isclass(made) else type(made)).__name__
        lacks = f", it has no {', '.join(missing)}" if missing else ""
        raise InputError(f"{where}._target_ names {name}, which is no {kind.__name__}{lacks}")
