"""Episodes as compressed JSON for the page, small enough for a file that one sends to others.

Every text stands once, in a list, and steps refer to it by number: policies see the same observations again and again.
"""

import base64
import gzip
import json
from dataclasses import asdict, replace
from typing import Any

from prism_bench.comparison.episodes import Episodes
from prism_bench.data.trajectory import Step, Trajectory

PACKED_BYTES = 5 * 2**20
"""Size of the compressed episodes; with more, fewer tasks are shown."""

TEXT_LENGTH = 4000
"""Characters of an observation or an action; longer ones are shortened."""


def packed_episodes(episodes: Episodes) -> tuple[str, Episodes]:
    """Return the episodes as compressed JSON in base64, and those of them that are in it."""
    while True:
        content = json.dumps(_plain(episodes), separators=(",", ":"), allow_nan=False)
        packed = gzip.compress(content.encode(), 9, mtime=0)
        if len(packed) <= PACKED_BYTES or max(len(episodes.evaluated), len(episodes.demonstrations)) <= 1:
            return base64.b64encode(packed).decode(), episodes
        note = "Some tasks are left out, so that the page stays small."
        notes = [*(each for each in episodes.notes if each != note), note]
        episodes = replace(
            episodes, evaluated=episodes.evaluated[::2], demonstrations=episodes.demonstrations[::2], notes=notes
        )


def _plain(episodes: Episodes) -> dict[str, Any]:
    """Return episodes as plain data, in which every text stands once and steps refer to it by number."""
    texts: dict[str, int] = {}

    def number(text: str) -> int:
        left = len(text) - TEXT_LENGTH
        return texts.setdefault(text if left <= 0 else f"{text[:TEXT_LENGTH]}… ({left} more characters)", len(texts))

    def completion(step: Step) -> int:
        said = step.completion
        return -1 if said is None or said.strip() == step.action.strip() else number(said)

    def steps(episode: Trajectory) -> dict[str, Any]:
        rows = [
            [number(step.observation), number(step.action), round(step.reward, 6), completion(step)]
            for step in episode.steps
        ]
        return {"success": episode.success, "score": round(episode.score, 6), "steps": rows}

    return {
        "policies": [asdict(policy) for policy in episodes.policies],
        "evaluated": [
            {
                "split": task.split,
                "task": task.task_id,
                "type": task.task_type,
                "episodes": {policy: steps(episode) for policy, episode in task.episodes.items()},
            }
            for task in episodes.evaluated
        ],
        "demonstrations": [
            {
                "task": str(each.trajectory.task_id or "without a task id"),
                "type": str(each.trajectory.task_type),
                "decisions": each.decisions,
                "episodes": {0: steps(each.trajectory)},
            }
            for each in episodes.demonstrations
        ],
        "texts": list(texts),  # last: the lines above fill it
    }
