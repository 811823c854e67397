"""Records on disk, one JSON text a line, read by number without reading the others.

The lines are in ``<name>.jsonl``, the byte offsets of their starts and of the end in ``<name>.npy`` (int64, shape
(records + 1,)). Both are memory-mapped: opening takes no time, and all processes of a machine share the pages.
"""

import json
from array import array
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np


class RecordWriter:
    """Writer of records, one after the other; the files are complete when the block ends.

    Args:
        path: without suffix; ``.jsonl`` and ``.npy`` are appended.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._starts = array("q", [0])

    def __enter__(self) -> "RecordWriter":
        self._file = self._path.with_suffix(".jsonl").open("wb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()
        if kind is None:
            np.save(self._path.with_suffix(".npy"), np.frombuffer(self._starts, dtype=np.int64))

    def append(self, record: Any) -> None:
        """Write one record, any JSON value."""
        line = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        self._file.write(line)
        self._starts.append(self._starts[-1] + len(line))


class Records:
    """Reader of the finished files of a :class:`RecordWriter`."""

    def __init__(self, path: Path) -> None:
        self._starts = np.load(path.with_suffix(".npy"), mmap_mode="r")
        # An empty file cannot be mapped.
        self._bytes = np.memmap(path.with_suffix(".jsonl"), mode="r") if len(self) else np.empty(0, np.uint8)

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, number: int) -> Any:
        """Return record ``number``, counted from 0.

        Raises:
            IndexError: there is no such record.
        """
        if not 0 <= number < len(self):
            raise IndexError(f"there is no record {number}; they are numbered from 0 to {len(self) - 1}")
        start, stop = int(self._starts[number]), int(self._starts[number + 1])
        return json.loads(self._bytes[start:stop].tobytes())
