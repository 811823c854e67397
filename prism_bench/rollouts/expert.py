"""Episodes of an environment's own expert."""

from collections.abc import Callable, Sequence

from prism_bench.accounting.ledger import Meter
from prism_bench.data.trajectory import Step, Trajectory
from prism_bench.environments.contract import Expert, TextEnvironment
from prism_bench.rollouts.pool import Environment


def run_expert(
    environment: Environment,
    name: str,
    task_ids: Sequence[str],
    meter: Meter,
    keep_admissible: bool = False,
    on_episode: Callable[[int], None] = lambda finished: None,
) -> list[Trajectory]:
    """Roll out every task once with the environment's expert ``name`` and return all episodes, failures included."""
    base = environment.unwrapped
    assert isinstance(base, TextEnvironment)
    trajectories = []
    for number, task_id in enumerate(task_ids, start=1):
        observation, info = environment.reset(options={"task_id": task_id})
        expert: Expert = base.expert(name)
        expert.reset(observation, info)
        steps: list[Step] = []
        ended = False
        while not ended:
            action = expert.act(observation, info)
            shown = observation, tuple(info["admissible_actions"]) if keep_admissible else ()
            observation, reward, terminated, truncated, info = environment.step(action)
            steps.append(Step(shown[0], action, float(reward), None, shown[1]))
            ended = terminated or truncated
        trajectories.append(
            Trajectory(task_id, info["task_type"], f"expert:{name}", tuple(steps), info["score"], info["success"])
        )
        meter.add(env_steps=len(steps), episodes=1)
        on_episode(number)
    return trajectories
