"""Share of a slow environment's time that is hidden: the same episodes in four ways, in one run.

    python benchmarks/slow_environments.py

An untrained model of the default size acts in ALFWorld. Every step takes 1 to 50 milliseconds more: mostly few,
sometimes many (Pareto, shape 1, capped), with the same delays each time. The time without delays is the policy's own.
"""

import time
import zlib
from functools import partial
from typing import Any

import gymnasium
import numpy as np

from prism_bench.rollouts.answers import Answer, Environment
from prism_bench.rollouts.workers import WorkerEnvironments

ID, SLOWEST_MS = "envs.alfworld:prism_bench/ALFWorld-v0", 50.0
EPISODES, PLACES, TURNS = 64, 16, 10


class Slow(gymnasium.Wrapper):
    """Environment with a delay in each step, which depends on task and turn alone."""

    def reset(self, **options: Any) -> Any:
        observation, info = self.env.reset(**options)
        self.delays = np.random.default_rng(zlib.crc32(info["task_id"].encode()))
        return observation, info

    def step(self, action: str) -> Any:
        time.sleep(min(1 + self.delays.pareto(1.0), SLOWEST_MS) / 1000)
        return self.env.step(action)


def make(slow: bool) -> Environment:
    environment = gymnasium.make(ID, split="train")
    return Slow(environment) if slow else environment


class Lockstep(WorkerEnvironments):
    """Environments that answer when all have answered, as in Gymnasium's ``AsyncVectorEnv``."""

    def answers(self, wait: bool) -> dict[int, Answer]:
        answers: dict[int, Answer] = {}
        while more := super().answers(wait or bool(answers)):
            answers |= more
        return answers


def main() -> None:
    """Roll out and print."""
    from hydra import compose, initialize_config_dir
    from hydra.utils import instantiate
    from rich import print as show
    from rich.table import Table

    from prism_bench.accounting.meter import Meter
    from prism_bench.commands.hydra_command import CONF, quieten
    from prism_bench.data.rendering import Renderer
    from prism_bench.models.scratch import create_policy
    from prism_bench.rollouts import backend, episodes, transformers_backend
    from prism_bench.rollouts.expert import run_expert

    quieten()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config")
    tasks = make(False).unwrapped.task_ids[:EPISODES]
    shown = run_expert(make(False), "search", tasks, Meter("collect"))
    model = instantiate(config.model, _convert_="object")
    policy = create_policy(model, (t for e in shown for s in e.steps for t in (s.observation, s.action)), seed=0)
    renderer, sampling = Renderer(policy.tokenizer, instantiate(config.prompt), 1024), backend.Sampling(0.0, 8)
    seconds, played = {}, []
    for way in (
        "no delays",
        "in this process",
        "processes, all wait for the slowest",
        "processes, served as they answer",
    ):
        with episodes.RolloutRunner(partial(make, way != "no delays"), renderer, PLACES) as runner:
            if way.startswith("processes"):
                runner.environments = (Lockstep if "slowest" in way else WorkerEnvironments)(partial(make, True))
            engine = transformers_backend.TransformersBackend(policy.model, renderer.end_token_id)
            runner.run(engine, tasks[:PLACES], sampling, "", Meter("eval"), limits=episodes.Limits(1))  # all start
            start = time.perf_counter()
            played.append(runner.run(engine, tasks, sampling, "", Meter("eval"), limits=episodes.Limits(TURNS)))
            seconds[way] = time.perf_counter() - start
    assert all([e.completion_ids for e in played[0]] == [e.completion_ids for e in other] for other in played[1:])
    table = Table("environments", "seconds", "times as fast", title=f"{EPISODES} episodes, {PLACES} at once")
    for way, taken in seconds.items():
        table.add_row(way, f"{taken:.2f}", f"{seconds['in this process'] / taken:.2f}")
    show(table)


if __name__ == "__main__":
    from slow_environments import main  # by the name under which other processes can import the classes above

    main()
