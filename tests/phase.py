"""A phase of training, for tests: the context that algorithms are given, and a record of their calls."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import torch

from prism_bench.accounting.meter import Meter
from prism_bench.algorithms.contract import Algorithm, TrainingContext
from prism_bench.data.prompts import ActionPrompt
from prism_bench.data.rendering import Renderer
from prism_bench.data.trajectory import Step, Trajectory
from prism_bench.models.policy import Policy
from prism_bench.rollouts.backend import Engine
from prism_bench.rollouts.episodes import Episode, RolloutRunner
from prism_bench.rollouts.transformers_backend import TransformersEngine


class RecordingRunner(RolloutRunner):
    """A runner that remembers what it was asked for and what it returned."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.asked: list[list[str]] = []
        self.episodes: list[list[Episode]] = []

    def run(self, backend: Any, task_ids: Sequence[str], *args: Any, **kwargs: Any) -> list[Episode]:
        self.asked.append(list(task_ids))
        self.episodes.append(super().run(backend, task_ids, *args, **kwargs))
        return self.episodes[-1]


class Phase:
    """The context of a phase for ``policy``, and everything a test wants to know about its training."""

    def __init__(
        self,
        policy: Policy,
        folder: Path,
        make_environment: Callable[[], gymnasium.Env[str, str]],
        *,
        name: str = "phase",
        max_length: int = 200,
        engine: Engine | None = None,
        seed: int = 5,
        batch_size: int = 16,
        evaluate: Callable[[Policy, int], None] = lambda policy, update: None,
        flops_budget: float = float("inf"),
        meter: Meter | None = None,
        **options: Any,
    ) -> None:
        self.policy = policy
        self.name = name
        self.meter = meter or Meter(name)
        self.logged: list[dict[str, float]] = []
        self.progress: list[tuple[int, int]] = []
        self.evaluated: list[int] = []
        renderer = Renderer(policy.tokenizer, ActionPrompt(), max_length)
        self.runner = RecordingRunner(make_environment, renderer, batch_size)

        def point(policy: Policy, update: int) -> None:
            self.evaluated.append(update)
            evaluate(policy, update)

        self.context = TrainingContext(
            phase=name,
            renderer=renderer,
            runner=self.runner,
            engine=engine or TransformersEngine(),
            max_completion_tokens=4,
            meter=self.meter,
            seed=seed,
            folder=folder,
            log=lambda values, update: self.logged.append(dict(values)),
            progress=lambda done, planned: self.progress.append((done, planned)),
            evaluate=point,
            over_budget=lambda: self.meter.spent.flops > flops_budget,
            **options,
        )

    def train(
        self, algorithm: Algorithm, demonstrations: Sequence[Trajectory] = (), tasks: Sequence[str] = ()
    ) -> "Phase":
        algorithm.train(self.policy, demonstrations, tasks, self.context)
        return self

    @property
    def all_episodes(self) -> list[Episode]:
        return [episode for batch in self.runner.episodes for episode in batch]

    def values(self, name: str) -> list[float]:
        key = f"{self.name}/{name}"
        return [values[key] for values in self.logged if key in values]


def probability(policy: Policy, observation: str, action: str) -> float:
    """Return the probability of ``action`` as the answer to the first ``observation``."""
    renderer = Renderer(policy.tokenizer, ActionPrompt(), 200)
    prompt, completion = renderer.prompt_ids(observation), renderer.completion(Step(observation, action, 0.0))
    policy.model.eval()
    with torch.no_grad():
        logits = policy.model(input_ids=torch.tensor([prompt + completion])).logits[0]
    scores = torch.log_softmax(logits, dim=-1)[len(prompt) - 1 : -1]
    return float(scores[range(len(completion)), completion].sum().exp())
