"""The content of ``result.json``, complete enough that anyone can recompute a run's tables from the file alone.

A run is a list of phases. Its *stages* are ``base``, the model before training, and the names of the phases in their
order; the last one is the final model.

    format, version      the kind of file
    strategy, router     their names as configured; a strategy without a router has null
    config, protocol, versions, seeds
                         the resolved configuration; how the evaluation was done; software; every seed
    selections           the tasks of every part of the run, by its name, see :class:`Selection`
    allocation           {sft, rl}: how many trajectories the router sent to each; null without a router
    phases               in their order, see :class:`PhaseResult`
    success, score       {stage}.{split}.{all, <task type>}.{mean, low, high, n}, of the stages that were evaluated
    paired, paired_score {"<later> - <earlier>"}.{split}.{mean, low, high, n}: differences of success and of score task
                         by task, of every stage to every earlier one; no stage has " - " in its name
    curves               points of the learning curves in their order, see :class:`CurvePoint`
    truncation           by the ledger's phases, see :class:`Truncation`
    ledger               rows of cost, see :class:`prism_bench.accounting.meter.LedgerRow`
    files                other files of the run by name, as paths relative to the result; "demonstrations", in
                         the order of the allocation, "checkpoint <stage>" and "episodes <stage> <split>" are in the
                         cache
    outcomes             one row per evaluated episode, see :class:`prism_bench.results.outcomes.Outcome`

Success, score and both kinds of differences follow from the outcomes, truncation from the ledger. Intervals are those
of :mod:`prism_bench.results.statistics`.
"""

from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import BaseModel, model_validator, with_config

from prism_bench.accounting.meter import StoredRow
from prism_bench.results.outcomes import EXACT, MINUS, Differences, Outcome, Rates

BASE = "base"


@with_config(EXACT)
@dataclass(frozen=True, slots=True)
class Selection:
    """The tasks of one part of a run.

    Attributes:
        split: the split that they are from.
        of: how many tasks the split has.
        tasks: how many were drawn.
        types: how many of each type; None if the environment knows types only after a reset.
        solved: how many the expert solved, and so left a demonstration of; None if no expert was asked.
    """

    split: str
    of: int
    tasks: int
    types: dict[str, int] | None
    solved: int | None = None


@with_config(EXACT)
@dataclass(frozen=True, slots=True)
class Division:
    """Numbers of trajectories that a router sent to SFT and to RL."""

    sft: int
    rl: int


@with_config(EXACT)
@dataclass(frozen=True, slots=True)
class PhaseResult:
    """One phase of training.

    Attributes:
        name: as the strategy calls it.
        algorithm: as configured.
        demonstrations, tasks: how many the algorithm was given.
        updates: of the weights.
        flops: of training with its own rollouts, without the learning curve's.
        ended: ``completed``: after all planned updates; ``budget``: at the first update past ``budget``;
            ``plateau``: a held-out loss stopped falling.
    """

    name: str
    algorithm: str
    demonstrations: int
    tasks: int
    updates: int
    flops: int
    ended: Literal["completed", "budget", "plateau"]


@with_config(EXACT)
@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One point of a learning curve: the policy after some updates of a phase, on a fixed sample of a split.

    Attributes:
        phase, update: when; update 0 is the policy before the phase.
        flops: cumulative, of the router and of all training up to here, earlier phases included. The base stage and
            collection are not counted, since every strategy starts from them, nor is any evaluation.
        success, score: means over the tasks.
        tasks, split: how many tasks, and the split that they are from.
    """

    phase: str
    update: int
    flops: int
    success: float
    score: float
    tasks: int
    split: str


@with_config(EXACT)
@dataclass(frozen=True, slots=True)
class Truncation:
    """Shares of a phase's rollouts that ended early and of its demonstrations that lost steps; None if it had none.

    Attributes:
        context_full: rollouts that ended because the next turn did not fit the context.
        out_of_turns: rollouts that ended at ``max_turns``, before the environment's own limit.
        strayed: rollouts that ended past ``max_inadmissible``.
        lost: rollouts that ended because the environment failed, see :mod:`prism_bench.rollouts.faults`.
        demonstrations_truncated: demonstrations that did not fit the context.
    """

    context_full: float | None
    out_of_turns: float | None
    strayed: float | None
    lost: float | None
    demonstrations_truncated: float | None


class ResultFile(BaseModel):
    """The content of ``result.json``, described at the top of this module."""

    model_config = EXACT

    format: Literal["prism-bench result"]
    version: Literal[5]
    strategy: str
    router: str | None
    config: dict[str, Any]
    protocol: dict[str, Any]
    versions: dict[str, str]
    seeds: dict[str, int]
    selections: dict[str, Selection]
    allocation: Division | None
    phases: list[PhaseResult]
    success: Rates
    score: Rates
    paired: Differences
    paired_score: Differences
    curves: list[CurvePoint]
    truncation: dict[str, Truncation]
    ledger: list[StoredRow]
    files: dict[str, str]
    outcomes: list[Outcome]

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        stages = [BASE, *(phase.name for phase in self.phases)]
        for name in stages:
            if stages.count(name) > 1 or MINUS in name:
                rule = f"names differ from each other and from {BASE!r} and have no {MINUS!r}"
                raise ValueError(f"no phase can be called {name!r}: {rule}")
        used = [("outcomes", outcome.stage) for outcome in self.outcomes]
        used += [("curves", point.phase) for point in self.curves]
        for place, name in used:
            if name not in stages:
                raise ValueError(f"{place}: {name!r} is none of the stages {', '.join(stages)}")
        if (self.router is None) != (self.allocation is None):
            raise ValueError("a run with a router has an allocation, a run without one has none")
        return self
