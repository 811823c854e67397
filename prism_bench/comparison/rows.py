"""Rows of the tables of a comparison."""

from dataclasses import dataclass
from typing import Literal

Quantity = Literal["success", "score"]
Verdict = Literal["better", "worse", "not told apart", "one seed"]

ALL = "all"
"""In place of a task type: the mean over all of them."""

FINAL = "final"
"""In place of a stage: the last one of a run."""

METHOD = "method"
"""In place of a phase: routing and all training, without what configurations share and without evaluation."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Success or score of a configuration at a stage: ``base``, ``final``, or after a phase before the last one.

    Those in between are the success on all task types.
    """

    configuration: str
    stage: str
    split: str
    quantity: Quantity
    task_type: str
    values: dict[int, float]  # by seed
    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """The policy of a configuration against that of its baseline.

    Attributes:
        stage: of both policies: ``final``, or the phase that they come from.
        values: by seed, for the seeds that both have.
        p: corrected by Holm's method over all rows of the table; None with one seed.
        smallest: the difference that these seeds and tasks would show with a power of 80 %, 1 if none would; None with
            one seed.
        improvement: the probability that a run of the configuration beats one of the baseline.
    """

    configuration: str
    baseline: str
    stage: str
    split: str
    quantity: Quantity
    task_type: str
    values: dict[int, float]
    mean: float
    low: float
    high: float
    p: float | None
    smallest: float | None
    improvement: float
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Ratio:
    """A geometric mean over ``n`` seeds, and Student's interval over the logarithms; no ends with one seed."""

    mean: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, slots=True)
class Saving:
    """FLOPs to the target success, the router's included, from the learning curves.

    Attributes:
        flops: by seed; None for a run that did not reach it.
        times_reference, times_baseline: how many times as much the reference and the baseline needed, over the seeds in
            which both reached it; None if there are none.
    """

    configuration: str
    flops: dict[int, int | None]
    mean: float | None
    times_reference: Ratio | None
    times_baseline: Ratio | None


@dataclass(frozen=True, slots=True)
class Value:
    """The share that a configuration gains of what its oracle gains, over the baseline of both."""

    configuration: str
    oracle: str
    split: str
    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Cost:
    """Means over the runs of a configuration of everything that a phase cost; ``phase`` ``method`` is routing and
    training together, without what all configurations share (collection, base stage) and without evaluation."""

    configuration: str
    phase: str
    quantities: dict[str, float]


@dataclass(frozen=True, slots=True)
class Kind:
    """The share of the trajectories of a task type that a router sends to RL, over all seeds."""

    configuration: str
    task_type: str
    trajectories: int
    to_rl: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two routers on the same trajectories: shares of equal decisions and rank correlation of scores, over seeds."""

    first: str
    second: str
    seeds: int
    same: float
    correlation: float | None


@dataclass(frozen=True, slots=True)
class Tables:
    """Everything that follows from the runs."""

    rates: list[Rate]
    differences: list[Difference]  # of final policies
    earlier: list[Difference]  # of success after the phases that both sides have before their last
    savings: list[Saving]
    values: list[Value]  # empty where there is no oracle, or none that gains
    costs: list[Cost]
    front: dict[str, list[str]]  # by split: configurations that no other one beats in final success at fewer FLOPs
    kinds: list[Kind]
    agreements: list[Agreement]
    protocols: list[str]  # settings of the protocol in which runs differ: they are not comparable as they are
