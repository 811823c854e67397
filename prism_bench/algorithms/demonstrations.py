"""Demonstrations as tokens, by the task they solve, for algorithms that learn from rollouts and demonstrations."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from prism_bench.algorithms.contract import TrainingContext
from prism_bench.data.rendering import IGNORED, Rendered, render_demonstrations
from prism_bench.data.trajectory import Trajectory
from prism_bench.rollouts.episodes import Episode


@dataclass(frozen=True)
class Demonstration:
    """A trajectory and its tokens."""

    trajectory: Trajectory
    rendered: Rendered

    def episode(self) -> Episode:
        """Return the demonstration in the form of a rollout; its log-probabilities are unknown (NaN)."""
        ids, labels = self.rendered.input_ids, self.rendered.labels
        first = next(position for position, label in enumerate(labels) if label != IGNORED)
        mask = [int(label != IGNORED) for label in labels[first:]]
        return Episode(self.trajectory, ids[:first], ids[first:], mask, [float("nan")] * len(mask))


class Demonstrations:
    """Draws demonstrations, of a task or of any.

    Args:
        trajectories: several of them may solve the same task; those without a task id are drawn by :meth:`sample` only.
        context: of the phase; its seed decides the draws.
    """

    def __init__(self, trajectories: Sequence[Trajectory], context: TrainingContext) -> None:
        rendered = render_demonstrations(context.renderer, trajectories, context.meter)
        self.all = [Demonstration(*pair) for pair in zip(trajectories, rendered, strict=True)]
        self.random = np.random.default_rng(context.seed)
        self.by_task: dict[str, list[Demonstration]] = defaultdict(list)
        for demonstration in self.all:
            if demonstration.trajectory.task_id is not None:
                self.by_task[demonstration.trajectory.task_id].append(demonstration)
        self.waiting: list[int] = []

    def export_state(self) -> dict[str, Any]:
        """Return the state of the draws as plain JSON."""
        return {"random": self.random.bit_generator.state, "waiting": self.waiting}

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.random.bit_generator.state = state["random"]
        self.waiting = list(state["waiting"])

    def of_task(self, task_id: str) -> Demonstration | None:
        """Return a random demonstration of a task, or None if there is none."""
        found = self.by_task.get(task_id)
        return found[int(self.random.integers(len(found)))] if found else None

    def sample(self, count: int) -> list[Demonstration]:
        """Return ``count`` demonstrations in random order: all of them once, then all of them once more, and so on."""
        while len(self.waiting) < count:
            self.waiting += self.random.permutation(len(self.all)).tolist()
        numbers, self.waiting = self.waiting[:count], self.waiting[count:]
        return [self.all[number] for number in numbers]
