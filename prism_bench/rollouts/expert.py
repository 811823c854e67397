"""Episodes of an environment's own expert."""

import functools
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from prism_bench.accounting.meter import Meter
from prism_bench.data.trajectory import Step, Trajectory
from prism_bench.environments.contract import Expert, TextEnvironment
from prism_bench.rollouts.answers import Environment, lost, reset, step
from prism_bench.rollouts.faults import FaultRules
from prism_bench.rollouts.pool import Faults


def run_expert(
    environment: Environment,
    name: str,
    task_ids: Sequence[str],
    meter: Meter,
    keep_admissible: bool = False,
    on_episode: Callable[[int], None] = lambda finished: None,
    rules: FaultRules | None = None,
    make: Callable[[], Environment] | None = None,
) -> list[Trajectory]:
    """Roll out every task once with the environment's expert ``name`` and return all episodes, failures included.

    Args:
        environment: with the expert; the caller closes it.
        keep_admissible: keep the admissible actions of every step.
        on_episode: called with the number of finished episodes.
        rules: decide what a failure of the environment costs.
        make: makes the environment that replaces one that failed; None to reset the same one.

    Raises:
        InputError: too many episodes are lost because the environment fails.
    """
    rules = rules or FaultRules()
    faults, trajectories = Faults(rules), []
    with ExitStack() as replacements:
        for number, task_id in enumerate(task_ids, start=1):
            trajectory = _roll_out(environment, name, task_id, faults, keep_admissible)
            found = faults.take()
            if found and make is not None:
                replacements.close()
                environment = make()
                replacements.callback(faults.discard, environment)
            meter.add(env_steps=len(trajectory.steps), episodes=1, **found)
            rules.check_lost(meter.spent.lost_episodes, len(task_ids))
            trajectories.append(trajectory)
            on_episode(number)
    return trajectories


def _roll_out(environment: Environment, name: str, task_id: str, faults: Faults, keep_admissible: bool) -> Trajectory:
    base = environment.unwrapped
    assert isinstance(base, TextEnvironment)
    source = f"expert:{name}"
    answer = faults.ask(lambda: reset(environment, task_id), task_id, 0)
    if answer is None:
        return Trajectory(task_id, None, source, (Step("", "", 0.0),), 0.0, False)
    expert: Expert = base.expert(name)
    expert.reset(answer.observation, answer.info)
    steps: list[Step] = []
    while not answer.over:
        shown, action = answer, expert.act(answer.observation, answer.info)
        admissible = tuple(shown.info["admissible_actions"]) if keep_admissible else ()
        number, task_type = len(steps) + 1, shown.info["task_type"]
        answer = faults.ask(functools.partial(step, environment, action), task_id, number)
        answer = answer or lost(task_id, number, task_type)
        steps.append(Step(shown.observation, action, answer.reward, None, admissible))
    info = answer.info
    return Trajectory(
        task_id,
        info["task_type"],
        source,
        tuple(steps),
        float(info["score"]),
        bool(info["success"]),
        regime=info.get("regime"),
    )
