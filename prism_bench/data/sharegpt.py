"""Trajectories as ShareGPT conversations, the layout in which AgentGym and ETO publish expert episodes.

A conversation is ``[{"from": "human", "value": observation}, {"from": "gpt", "value": reply}, ...]``, bare or under the
key ``conversations`` of a record. A source is a JSON file (a list of conversations, or one), a JSONL file (one a line),
or a folder of such files, which are read in the order of their paths.

What such text does not say, and what is made of it:

* Which task was played: ``task_id`` is None unless the record has one under that very name, as our exports do.
  AgentGym's ``item_id`` counts the tasks of its own servers. Without tasks, episodes can be imitated and probed but not
  explored.
* How it ended: published conversations are meant to be imitated, so an import counts as a success with score 1 unless
  the record has ``score`` and ``success``. The rewards of single steps are unknown; the last step gets the score.
* What is instruction: a conversation that opens with an instruction and its acknowledgement ("OK. I'll follow ...")
  starts after the two, since a prompt brings its own instruction (``conf/prompt``). System messages go as well.
* What is action: of a reply that says ``Action:``, the first line after the last one; any other reply is an action. The
  reply is kept whole beside its action. The word ``Observation:`` before an observation belongs to the prompt too.
"""

import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from prism_bench.data.trajectory import Step, Trajectory
from prism_bench.errors import InputError
from prism_bench.files import write_atomically

_ACKNOWLEDGEMENT = re.compile(r"\s*ok(ay)?\b", re.IGNORECASE)


def import_conversations(path: Path) -> list[Trajectory]:
    """Read the conversations of a file or folder.

    Raises:
        InputError: there is nothing to read, or something that is no conversation.
    """
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix in (".json", ".jsonl") and file.is_file())
    else:
        files = [path]
    trajectories = [
        _trajectory(record, where, f"import:{file.relative_to(path) if path.is_dir() else file.name}")
        for file in files
        for where, record in _records(file)
    ]
    if not trajectories:
        raise InputError(f"{path}: there are no conversations in it (.json or .jsonl)")
    return trajectories


def export_conversations(trajectories: Sequence[Trajectory], path: Path) -> None:
    """Write ``trajectories`` to ``path`` as a JSON list of records, or one record a line if it ends in ``.jsonl``.

    Rewards of single steps, admissible actions, token counts and whether a reply was cut have no place in the layout
    and are left out.
    """
    records = [_record(trajectory) for trajectory in trajectories]
    if path.suffix == ".jsonl":
        text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    else:
        text = json.dumps(records, ensure_ascii=False, indent=1) + "\n"
    write_atomically(path, text)


def _record(trajectory: Trajectory) -> dict[str, Any]:
    messages = []
    for step in trajectory.steps:
        messages.append({"from": "human", "value": step.observation})
        messages.append({"from": "gpt", "value": step.action if step.completion is None else step.completion})
    facts = {name: getattr(trajectory, name) for name in ("task_id", "task_type", "source", "score", "success")}
    return {"conversations": messages} | {name: value for name, value in facts.items() if value is not None}


def _records(file: Path) -> Iterator[tuple[str, Any]]:
    """Yield every record of ``file`` with its place in words."""
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
    if not isinstance(content, list) or _is_message(content[0] if content else None):
        yield f"{file}", content
    else:
        yield from ((f"{file}: conversation {number}", record) for number, record in enumerate(content))


def _parse(text: str, file: Path, line: int = 1) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {line + error.lineno - 1}, column {error.colno}"
        raise InputError(f"{file}: {place}: not JSON ({error.msg})") from None


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and "from" in value


def _trajectory(record: Any, where: str, source: str) -> Trajectory:
    facts = record if isinstance(record, dict) else {}
    messages = facts.get("conversations") if isinstance(record, dict) else record
    turns = _turns(messages, where)
    score = _fact(facts, "score", (int, float), 1.0, where)
    steps = [
        Step(observation, _action(reply), 0.0, None if _action(reply) == reply else reply)
        for observation, reply in turns
    ]
    last = steps.pop()
    steps.append(Step(last.observation, last.action, float(score), last.completion))
    return Trajectory(
        task_id=_fact(facts, "task_id", (str,), None, where),
        task_type=_fact(facts, "task_type", (str,), None, where),
        source=_fact(facts, "source", (str,), source, where),
        steps=tuple(steps),
        score=float(score),
        success=_fact(facts, "success", (bool,), True, where),
    )


def _fact(facts: dict[str, Any], name: str, types: tuple[type, ...], default: Any, where: str) -> Any:
    value = facts.get(name)
    if value is None:
        return default
    wrong = not isinstance(value, types) or (isinstance(value, bool) and bool not in types)
    if wrong or (isinstance(value, float) and not math.isfinite(value)):
        raise InputError(f"{where}: {name} is {value!r}, expected {types[-1].__name__}")
    return value


def _turns(messages: Any, where: str) -> list[tuple[str, str]]:
    """Return (observation, reply) of every turn, instructions left out."""
    if not isinstance(messages, list) or not all(_is_message(message) for message in messages):
        raise InputError(
            f"{where}: not a conversation, which is a list of {{from, value}}, bare or under the key 'conversations'"
        )
    first = next((number for number, message in enumerate(messages) if message["from"] != "system"), 0)
    for number, message in enumerate(messages[first:], start=first):
        speaker = "gpt" if (number - first) % 2 else "human"
        if message["from"] != speaker:
            raise InputError(
                f"{where}, message {number}: from is {message['from']!r}, expected {speaker!r}, since human and gpt "
                "take turns"
            )
        if not isinstance(message.get("value"), str):
            raise InputError(f"{where}, message {number}: value is {message.get('value')!r}, expected text")
    values = [message["value"] for message in messages[first:]]
    if len(values) > 3 and _ACKNOWLEDGEMENT.match(values[1]):
        values = values[2:]
    turns = [(_observation(said), reply) for said, reply in zip(values[::2], values[1::2], strict=False)]
    if not turns:
        raise InputError(f"{where}: the conversation has no reply (a message from gpt)")
    return turns


def _observation(text: str) -> str:
    return text.removeprefix("Observation:").lstrip() if text.startswith("Observation:") else text


def _action(reply: str) -> str:
    _, marker, after = reply.rpartition("Action:")
    if not marker:
        return reply.strip()
    lines = after.strip().splitlines()
    return lines[0].strip() if lines else ""
