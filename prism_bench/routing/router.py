"""The contract of a router, and the split every router shares.

A router sends each demonstration to SFT, or its task to RL. One orientation holds for all routers: *a high score goes
to RL*. They also share the split, so that a comparison of routers compares scores and nothing else.

A router works in two steps, so that another split does not score again. ``measure`` has the policy, does all that is
expensive and writes files; ``route`` has these files and decides. Routers that read the same files inherit ``measure``
from one class that is no router, a :class:`Measurement`; the second of them finds what the first has measured. Where a
router measures itself, a setting that only the second step reads is marked :class:`prism_bench.marks.AfterMeasuring`;
the first step gets a router on which it has its default.

PRISM (arXiv 2601.07224) splits at the corpus median; scores at or below it go to SFT. With tied scores its two parts
can differ in size; ``ties="paper"`` does that, the default ``ties="random"`` sends exactly ``round(quantile * n)``
trajectories to SFT and orders tied ones by a seeded random key.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Protocol

import numpy as np

from prism_bench.accounting.meter import Meter
from prism_bench.data.rendering import Renderer
from prism_bench.data.trajectory import Trajectory
from prism_bench.errors import InputError
from prism_bench.files import write_atomically
from prism_bench.marks import AfterMeasuring
from prism_bench.models.policy import Policy
from prism_bench.routing.allocation import Allocation
from prism_bench.settings.types import Fraction

SCORES = "scores.json"


@dataclass(frozen=True)
class RoutingContext:
    """Policy, rollouts and other resources for a measurement.

    Attributes:
        policy: the frozen base model; a router must leave its weights and gradients as they are.
        renderer: turns trajectories into the tokens and labels that SFT will train on.
        rollouts: ``rollouts(task_ids, k)`` rolls out every task k times with the base policy, under the limits of
            training, and returns k episodes per task; refused to a measurement that does not need tasks.
        meter: the ledger's row of this phase; the cost of ``rollouts`` and of the probe is charged to it.
        seed: for every random choice.
        folder: for files worth keeping.
        progress: called with the number of trajectories scored so far.
    """

    policy: Policy
    renderer: Renderer
    rollouts: Callable[[Sequence[str], int], list[list[Trajectory]]]
    meter: Meter
    seed: int
    folder: Path
    progress: Callable[[int], None] = lambda scored: None


class Measurement(Protocol):
    """The expensive step of routing: anything that measures trajectories under the base model.

    Attributes:
        draws: whether the context's seed or its rollouts are used. Without them all seeds share one measurement.
        needs_tasks: whether it gets rollouts, whose settings then count for it, and trajectories without a task id are
            refused.
    """

    draws: ClassVar[bool]
    needs_tasks: ClassVar[bool]

    def measure(self, trajectories: Sequence[Trajectory], context: RoutingContext) -> None:
        """Write the files into ``context.folder`` that :meth:`Router.route` needs."""


class Router(Measurement, Protocol):
    """A router: anything with these two steps.

    Attributes:
        needs_projections: whether a model is refused in whose layers the probe finds no projections.
    """

    needs_projections: ClassVar[bool]

    def route(self, trajectories: Sequence[Trajectory], measured: Path, folder: Path, seed: int) -> Allocation:
        """Return the allocation of ``trajectories``.

        Args:
            measured: folder that ``measure`` filled for the same trajectories.
            folder: for further files worth keeping.
            seed: for every random choice.
        """


@dataclass(frozen=True)
class SplitRouter(ABC):
    """A router that splits at a quantile of its scores, which it reads from a measurement.

    Attributes:
        quantile: share of the trajectories that goes to SFT.
        ties: ``random`` for exact shares, ``paper`` for ``score <= quantile of the scores``.
        reverse: send low scores to RL instead of high ones.
    """

    draws: ClassVar[bool] = True
    needs_tasks: ClassVar[bool] = False
    needs_projections: ClassVar[bool] = False

    quantile: Annotated[Fraction, AfterMeasuring()] = 0.5
    ties: Annotated[Literal["random", "paper"], AfterMeasuring()] = "random"
    reverse: Annotated[bool, AfterMeasuring()] = False

    @abstractmethod
    def measure(self, trajectories: Sequence[Trajectory], context: RoutingContext) -> None:
        """Write the files into ``context.folder`` that :meth:`read_scores` reads."""

    @abstractmethod
    def read_scores(self, measured: Path) -> tuple[np.ndarray, Mapping[str, Any]]:
        """Return one score per trajectory, and what the scores depend on, from a folder of :meth:`measure`."""

    def route(self, trajectories: Sequence[Trajectory], measured: Path, folder: Path, seed: int) -> Allocation:
        return self.divide(*self.read_scores(measured), seed)

    def divide(self, scores: np.ndarray, identity: Mapping[str, Any], seed: int) -> Allocation:
        """Return the split of trajectories with these scores."""
        return split(scores, quantile=self.quantile, ties=self.ties, reverse=self.reverse, seed=seed, identity=identity)


@dataclass(frozen=True)
class ScoreRouter(SplitRouter):
    """A router whose measurement is the scores themselves. A new one defines only :meth:`score`."""

    @abstractmethod
    def score(
        self, trajectories: Sequence[Trajectory], context: RoutingContext
    ) -> tuple[np.ndarray, Mapping[str, Any]]:
        """Return one score per trajectory, and what the scores depend on; the settings of the split are not read."""

    def measure(self, trajectories: Sequence[Trajectory], context: RoutingContext) -> None:
        scores, identity = self.score(trajectories, context)
        if np.shape(scores) != (len(trajectories),):
            raise InputError(
                f"{type(self).__name__}.score returned an array of shape {np.shape(scores)} for {len(trajectories)} "
                "trajectories; it has to return one number for each"
            )
        content = {"identity": identity, "scores": np.asarray(scores, dtype=float).tolist()}
        write_atomically(context.folder / SCORES, json.dumps(content, indent=1) + "\n")

    def read_scores(self, measured: Path) -> tuple[np.ndarray, Mapping[str, Any]]:
        content = json.loads((measured / SCORES).read_text(encoding="utf-8"))
        return np.array(content["scores"]), content["identity"]


def split(
    scores: np.ndarray | Sequence[float],
    *,
    quantile: float = 0.5,
    ties: Literal["random", "paper"] = "random",
    reverse: bool = False,
    seed: int = 0,
    identity: Mapping[str, Any] | None = None,
) -> Allocation:
    """Send the lowest ``quantile`` of ``scores`` to SFT and the rest to RL.

    With ``reverse`` the highest go to SFT; with the same seed it is the exact mirror image, tied scores included.

    Raises:
        InputError: a score is not a finite number, an option is unknown, or SFT or RL would get nothing.
    """
    values = np.asarray(scores, dtype=float)
    if not np.isfinite(values).all():
        bad = int(np.flatnonzero(~np.isfinite(values))[0])
        raise InputError(f"trajectory {bad} has the score {values[bad]}, which cannot be ordered")
    if not 0.0 < quantile < 1.0:
        raise InputError(f"quantile={quantile} leaves SFT or RL without data; choose a value between 0 and 1")
    if ties not in ("random", "paper"):
        raise InputError(f"ties={ties!r} is unknown; choose random or paper")
    key = -values if reverse else values
    if ties == "paper":
        low = key <= np.quantile(key, quantile) if len(key) else np.zeros(0, dtype=bool)
    else:
        tie_breaker = np.random.default_rng(seed).permutation(len(key))
        order = np.lexsort((-tie_breaker if reverse else tie_breaker, key))
        low = np.zeros(len(key), dtype=bool)
        low[order[: round(quantile * len(key))]] = True
    if low.all() or not low.any():
        empty = "rl" if len(key) and low.all() else "sft"
        raise InputError(
            f"the split leaves no trajectory for {empty} ({len(key)} trajectories, quantile {quantile}, ties {ties}): "
            "collect more trajectories, or use ties=random where many scores are equal"
        )
    boundary = float(key[low].max())
    return Allocation(
        stages=tuple("sft" if is_low else "rl" for is_low in low),
        scores=tuple(values.tolist()),
        threshold=-boundary if reverse else boundary,
        tied_at_threshold=int((key == boundary).sum()),
        identity=dict(identity or {}),
    )
