"""What W&B wrote of an offline run, read back with its own messages."""

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import MetricRecord, Record, RunRecord


@dataclass
class OfflineRun:
    """An offline run.

    Attributes:
        files: the folder of its tables and images.
        history: rows of values, without those that W&B adds.
        summary: values of the whole run.
        metrics: definitions, by the name or pattern.
        artifacts: by type, their files by the name in it; W&B stores tables as artifacts too.
    """

    files: Path
    run: RunRecord = field(default_factory=RunRecord)
    exit_code: int | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, MetricRecord] = field(default_factory=dict)
    artifacts: dict[str, dict[str, Path]] = field(default_factory=dict)

    @property
    def config(self) -> dict[str, Any]:
        return {item.key: json.loads(item.value_json) for item in self.run.config.update}

    def column(self, key: str) -> list[Any]:
        """Return the values of a key in the order in which they were logged."""
        return [row[key] for row in self.history if key in row]

    def table(self, key: str) -> list[dict[str, Any]]:
        """Return the rows of a table."""
        (where,) = self.column(f"{key}/path")
        table = json.loads((self.files / where).read_text(encoding="utf-8"))
        return [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]


def read_offline_run(folder: Path) -> OfflineRun:
    """Read the one offline run in the folder of a run."""
    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    read = OfflineRun(path.parent / "files")
    for record in _records(path.read_bytes()):
        if record.HasField("run"):
            read.run = record.run
        elif record.HasField("exit"):
            read.exit_code = record.exit.exit_code
        elif record.HasField("metric"):
            read.metrics[record.metric.glob_name or record.metric.name] = record.metric
        elif record.HasField("artifact"):
            files = {entry.path: Path(entry.local_path) for entry in record.artifact.manifest.contents}
            read.artifacts.setdefault(record.artifact.type, {}).update(files)
        elif record.HasField("history"):
            read.history.append(_values(record.history.item))
        elif record.HasField("summary"):
            read.summary |= _values(record.summary.update)
    return read


def _values(items: Any) -> dict[str, Any]:
    values = {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}
    return {key: value for key, value in values.items() if not key.startswith("_")}


def _records(content: bytes) -> list[Record]:
    """Read a ``.wandb`` file: a 7-byte header, then LevelDB's log format (blocks of 32 KiB that split records)."""
    position, records, parts = 7, [], b""
    while position + 7 <= len(content):
        if 32768 - position % 32768 < 7:
            position += 32768 - position % 32768
            continue
        _, length, kind = struct.unpack("<IHB", content[position : position + 7])
        parts += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            records.append(Record.FromString(parts))
            parts = b""
    return records
