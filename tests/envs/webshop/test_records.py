"""Records come back from disk as they were written."""

import math
from pathlib import Path
from typing import Any

import pytest

from envs.webshop.records import Records, RecordWriter


def test_records_come_back_whatever_they_hold(tmp_path: Path) -> None:
    written: list[Any] = ["", "a\nb\u2028", {"é": [1.5, None]}, [], math.pi, "\0"]
    with RecordWriter(tmp_path / "some") as writer:
        for record in written:
            writer.append(record)
    records = Records(tmp_path / "some")
    assert [records[number] for number in range(len(records))] == written
    with RecordWriter(tmp_path / "none"):
        pass
    assert len(Records(tmp_path / "none")) == 0
    with pytest.raises(IndexError):
        Records(tmp_path / "none")[0]
