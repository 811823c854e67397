"""Demonstrations by the task they solve, for algorithms that learn from rollouts and demonstrations at once."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prism_bench.data.rendering import IGNORED, Rendered, Renderer
from prism_bench.data.trajectory import Trajectory
from prism_bench.rollouts.episodes import Episode


@dataclass(frozen=True)
class Demonstration:
    """A trajectory and its tokens, which end where the context is full."""

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
        renderer: of the policy's tokenizer and prompt.
        seed: of the draws.
    """

    def __init__(self, trajectories: Sequence[Trajectory], renderer: Renderer, seed: int) -> None:
        self.renderer = renderer
        self.trajectories = list(trajectories)
        self.random = np.random.default_rng(seed)
        self.by_task: dict[str, list[int]] = defaultdict(list)
        for number, trajectory in enumerate(self.trajectories):
            if trajectory.task_id is not None:
                self.by_task[trajectory.task_id].append(number)
        self.waiting: list[int] = []

    def of_task(self, task_id: str) -> Demonstration | None:
        """Return a random demonstration of a task, or None where there is none."""
        numbers = self.by_task.get(task_id)
        return self._render(numbers[int(self.random.integers(len(numbers)))]) if numbers else None

    def sample(self, count: int) -> list[Demonstration]:
        """Return ``count`` demonstrations in random order: all of them once, then all of them once more, and so on."""
        while len(self.waiting) < count:
            self.waiting += self.random.permutation(len(self.trajectories)).tolist()
        numbers, self.waiting = self.waiting[:count], self.waiting[count:]
        return [self._render(number) for number in numbers]

    def _render(self, number: int) -> Demonstration:
        trajectory = self.trajectories[number]
        return Demonstration(trajectory, self.renderer.render(trajectory))
