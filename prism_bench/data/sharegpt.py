"""Trajectories as ShareGPT conversations, the layout in which expert episodes are published.

A conversation is ``[{"from": "human", "value": observation}, {"from": "gpt", "value": completion}, ...]``, bare or
under the key ``conversations`` of a record. A source is a JSON file (a list of conversations, or one), a JSONL file
(one conversation a line), or a folder of such files, which are read in the order of their paths.

Such text leaves four things open. An import decides:

* The task: ``task_id`` is None unless the record has one under that very name, as our exports do, or under another key
  that the user names, such as ``item_id``. Episodes without a task serve SFT and the probe, not RL.
* The end: published conversations are demonstrations, so an import counts as a success with score 1 unless the record
  has ``score`` and ``success``. Rewards of single steps are unknown; the last step gets the score.
* Instructions: a conversation that opens with an instruction and its acknowledgement ("OK. I'll follow ...") starts
  after the two, since a prompt brings its own instruction (``conf/prompt``). System messages are left out as well.
* The action: in a completion that says ``Action:``, the first line after the last one; any other completion is an
  action. The completion is kept whole beside its action. The word ``Observation:`` before an observation belongs to the
  prompt too.
"""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from prism_bench.data.trajectory import Flag, Number, Step, Text, Trajectory
from prism_bench.errors import InputError, first_mistake
from prism_bench.files import write_atomically

_ACKNOWLEDGEMENT = re.compile(r"\s*ok(ay)?\b", re.IGNORECASE)


class Message(BaseModel):
    """One turn of a conversation: its speaker (``human``, ``gpt`` or ``system``) and its text."""

    model_config = ConfigDict(frozen=True)

    speaker: Text = Field(alias="from")
    value: Text


class Record(BaseModel):
    """A conversation and the other fields of its record; keys that are not listed here are ignored."""

    model_config = ConfigDict(frozen=True)

    conversations: tuple[Message, ...]
    task_id: Text | None = None
    task_type: Text | None = None
    source: Text | None = None
    score: Number | None = None
    success: Flag | None = None
    regime: Text | None = None


def import_conversations(path: Path, task_key: str = "task_id") -> list[Trajectory]:
    """Read the conversations of a file or folder.

    Args:
        path: of a JSON or JSONL file, or of a folder of them.
        task_key: the key under which a record names its task.

    Raises:
        InputError: there is nothing to read, or an entry is not a conversation.
    """
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix in (".json", ".jsonl") and file.is_file())
    else:
        files = [path]
    trajectories: list[Trajectory] = []
    for file in files:
        source = f"import:{file.relative_to(path) if path.is_dir() else file.name}"
        contents = ((where, _with_task(content, task_key)) for where, content in _contents(file))
        trajectories += [_trajectory(content, where, source) for where, content in contents]
    if not trajectories:
        raise InputError(f"{path}: there are no conversations in it (.json or .jsonl)")
    return trajectories


def export_conversations(trajectories: Sequence[Trajectory], path: Path) -> None:
    """Write ``trajectories`` to ``path`` as a JSON list of records, or one record a line if it ends in ``.jsonl``.

    The layout has no place for rewards of single steps, admissible actions, token counts and truncated completions;
    they are left out.
    """
    records = [_exported(trajectory) for trajectory in trajectories]
    if path.suffix == ".jsonl":
        text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    else:
        text = json.dumps(records, ensure_ascii=False, indent=1) + "\n"
    write_atomically(path, text)


def _exported(trajectory: Trajectory) -> dict[str, Any]:
    messages = []
    for step in trajectory.steps:
        messages.append({"from": "human", "value": step.observation})
        messages.append({"from": "gpt", "value": step.action if step.completion is None else step.completion})
    facts = {name: getattr(trajectory, name) for name in Record.model_fields if name != "conversations"}
    return {"conversations": messages} | {name: value for name, value in facts.items() if value is not None}


def _contents(file: Path) -> Iterator[tuple[str, Any]]:
    """Yield the JSON of every conversation in ``file``, with its place in words."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from None
    if file.suffix == ".jsonl":
        lines = enumerate(text.split("\n"), start=1)
        yield from ((f"{file}: line {number}", _parse(line, file, number)) for number, line in lines if line.strip())
        return
    content = _parse(text, file)
    first = content[0] if isinstance(content, list) and content else None
    if not isinstance(content, list) or (isinstance(first, dict) and "from" in first):
        yield f"{file}", content
    else:
        yield from ((f"{file}: conversation {number}", each) for number, each in enumerate(content))


def _parse(text: str, file: Path, line: int = 1) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {line + error.lineno - 1}, column {error.colno}"
        raise InputError(f"{file}: {place}: not JSON ({error.msg})") from None


def _with_task(content: Any, key: str) -> Any:
    return {**content, "task_id": content.get(key)} if isinstance(content, dict) else content


def _trajectory(content: Any, where: str, source: str) -> Trajectory:
    record = _record({"conversations": content} if isinstance(content, list) else content, where)
    turns = _turns(record.conversations, where)
    score = 1.0 if record.score is None else record.score
    steps = [
        Step(
            observation,
            _action(completion),
            score if number == len(turns) else 0.0,
            None if _action(completion) == completion else completion,
        )
        for number, (observation, completion) in enumerate(turns, start=1)
    ]
    return Trajectory(
        task_id=record.task_id,
        task_type=record.task_type,
        source=source if record.source is None else record.source,
        steps=tuple(steps),
        score=score,
        success=True if record.success is None else record.success,
        regime=record.regime,
    )


def _record(content: Any, where: str) -> Record:
    expected = "expected a conversation, a list of {from, value}, bare or under the key 'conversations'"
    if not isinstance(content, dict):
        raise InputError(f"{where}: found {content!r:.60}, {expected}")
    try:
        return Record.model_validate(content)
    except ValidationError as error:
        advice = f"; {expected}" if error.errors()[0]["loc"][0] == "conversations" else ""
        raise InputError(f"{where}: {first_mistake(error)}{advice}") from None


def _turns(messages: Sequence[Message], where: str) -> list[tuple[str, str]]:
    """Return (observation, completion) of every turn, instructions left out."""
    first = next((number for number, message in enumerate(messages) if message.speaker != "system"), 0)
    for number, message in enumerate(messages[first:], start=first):
        speaker = "gpt" if (number - first) % 2 else "human"
        if message.speaker != speaker:
            raise InputError(
                f"{where}, message {number}: from is {message.speaker!r}, expected {speaker!r}, since human and gpt "
                "take turns"
            )
    values = [message.value for message in messages[first:]]
    if len(values) > 3 and _ACKNOWLEDGEMENT.match(values[1]):
        values = values[2:]
    turns = [(_observation(said), answer) for said, answer in zip(values[::2], values[1::2], strict=False)]
    if not turns:
        raise InputError(f"{where}: the conversation has no completion (a message from gpt)")
    return turns


def _observation(text: str) -> str:
    return text.removeprefix("Observation:").lstrip() if text.startswith("Observation:") else text


def _action(completion: str) -> str:
    _, marker, after = completion.rpartition("Action:")
    if not marker:
        return completion.strip()
    lines = after.strip().splitlines()
    return lines[0].strip() if lines else ""
