"""The check of one value against a type hint, and the sentence that refuses it.

Values are those of YAML. Pydantic checks them as strictly as JSON, so that nothing is converted in silence: the text
"1" is no number, true is no 1, and nan and inf are no numbers. A whole number may stand for any number, a list for a
tuple and a text for a path.
"""

import json
import re
from collections.abc import Iterable
from difflib import SequenceMatcher
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError
from pydantic_core import SchemaError

from prism_bench.errors import InputError

_STRICT = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
_WORDS = {
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid boolean": "true or false",
    "a valid string": "a text",
    "a valid list": "a list",
    "a valid array": "a list",
    "a valid tuple": "a list",
    "a valid dictionary": "a group of settings",
    "an object": "a group of settings",
}
"""Pydantic's words for types, and those of the settings' documentation."""
_MESSAGES = {"string_too_short": "Input should be a text that is not empty"}
_BOUNDS = (
    (r"greater than or equal to (\S+)", r"\1 or more"),
    (r"less than or equal to (\S+)", r"\1 or less"),
    (r"greater than (\S+)", r"more than \1"),
)


class Type:
    """A type hint, ready to check values. A hint that pydantic cannot use allows everything."""

    def __init__(self, hint: Any) -> None:
        self.hint = hint
        self._adapter: TypeAdapter[Any] = _adapter(hint)

    def check(self, value: Any, where: object) -> Any:
        """Return a plain value as the type that the hint asks for; numbers stay as they were written.

        ``where`` names the setting in messages.

        Raises:
            InputError: it has another type or is out of bounds.
        """
        if isinstance(value, str) and "\0" in value:
            raise InputError(f"{where}={shown(value)} is not possible; it contains a NUL character")
        try:
            text = json.dumps(value)
        except (TypeError, ValueError):
            raise InputError(f"{where}={shown(value)} is not possible; it is no plain value") from None
        try:
            checked = self._adapter.validate_json(text)
        except ValidationError as error:
            raise InputError(f"{where}={shown(value)} is not possible; {self._advice(error)}") from None
        return value if isinstance(value, int | float) else checked

    def check_object(self, value: Any, where: object) -> Any:
        """Return an object that was made of settings.

        Raises:
            InputError: the hint asks for another class.
        """
        try:
            return self._adapter.validate_python(value)
        except ValidationError as error:
            found = type(value).__name__
            raise InputError(f"{where} makes a {found}, which is not possible; {self._advice(error)}") from None

    def _advice(self, error: ValidationError) -> str:
        mistakes = error.errors(include_url=False, include_input=False)
        if any(mistake["type"] == "needs_python_object" for mistake in mistakes):
            return f"it should be a group of settings that makes a {getattr(self.hint, '__name__', self.hint)}"
        messages = [_MESSAGES.get(mistake["type"], mistake["msg"]) for mistake in mistakes]
        choices = [message.removeprefix("Input should be ") for message in messages]
        if choices == messages:
            return "; ".join(f"{message[:1].lower()}{message[1:]}" for message in dict.fromkeys(messages))
        if self._takes_null():
            choices.append("null")
        return "it should be " + ", or ".join(dict.fromkeys(map(_in_words, choices)))

    def _takes_null(self) -> bool:
        try:
            self._adapter.validate_python(None)
        except ValidationError:
            return False
        return True


def _in_words(choice: str) -> str:
    for pattern, words in _BOUNDS:
        choice = re.sub(pattern, words, choice)
    return _WORDS.get(choice, choice)


def shown(value: Any) -> str:
    """Return a value as a user would type it, on one line and not longer than one."""
    text = value if isinstance(value, str) and value.isprintable() and value else _as_json(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def nearest(name: str, choices: Iterable[str]) -> str:
    """Return the choices that resemble ``name`` most, at most four, as a list in words."""
    by_likeness = sorted(choices, key=lambda choice: -SequenceMatcher(None, name, choice).ratio())
    return ", ".join(by_likeness[:4])


def _as_json(value: Any) -> str:
    try:
        return json.dumps(value)
    except (TypeError, ValueError):
        return repr(value)


def _adapter(hint: Any) -> TypeAdapter[Any]:
    for config in (_STRICT, None):  # a dataclass has a configuration of its own
        try:
            return TypeAdapter(hint, config=config)
        except (PydanticSchemaGenerationError, PydanticUserError, SchemaError):
            continue
    return TypeAdapter(Any)
