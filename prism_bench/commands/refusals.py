"""One sentence for everything that a command refuses.

Refused is bad input (:class:`prism_bench.errors.InputError`), and a configuration that Hydra cannot compose: an unknown
choice or key, a missing value. Everything else is a bug, and no sentence can replace its traceback.
"""

import re
from collections.abc import Iterable, Iterator
from difflib import SequenceMatcher

import yaml
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from prism_bench.errors import InputError

_MACHINERY = ("hydra.", "omegaconf.")
"""Packages that compose configurations; their own exceptions are faults of the configuration."""


def refusal(error: Exception) -> str | None:
    """Return one sentence if ``error`` was raised by a job because its input is bad, None if it is a bug."""
    return _sentence(error) if isinstance(error, InputError) else None


def composition_refusal(error: Exception) -> str | None:
    """Return one sentence if ``error`` was raised before the job because of what the user wrote, None for a bug.

    Until the job begins nothing runs but Hydra, which composes the configuration and makes the folder of the run, so
    errors of the operating system are refusals too.
    """
    if isinstance(error, InputError | HydraException | OmegaConfBaseException | OSError | yaml.YAMLError):
        return _sentence(error)
    if isinstance(error, ValueError) and _raised_by_machinery(error):
        return _sentence(error)
    if isinstance(error.__cause__, OSError):  # logging.config wraps the error of opening the log file
        return _sentence(error.__cause__)
    return None


def refuse_empty(overrides: Iterable[str]) -> None:
    """Raise an InputError if an override has nothing behind its ``=``."""
    for override in overrides:
        if override.endswith("="):
            raise InputError(f"{override} has no value; write {override}VALUE, or \"{override}''\" for an empty text")


def _raised_by_machinery(error: BaseException) -> bool:
    modules = [module for module in _modules(error) if module.partition(".")[0] != "importlib"]
    return bool(modules) and modules[-1].startswith(_MACHINERY)


def _modules(error: BaseException) -> Iterator[str]:
    """Yield the names of the modules that the traceback of ``error`` passes through, the innermost last."""
    traceback = error.__traceback__
    while traceback is not None:
        yield str(traceback.tb_frame.f_globals.get("__name__"))
        traceback = traceback.tb_next


def _sentence(error: BaseException) -> str:
    cause = error.__cause__
    if isinstance(error, MissingConfigException) and error.options:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        return f"there is no {group} {name!r}; choose from {_nearest_first(name, error.options)}"
    if isinstance(error, OverrideParseException):
        reason = "cannot be read" if "=" in error.override else "has no '='"
        return f"{error.override!r} is no setting, it {reason}; write KEY=VALUE, and a VALUE with brackets in quotes"
    if isinstance(error, HydraException) and isinstance(cause, ConfigKeyError | ConfigAttributeError):
        return _unknown_key(cause)
    if isinstance(error, ConfigKeyError | ConfigAttributeError):
        return f"the configuration has no {error.full_key}"
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key} has no value; give it one with {error.full_key}=VALUE"
    if isinstance(error, OmegaConfBaseException):
        reason = str(error).splitlines()[0]
        return f"{error.full_key}: {reason}" if error.full_key else reason
    if several := re.match(r"Ambiguous value for argument '(.+)'", str(error)):
        key, _, values = several[1].partition("=")
        return f"{several[1]} are several values; add -m for a run of each, or write {key}=[{values}] for one list"
    lines = [
        *str(error).splitlines(),
        *(str(cause).splitlines() if isinstance(error, HydraException) and cause else []),
    ]
    return " ".join(line.strip() for line in lines if line.strip()) or type(error).__name__


def _unknown_key(error: OmegaConfBaseException) -> str:
    path, name = str(error.full_key), str(error.key)
    owner = path.removesuffix(name).rstrip(".")
    keys = [str(key) for key in error.parent_node or () if key != "_target_" and (owner or key != "hydra")]
    choices = [f"choose from {_nearest_first(name, keys)}"] if keys else []
    addition = [f"add it with +{path}=VALUE"] if owner else []
    return f"{owner or 'the configuration'} has no setting {name!r}; {', or '.join([*choices, *addition])}"


def _nearest_first(name: str, choices: Iterable[str]) -> str:
    return ", ".join(sorted(choices, key=lambda choice: -SequenceMatcher(None, name, choice).ratio()))
