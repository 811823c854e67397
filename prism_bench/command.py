"""What the commands share: a console, quiet libraries, and one sentence where something is wrong."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from hydra.errors import HydraException, InstantiationException
from rich.console import Console
from rich.markup import escape


@contextmanager
def reporting_mistakes() -> Iterator[Console]:
    """Yield a console; turn bad input into one sentence on standard error and exit status 1.

    Bad input is what this project reports as ``ValueError`` (all its own exceptions are), what the operating system
    reports, and what Hydra cannot instantiate. With ``HYDRA_FULL_ERROR=1`` the traceback is shown instead.
    """
    quieten()
    try:
        yield Console(width=None if sys.stdout.isatty() else 160)  # in a file there is room for the tables
    except (ValueError, OSError, ImportError, HydraException) as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        Console(stderr=True, soft_wrap=True).print(f"[bold red]error:[/] {escape(_sentence(error))}", highlight=False)
        raise SystemExit(1) from None


def quieten() -> None:
    """Silence what libraries print at every start and nobody can act on."""
    import transformers
    from datasets.utils.logging import disable_progress_bar

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    disable_progress_bar()
    logging.getLogger("trl").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", message=".*pin_memory.*")


def _sentence(error: BaseException) -> str:
    while isinstance(error, InstantiationException) and error.__cause__ is not None:
        error = error.__cause__
    return str(error) or type(error).__name__
