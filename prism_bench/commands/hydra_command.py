"""What the commands share: a console, quiet libraries, and one sentence where something is wrong."""

import functools
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import SequenceMatcher
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException
from rich.console import Console
from rich.markup import escape

from prism_bench.errors import InputError

CONF = Path(__file__).resolve().parents[1] / "conf"
Job = Callable[[DictConfig, Console], object]

_TRACEBACKS = os.environ.get("HYDRA_FULL_ERROR") == "1"


def hydra_command(config_name: str, shorthands: Mapping[str, str] | None = None) -> Callable[[Job], Callable[[], None]]:
    """Return a decorator like ``hydra.main``: it makes a job of configuration and console a program.

    What Hydra refuses (a choice, a key, something that is no setting) is one sentence as well. A program starts fast,
    and has its ``--help`` fast, if its job imports within itself what takes long.

    Args:
        config_name: the file in ``conf/`` that configures the program.
        shorthands: by configuration group, the setting that ``group=VALUE`` means where VALUE is no choice of it.
    """

    def decorate(job: Job) -> Callable[[], None]:
        @hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)
        @functools.wraps(job)
        def configured(config: DictConfig) -> None:
            with reporting_mistakes() as console:
                _refuse_empty(HydraConfig.get().overrides.task)
                job(config, console)

        @functools.wraps(job)
        def program() -> None:
            os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises what it would otherwise print, on several lines
            sys.argv[1:] = [_written_out(argument, shorthands or {}) for argument in sys.argv[1:]]
            with _one_sentence():
                configured()

        return program

    return decorate


@contextmanager
def reporting_mistakes() -> Iterator[Console]:
    """Yield a console; turn bad input into one sentence on standard error and exit status 1.

    Bad input is what this project reports as ``ValueError`` (all its own exceptions are), what the operating system
    reports, and what Hydra cannot compose or instantiate. With ``HYDRA_FULL_ERROR=1`` the traceback is shown instead.
    """
    quieten()
    with _one_sentence():
        yield Console(width=None if sys.stdout.isatty() else 160)  # in a file there is room for the tables


def quieten() -> None:
    """Silence what libraries print at every start and nobody can act on."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")  # TRL imports it, where it is installed
    import transformers
    from datasets.utils.logging import disable_progress_bar

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    disable_progress_bar()
    logging.getLogger("trl").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", message=".*pin_memory.*")


@contextmanager
def _one_sentence() -> Iterator[None]:
    try:
        yield
    except (ValueError, OSError, ImportError, HydraException, OmegaConfBaseException) as error:
        if _TRACEBACKS:
            raise
        Console(stderr=True, soft_wrap=True).print(f"[bold red]error:[/] {escape(_sentence(error))}", highlight=False)
        raise SystemExit(1) from None


def _written_out(argument: str, shorthands: Mapping[str, str]) -> str:
    group, _, value = argument.partition("=")
    if not value or group not in shorthands or (CONF / group / f"{value}.yaml").is_file():
        return argument
    quoted = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"{shorthands[group]}='{quoted}'"


def _refuse_empty(overrides: Iterable[str]) -> None:
    for override in overrides:
        if override.endswith("="):
            raise InputError(f"{override} has no value; write {override}VALUE, or \"{override}''\" for an empty text")


def _sentence(error: BaseException) -> str:
    while isinstance(error, InstantiationException) and error.__cause__ is not None:
        error = error.__cause__
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
    if isinstance(error, OmegaConfBaseException):
        return f"{error.full_key}: {str(error).splitlines()[0]}"
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
