"""The base class of this project's own errors, and a note on what was running when another one was raised.

Only an :class:`InputError` ends a command with one sentence (:mod:`prism_bench.commands.hydra_command`); any other
exception is a bug and keeps its traceback.
"""

RUNNING = "while running: "
"""First words of the note that :func:`note_running` adds to an exception."""


class InputError(ValueError):
    """Bad input: a setting, a file, a model, an environment. The message says what is wrong, where, and what to do."""


def note_running(error: BaseException, what: str) -> None:
    """Add a note on what was running to ``error``; Python prints it below the traceback.

    The innermost place says most, so an exception keeps the first note that it gets.
    """
    if running_note(error) is None:
        error.add_note(RUNNING + what)


def running_note(error: BaseException) -> str | None:
    """Return the note that :func:`note_running` added to ``error`` or to an exception that led to it."""
    link: BaseException | None = error
    while link is not None:
        for note in getattr(link, "__notes__", ()):
            if note.startswith(RUNNING):
                return str(note)
        link = link.__cause__ or link.__context__
    return None
