"""The base class of this project's own errors, and a note on what was running when another exception was raised.

Only an :class:`InputError` ends a command with one sentence (:mod:`prism_bench.commands.hydra_command`); any other
exception is a bug and keeps its traceback.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

RUNNING = "while running: "
"""First words of the note that :func:`note_running` adds to an exception."""


class InputError(ValueError):
    """Bad input: a setting, a file, a model, an environment. The message says what is wrong, where, and what to do."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does."""


def first_mistake(error: "ValidationError", item: str = "item") -> str:
    """Return the first mistake that pydantic found as one line: its place, pydantic's reason, the value.

    ``item`` is the word for an entry of the outermost list (``row 3, steps 1, action: ...``).
    """
    mistake = error.errors(include_url=False)[0]
    place: list[str] = []
    for part in mistake["loc"]:
        if isinstance(part, int):
            place = [*place[:-1], f"{place[-1] if place else item} {part}"]
        else:
            place.append(part)
    reason = mistake["msg"].removeprefix("Value error, ")
    found = "" if mistake["type"] in ("missing", "value_error") else f", found {mistake['input']!r:.60}"
    return ": ".join(filter(None, (", ".join(place), f"{reason[:1].lower()}{reason[1:]}{found}")))


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
