"""Rejection sampling: rounds of the policy's own rollouts, and SFT on those that succeed (RFT, arXiv 2308.01825).

In each of ``rounds``, the policy rolls out every task ``samples`` times. Rollouts with a reward of at least
``threshold`` become demonstrations, equal ones only once, and the policy is fine-tuned on them; the next round starts
from the new policy. Rollouts and SFT are on the phase's bill.

A run that is interrupted in such a phase starts it again.

Deviations: RFT has one round, and its SFT starts again from the model before it. Several rounds, each from the last
policy, are expert iteration. A round without a success trains nothing, and the next one samples anew.
"""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from prism_bench.algorithms.contract import TrainingContext
from prism_bench.algorithms.sft import SFT
from prism_bench.data.trajectory import Trajectory
from prism_bench.models.policy import Policy, save_policy
from prism_bench.rollouts.backend import Sampling
from prism_bench.rollouts.episodes import Limits
from prism_bench.settings.types import Count, CountFromZero, Positive


class RejectionSampling:
    """Rounds of rollouts and SFT; an :class:`prism_bench.algorithms.contract.Algorithm`.

    Args:
        sft: the algorithm of the fine-tuning.
        rounds: number of rounds.
        samples: rollouts of each task in a round.
        threshold: the least reward of a rollout that becomes a demonstration.
        temperature: of sampling.
        max_turns: turns after which an episode has failed; None for the environment's own limit.
        max_inadmissible: the most actions of an episode that are not admissible; None for any number.
    """

    needs_demonstrations: ClassVar[bool] = False
    needs_tasks: ClassVar[bool] = True
    needs_one_context: ClassVar[bool] = False

    def __init__(
        self,
        *,
        sft: SFT,
        rounds: Count = 3,
        samples: Count = 4,
        threshold: float = 1.0,
        temperature: Positive = 1.0,
        max_turns: Count | None = None,
        max_inadmissible: CountFromZero | None = None,
    ) -> None:
        self.sft = sft
        self.rounds = rounds
        self.samples = samples
        self.threshold = threshold
        self.temperature = temperature
        self.limits = Limits(max_turns, max_inadmissible)

    def train(
        self,
        policy: Policy,
        demonstrations: Sequence[Trajectory],
        tasks: Sequence[str],
        context: TrainingContext,
    ) -> None:
        """Train ``policy`` in place on its own successes; ``demonstrations`` are not used."""
        updates = _Updates(context, self.rounds)
        for number in range(self.rounds):
            if context.over_budget():
                break
            rollouts = self._roll_out(policy, tasks, context, number)
            chosen = self._successes(rollouts)
            rates = {
                "success": float(np.mean([rollout.success for rollout in rollouts])),
                "accepted": float(np.mean([rollout.score >= self.threshold for rollout in rollouts])),
                "demonstrations": float(len(chosen)),
            }
            context.log({f"{context.phase}/{name}": value for name, value in rates.items()}, updates.done)
            if chosen:
                self.sft.train(policy, chosen, [], updates.of_round(number))
        else:
            context.progress(updates.done, updates.done)
        if context.points and updates.evaluated < updates.done:
            context.evaluate(policy, updates.done)

    def _roll_out(
        self, policy: Policy, tasks: Sequence[str], context: TrainingContext, number: int
    ) -> list[Trajectory]:
        seed = int(np.random.SeedSequence([context.seed, number]).generate_state(1)[0])
        sampling = Sampling(self.temperature, context.max_completion_tokens, seed)
        repeated = [task for task in tasks for _ in range(self.samples)]
        checkpoint = context.folder / f"round_{number}"
        save_policy(policy, checkpoint)  # engines in other processes load it from there
        try:
            with context.engine.start(policy, checkpoint, context.renderer.end_token_id) as backend:
                episodes = context.runner.run(
                    backend,
                    repeated,
                    sampling,
                    f"policy:{context.phase} round {number}",
                    context.meter,
                    limits=self.limits,
                )
        finally:
            shutil.rmtree(checkpoint)
        return [episode.trajectory for episode in episodes]

    def _successes(self, rollouts: Sequence[Trajectory]) -> list[Trajectory]:
        """Return the rollouts with enough reward, of equal ones the first."""
        accepted = [rollout for rollout in rollouts if rollout.score >= self.threshold]
        return list({(rollout.task_id, rollout.steps): rollout for rollout in reversed(accepted)}.values())[::-1]


class _Updates:
    """Counter of the updates of all rounds, so that the phase has one update axis."""

    def __init__(self, context: TrainingContext, rounds: int) -> None:
        self.context = context
        self.rounds = rounds
        self.done = 0
        self.evaluated = 0

    def of_round(self, number: int) -> TrainingContext:
        """Return the context for the SFT of a round, with its share of the learning curve's points."""
        context, before = self.context, self.done
        points = context.points * (number + 1) // self.rounds - context.points * number // self.rounds

        def progress(done: int, planned: int) -> None:
            self.done = before + done
            context.progress(self.done, before + planned * (self.rounds - number))

        def evaluate(policy: Policy, update: int) -> None:
            self.evaluated = before + update
            context.evaluate(policy, self.evaluated)

        return replace(
            context,
            seed=context.seed + number,
            points=points,
            unfinished=None,  # an interrupted phase starts again with its first round
            log=lambda values, update: context.log(values, before + update),
            progress=progress,
            evaluate=evaluate,
        )
