"""Code that all commands share: the console, quiet libraries, and the end of a command that fails.

Bad input ends a command with one sentence on standard error and exit status 1 (:mod:`prism_bench.commands.refusals`).
A bug ends a command with its traceback, a line on what was running, and exit status 1. The log file of a run holds the
same. With ``HYDRA_FULL_ERROR=1`` bad input gets a traceback too. Ctrl-C ends a command with one line and exit status
130, SIGTERM with 143.

A job of a sweep that fails does not end the others. The sweep then names the jobs that failed, and the command that
compares the others.
"""

import functools
import logging
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import cast

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.markup import escape

from prism_bench.commands.refusals import composition_refusal, refusal, refuse_empty
from prism_bench.commands.sweep import EndedJob, ended_job, print_sweep
from prism_bench.errors import RUNNING, Terminated, note_running, running_note

_PACKAGE = Path(__file__).resolve().parents[1]
CONF = next(folder for folder in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if folder.is_dir())
"""The folder of the configuration: inside the installed package, or beside it in a checkout of the repository."""

Job = Callable[[DictConfig, Console], object]

_log = logging.getLogger("prism_bench")
_TRACEBACKS = os.environ.get("HYDRA_FULL_ERROR") == "1"


def hydra_command(
    config_name: str, shorthands: Mapping[str, str] | None = None, *, resumes: bool = False
) -> Callable[[Job], Callable[[], None]]:
    """Return a decorator like ``hydra.main`` for jobs, which take a configuration and a console.

    A job should import large libraries within its function, so that ``--help`` does not wait for them.

    Args:
        config_name: the file in ``conf/`` that configures the program.
        shorthands: by configuration group, the setting that ``group=VALUE`` means if VALUE is not a choice of the
            group.
        resumes: an interrupted job continues when it is started again.
    """

    def decorate(job: Job) -> Callable[[], None]:
        jobs: list[EndedJob] = []  # a failing job does not raise, so that Hydra continues with the sweep's other jobs

        @hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)
        @functools.wraps(job)
        def configured(config: DictConfig) -> None:
            # unresolved, since ${KEY} refers to the job's configuration and not to Hydra's
            overrides = cast(list[str], OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False))
            try:
                refuse_empty(overrides)
                quieten()
                job(config, new_console())
                jobs.append(ended_job())
            except Exception as error:
                sentence = refusal(error)
                jobs.append(ended_job(sentence or f"{type(error).__name__}: {error}"))
                _report_failure(error, sentence, f"prism-bench {HydraConfig.get().job.name}")

        @functools.wraps(job)
        def program() -> None:
            jobs.clear()
            os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises what it would otherwise print, on several lines
            sys.argv[1:] = [_written_out(argument, shorthands or {}) for argument in sys.argv[1:]]
            with clean_exit(composition_refusal, resumes):
                try:
                    configured()
                finally:
                    print_sweep(jobs, new_console())
            if any(job.reason for job in jobs):
                raise SystemExit(1)

        return program

    return decorate


@contextmanager
def reporting_mistakes() -> Iterator[Console]:
    """Yield a console to a command without configuration, and end cleanly if it fails."""
    with clean_exit(refusal):
        yield new_console()


def new_console() -> Console:
    """Return a console for standard output."""
    return Console(width=None if sys.stdout.isatty() else 160)  # in a file there is room for the tables


def quieten() -> None:
    """Silence messages that libraries print at every start and that nobody can act on; it imports them."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")  # TRL imports vLLM where it is installed
    import transformers
    from datasets.utils.logging import disable_progress_bar

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    disable_progress_bar()
    logging.getLogger("trl").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", message=".*pin_memory.*")


@contextmanager
def clean_exit(sentence_of: Callable[[Exception], str | None] = refusal, resumes: bool = False) -> Iterator[None]:
    """Turn errors for which there is a sentence, and signals, into one line on standard error and an exit status.

    Args:
        sentence_of: returns the sentence of an error, or None.
        resumes: say that the same command continues after a signal.
    """
    try:
        with _termination():
            yield
    except KeyboardInterrupt as interrupt:
        place = (running_note(interrupt) or "").removeprefix(RUNNING)
        advice = "; start the same command again to go on" if resumes else ""
        print_error("interrupted" + (f" in {place}" if place else "") + advice)
        # what a shell reports for a program that the signal ended
        raise SystemExit(143 if isinstance(interrupt, Terminated) else 130) from None
    except Exception as error:
        sentence = sentence_of(error)
        if sentence is None or _TRACEBACKS:
            raise
        print_error(sentence)
        raise SystemExit(1) from None


@contextmanager
def _termination() -> Iterator[None]:
    """Raise :class:`~prism_bench.errors.Terminated` on SIGTERM, so that everything is closed as after Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(number: int, frame: FrameType | None) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _report_failure(error: Exception, sentence: str | None, command: str) -> None:
    """Show on standard error and in the log file why a job failed: as ``sentence``, or with traceback and place."""
    if sentence is not None and not _TRACEBACKS:
        print_error(sentence)
        _log_to_file(sentence)
        return
    note_running(error, f"{command}, outside of its phases")
    place = running_note(error) or ""
    if place not in getattr(error, "__notes__", ()):
        error.add_note(place)  # the note is on an exception that led to this one, and printed far above
    traceback.print_exception(error)
    _log_to_file("the run failed", error)


def print_error(sentence: str) -> None:
    """Print a sentence on standard error."""
    Console(stderr=True, soft_wrap=True).print(f"[bold red]error:[/] {escape(sentence)}", highlight=False)


def _log_to_file(message: str, error: Exception | None = None) -> None:
    """Write to the log file that Hydra opened for the job, if it did."""
    details = None if error is None else (type(error), error, error.__traceback__)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(_log.makeRecord(_log.name, logging.ERROR, __file__, 0, message, (), details))


def _written_out(argument: str, shorthands: Mapping[str, str]) -> str:
    group, _, value = argument.partition("=")
    if not value or group not in shorthands or (CONF / group / f"{value}.yaml").is_file():
        return argument
    quoted = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"{shorthands[group]}='{quoted}'"
