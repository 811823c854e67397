"""Classes, functions and environments that settings name: which ones may be named, and their import."""

import importlib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium

from prism_bench.errors import InputError
from prism_bench.settings.configuration import ROOT, Place
from prism_bench.settings.signatures import Arguments, environment_arguments
from prism_bench.settings.values import shown

PROJECT = ("prism_bench", "envs", "baselines")
"""Packages whose classes a setting may name."""

OTHERS = ("gymnasium.make", "peft.LoraConfig")
"""Further names that it may use."""

_NAME = r"[^\W\d]\w*"
_MODULE = re.compile(rf"{_NAME}(\.{_NAME})*")


def check_targets(value: Any, modules: Sequence[str] = (), where: Place = ROOT) -> None:
    """Check that settings name classes and environments of this project and of ``modules`` only.

    Raises:
        InputError: one names something else, which would be imported, and could be anything.
    """
    if isinstance(value, Mapping):
        if "_target_" in value:
            module, _, registered = str(value.get("id", "")).rpartition(":")  # importing the module registers it
            for key, name in (("_target_", str(value["_target_"])), ("id", module if registered else "")):
                _check_name(name, (*PROJECT, *modules), where.below(key))
        for key, item in value.items():
            check_targets(item, modules, where.below(key))
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            check_targets(item, modules, where.item(number))


def find(path: Any, where: Place, class_only: bool) -> Callable[..., Any]:
    """Import the class or function at a dotted path; not one that its module has only imported from elsewhere.

    Raises:
        InputError: there is none.
    """
    module, _, name = str(path).rpartition(".")
    if not isinstance(path, str) or not module or not _MODULE.fullmatch(path):
        raise InputError(f"{where}={shown(path)} is not possible; it should be the path of a class")
    _import(module, where)
    found = vars(importlib.import_module(module)).get(name)
    home = str(getattr(found, "__module__", ""))
    if path not in OTHERS and home.partition(".")[0] != module.partition(".")[0]:
        found = None
    if not (inspect.isclass(found) or (inspect.isroutine(found) and not class_only)):
        raise InputError(f"{where}={path} is not possible; the module {module} has no class {name!r}")
    if inspect.isabstract(found):
        raise InputError(f"{where}={path} is not possible; that is a base class, name one that derives from it")
    return found


def arguments_of_environment(name: Any, where: Place) -> Arguments:
    """Return the arguments of ``gymnasium.make`` for an id; import the module that registers it.

    Raises:
        InputError: there is no such environment.
    """
    module, _, registered = str(name).rpartition(":")
    if not isinstance(name, str) or (module and not _MODULE.fullmatch(module)):
        raise InputError(f"{where}={shown(name)} is not possible; it should be an environment's id, module:Name-v0")
    if module:
        _import(module, where)
    try:
        return environment_arguments(registered)
    except gymnasium.error.Error as error:
        raise InputError(f"{where}={shown(name)} is not possible; {' '.join(str(error).split())}") from None


def _check_name(name: str, allowed: Sequence[str], where: Place) -> None:
    if not name or name in OTHERS or any(name == module or name.startswith(f"{module}.") for module in allowed):
        return
    raise InputError(
        f"{where} names {shown(name)}, and a setting may name what is in {', '.join(PROJECT)} only; if you trust that "
        f"module, allow it with modules=[{shown(name.partition('.')[0])}]"
    )


def _import(module: str, where: Place) -> None:
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # the module is there and misses another one
        raise InputError(f"{where} names the module {module}, which does not exist") from None
