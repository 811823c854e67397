"""An answer in JSON, of which nothing is taken for granted."""

import math
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from prism_bench.environments.contract import InvalidAnswerError


@dataclass(frozen=True, slots=True)
class JsonAnswer:
    """An answer of a server, and readers of the values in it.

    A *place* is a key or the number of an item, or several with dots between them; the empty place is the answer as a
    whole. Every reader raises :class:`~prism_bench.environments.contract.InvalidAnswerError` if the value there is
    missing or another one than it returns.

    Attributes:
        value: as JSON has it.
        request: the call that it answers, for messages.
    """

    value: Any
    request: str

    def at(self, place: str) -> "JsonAnswer":
        """Return what is at a place."""
        found = self.value
        for key in place.split(".") if place else ():
            if isinstance(found, dict) and key in found:
                found = found[key]
            elif isinstance(found, list) and re.fullmatch("[0-9]{1,6}", key) and int(key) < len(found):
                found = found[int(key)]
            else:
                raise InvalidAnswerError(f"answered {self.request} without {place!r}: {shown(self.value)}")
        return JsonAnswer(found, self.request)

    def text(self, place: str = "") -> str:
        """Return the text at a place."""
        found = self.at(place).value
        if not isinstance(found, str) or any("\ud800" <= character <= "\udfff" for character in found):
            raise self._refusal(found, place, "a text in valid Unicode")
        return found

    def number(self, place: str = "") -> float:
        """Return the finite number at a place; true is 1."""
        found = self.at(place).value
        with suppress(OverflowError):  # a whole number of hundreds of digits
            if isinstance(found, int | float) and math.isfinite(found):
                return float(found)
        raise self._refusal(found, place, "a finite number")

    def flag(self, place: str = "") -> bool:
        """Return whether true is at a place, or false."""
        found = self.at(place).value
        if not isinstance(found, bool):
            raise self._refusal(found, place, "true or false")
        return found

    def items(self) -> list["JsonAnswer"]:
        """Return the items of a list; none of anything else."""
        return [JsonAnswer(item, self.request) for item in self.value] if isinstance(self.value, list) else []

    def _refusal(self, found: Any, place: str, expected: str) -> InvalidAnswerError:
        where = f" at {place!r}" if place else ""
        return InvalidAnswerError(f"answered {self.request} with {shown(found)}{where}, expected {expected}")


def shown(value: Any) -> str:
    """Return the beginning of a value on one line, in ASCII."""
    return ascii(value)[:100]
