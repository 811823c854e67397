"""The contract of a training algorithm: one method that trains a policy in place.

An algorithm is made from a file of ``conf/algorithm``. It trains on demonstrations (trajectories), on tasks (by
rollouts), or on both, and says which it needs. Everything that algorithms share comes in one :class:`TrainingContext`.
A strategy (``conf/strategy``) decides which algorithm gets which part of the data.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from prism_bench.accounting.meter import Meter
from prism_bench.data.rendering import Renderer
from prism_bench.data.trajectory import Trajectory
from prism_bench.models.policy import Policy
from prism_bench.rollouts.backend import Engine
from prism_bench.rollouts.episodes import RolloutRunner


class Unfinished(Protocol):
    """The place for checkpoints of a phase, and the state of its stage."""

    @property
    def folder(self) -> Path:
        """The folder for checkpoints; it is removed when the phase has ended."""

    def export_state(self) -> dict[str, Any]:
        """Return the state of the stage as plain JSON."""

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""


@dataclass(frozen=True)
class TrainingContext:
    """Everything an algorithm needs beside policy and data.

    Attributes:
        phase: the phase's name, with which the keys of logged values begin (``sft/loss``).
        renderer: turns trajectories into tokens and labels for the policy's tokenizer.
        runner: rolls out train tasks in the environment.
        engine: generates completions, inside a TRL trainer too.
        max_completion_tokens: the most tokens of one completion.
        meter: the phase's row in the ledger; every forward and backward pass and every rollout is charged to it.
        seed: of every random choice.
        folder: for files of a trainer; nothing that is needed later is left there.
        log: takes values and the number of updates done.
        progress: takes the updates done and planned.
        evaluate: takes the policy and the number of updates done, rolls out a fixed sample of a validation split and
            adds a point to the learning curve. The cost is charged elsewhere.
        points: how many points the learning curve of this phase has; 0 for none.
        unfinished: for checkpoints (:mod:`prism_bench.algorithms.checkpoints`), from which an interrupted run
            continues; None for none. An algorithm that writes none starts the phase again.
        over_budget: returns True once the phase has spent what it may; it ends at the first update after that.
    """

    phase: str
    renderer: Renderer
    runner: RolloutRunner
    engine: Engine
    max_completion_tokens: int
    meter: Meter
    seed: int
    folder: Path
    log: Callable[[Mapping[str, float], int], None] = lambda values, update: None
    progress: Callable[[int, int], None] = lambda done, planned: None
    evaluate: Callable[[Policy, int], None] = lambda policy, update: None
    points: int = 0
    unfinished: Unfinished | None = None
    over_budget: Callable[[], bool] = lambda: False


class Algorithm(Protocol):
    """A training algorithm.

    Attributes:
        needs_demonstrations, needs_tasks: the data that a phase has to provide; a run refuses other data at its start.
        needs_one_context: whether an episode has to be one growing context, so that ``prompt.last_turns`` is refused.
    """

    needs_demonstrations: ClassVar[bool]
    needs_tasks: ClassVar[bool]
    needs_one_context: ClassVar[bool]

    def train(
        self,
        policy: Policy,
        demonstrations: Sequence[Trajectory],
        tasks: Sequence[str],
        context: TrainingContext,
    ) -> None:
        """Train ``policy`` in place."""
