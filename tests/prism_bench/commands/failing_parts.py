"""An environment, a router and an algorithm with a bug deep inside, and a router that refuses its input."""

from collections.abc import Sequence
from typing import Any

import gymnasium

from prism_bench.algorithms.contract import TrainingContext
from prism_bench.algorithms.sft import SFT
from prism_bench.errors import InputError
from prism_bench.models.policy import Policy
from prism_bench.routing.prism import PrismRouter


def deep_inside() -> Any:
    raise ValueError("matrices do not fit")


class ThirdEpisodeFails(gymnasium.Wrapper[str, str, str, str]):
    """Environment with the bug in every third episode."""

    episodes = 0

    def reset(self, **arguments: Any) -> Any:
        self.episodes += 1
        return self.env.reset(**arguments)

    def step(self, action: str) -> Any:
        return deep_inside() if self.episodes == 3 else self.env.step(action)


def make_environment(**settings: Any) -> gymnasium.Env[str, str]:
    return ThirdEpisodeFails(gymnasium.make(**settings))


class FailingRouter(PrismRouter):
    def measure(self, trajectories: Any, context: Any) -> None:
        context.progress(5)
        deep_inside()


class RefusingRouter(PrismRouter):
    def measure(self, trajectories: Any, context: Any) -> None:
        raise InputError("these trajectories have no such score; choose another router")


class SilentRouter(PrismRouter):
    """Rolls out tasks, and does not say so."""

    def measure(self, trajectories: Any, context: Any) -> None:
        context.rollouts([trajectory.task_id for trajectory in trajectories], 1)


class FailingAlgorithm(SFT):
    def train(self, policy: Policy, demonstrations: Sequence[Any], tasks: Any, context: TrainingContext) -> None:
        context.progress(3, 8)
        deep_inside()


class BreakingAlgorithm(SFT):
    """Leaves numbers in the weights that are not finite, without a loss that says so."""

    def train(self, policy: Policy, demonstrations: Sequence[Any], tasks: Any, context: TrainingContext) -> None:
        context.progress(3, 8)
        next(policy.model.parameters()).data[0] = float("inf")
