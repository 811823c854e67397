r"""A reader of large JSON files that holds one entry of the top-level array or object in memory.

    stream = JsonStream(Path("items_shuffle.json"))
    for place, product in stream.entries():     # place: "items_shuffle.json, line 1, entry 17"
        ...
    stream.sha256                               # of the whole file, once it was read to its end

The official catalogue is one array of 5.5 GB, of which ``json.load`` would hold several copies. Errors name file, line
and entry.

``ijson`` 3.6 does not replace this module. With its C backend a catalogue compiles as fast (100,000 products in one
process: 16.6 s, 16.9 s with this reader), but it knows no lines; refuses NaN and integers above 64 bits, which
upstream's ``json.load`` reads; turns lone surrogates into other characters (``ijson.items(rb'["\ud800\ud800"]',
"item")`` yields U+10000); and takes 1 GiB for 20,000 nested brackets, which this reader refuses.
"""

import codecs
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from prism_bench.errors import InputError

ENTRY_LIMIT = 1 << 26
"""Most characters of one entry; a longer one is damage."""

_CHUNK = 1 << 20
_SPACE = re.compile(r"[ \t\n\r]*")
_LONGEST_TOKEN = 16  # an error nearer to the end of the buffer may only mean that the rest is not read yet


class JsonStream:
    """The entries of one file, read once from its beginning to its end.

    Args:
        path: the file, UTF-8.
        progress: called with the bytes read so far and the size of the file, about once a megabyte.
    """

    def __init__(self, path: Path, progress: Callable[[int, int], None] | None = None) -> None:
        self.path = path
        self._progress = progress
        self._hash = hashlib.sha256()
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._json = json.JSONDecoder()
        self._file: BinaryIO
        self._buffer, self._cursor, self._ended = "", 0, False
        self._line, self._counted, self._entry, self._bytes, self._size = 1, 0, 0, 0, 0

    @property
    def sha256(self) -> str:
        """SHA-256 sum of the bytes read so far."""
        return self._hash.hexdigest()

    def entries(self) -> Iterator[tuple[str, Any]]:
        """Yield (place, value) of every entry of a top-level array.

        Raises:
            InputError: the file is missing, no JSON array, damaged, or truncated.
        """
        for _ in self._separated("[", "]"):
            yield self._place(), self._value()

    def members(self) -> Iterator[tuple[str, str, Any]]:
        """Yield (place, name, value) of every member of a top-level object; a name that comes twice is yielded twice.

        Raises:
            InputError: the file is missing, no JSON object, damaged, or truncated.
        """
        for _ in self._separated("{", "}"):
            place, name = self._place(), self._value()
            if not isinstance(name, str):
                raise InputError(f"{place}: {name!r:.40} stands where a name in quotation marks is expected")
            self._expect(":")
            self._next()
            yield place, name, self._value()

    def _separated(self, opening: str, closing: str) -> Iterator[None]:
        """Yield before every entry, with the cursor on its first character."""
        try:
            with self.path.open("rb") as self._file:
                self._size = os.fstat(self._file.fileno()).st_size
                if self._next() != opening:
                    kind = "array" if opening == "[" else "object"
                    raise InputError(f"{self.path} is no JSON {kind}: it does not begin with {opening}; fetch it again")
                self._cursor += 1
                if self._next() == closing:
                    self._cursor += 1
                else:
                    yield from self._until(closing)
                if self._next():
                    raise self._damaged(f"the file goes on after its closing {closing}", self._cursor)
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror}") from None

    def _until(self, closing: str) -> Iterator[None]:
        while True:
            self._entry += 1
            self._next()
            yield
            if self._expect(",", closing) == closing:
                return

    def _expect(self, *characters: str) -> str:
        """Return the next character that is no white space and move behind it; refuse any but these."""
        found = self._next()
        if not found:
            raise self._truncated()
        if found not in characters:
            raise self._damaged(f"{' or '.join(map(repr, characters))} is expected", self._cursor)
        self._cursor += 1
        return found

    def _value(self) -> Any:
        """Return the value at the cursor and move behind it."""
        while True:
            try:
                value, end = self._json.raw_decode(self._buffer, self._cursor)
            except json.JSONDecodeError as error:
                near = len(self._buffer) - (0 if self._ended else _LONGEST_TOKEN)
                if error.pos < near and not error.msg.startswith("Unterminated string"):
                    raise self._damaged(error.msg, error.pos) from None
            except RecursionError:
                raise self._damaged("it is nested too deeply", self._cursor) from None
            except ValueError as error:  # a number of thousands of digits
                raise self._damaged(str(error), self._cursor) from None
            else:
                if self._ended or end < len(self._buffer) - len("e-"):  # otherwise a number may go on
                    self._cursor = end
                    return value
            if self._ended:
                raise self._truncated()
            if len(self._buffer) - self._cursor > ENTRY_LIMIT:
                raise self._damaged(f"it is longer than {ENTRY_LIMIT:,} characters", self._cursor)
            self._read()

    def _next(self) -> str:
        """Move to the next character that is no white space and return it, or an empty text at the end of the file."""
        while True:
            found = _SPACE.match(self._buffer, self._cursor)
            self._cursor = found.end() if found else self._cursor
            if self._cursor < len(self._buffer):
                return self._buffer[self._cursor]
            if self._ended:
                return ""
            self._read()

    def _read(self) -> None:
        """Drop the text before the cursor and read at least as many bytes as remain."""
        self._line = self._line_at(self._cursor)
        kept = self._buffer[self._cursor :]
        data = self._file.read(max(_CHUNK, len(kept)))
        self._ended = not data
        self._hash.update(data)
        self._bytes += len(data)
        try:
            self._buffer, self._cursor, self._counted = kept + self._decoder.decode(data, final=self._ended), 0, 0
        except UnicodeDecodeError as error:
            raise InputError(
                f"{self.path} is not UTF-8 text: near byte {self._bytes - len(data) + error.start:,}, {error.reason}"
            ) from None
        if self._progress:
            self._progress(self._bytes, self._size)

    def _line_at(self, position: int) -> int:
        """Return the number of the line at a position of the buffer, at or behind the last position asked for."""
        self._line += self._buffer.count("\n", self._counted, position)
        self._counted = position
        return self._line

    def _place(self) -> str:
        return f"{self.path}, line {self._line_at(self._cursor)}, entry {self._entry}"

    def _damaged(self, reason: str, position: int) -> InputError:
        line = self._line_at(position)
        return InputError(f"{self.path}, line {line}, entry {self._entry} is damaged: {reason}; fetch the file again")

    def _truncated(self) -> InputError:
        return InputError(
            f"{self.path} ends in the middle of entry {self._entry} (line {self._line_at(len(self._buffer))}): the "
            "file is truncated; fetch it again"
        )
