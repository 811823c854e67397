"""A check of any environment against the contract of :mod:`prism_bench.environments.contract`.

    check_environment("my_package:my_package/MyWorld-v0", split="train", expert="search")
    check_environment(lambda: TimeLimit(MyEnvironment(), 20))

A violation raises :class:`ContractViolationError` with one sentence on the fault and the contract. Only a few tasks of
a long list are tried.
"""

import contextlib
import copy
import functools
import json
import random
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import TimeLimit

from prism_bench.environments.checked_calls import (
    ContractViolationError,
    Env,
    Transition,
    listed_tasks,
    never_raises,
    require,
    reset,
    step,
)
from prism_bench.environments.contract import UnknownTaskError
from prism_bench.errors import InputError

STRANGE_ACTIONS = (
    "",
    " ",
    "\n",
    "no such action",
    "LOOK",
    "näive 测试 \U0001f600",
    "\x00",
    "{r.name}",
    "%s %d",
    "a " * 5000,
)
MOST_STEPS = 1000  # a larger step limit is not tried


def check_environment(
    make: Callable[[], gymnasium.Env[Any, Any]] | str,
    *,
    tasks: int = 3,
    seed: int = 0,
    expert: str | None = None,
    expert_success: float = 1.0,
    **options: Any,
) -> None:
    """Raise if the environment violates the contract.

    Args:
        make: returns the environment with its step limit, as the harness makes it; called twice, to compare. Or a
            Gymnasium id, which takes ``options``.
        tasks: number of tasks that are tried.
        seed: draws these tasks and the actions in them.
        expert: name of an expert that has to solve those tasks.
        expert_success: the share of them that it has to solve.

    Raises:
        ContractViolationError: the first violation found.
    """
    build = functools.partial(gymnasium.make, make, **options) if isinstance(make, str) else make
    with contextlib.closing(build()) as env, contextlib.closing(build()) as twin:
        _check_spaces(env)
        task_ids = _check_task_ids(env, twin)
        _check_protocol(env, twin)
        _check_drawing(env, twin, seed)
        chosen = random.Random(seed).sample(range(len(task_ids)), k=min(tasks, len(task_ids)))
        for task_id in (task_ids[index] for index in chosen):
            _check_determinism(env, twin, task_id, seed)
            _check_strange_actions(env, task_id, seed)
        first = task_ids[chosen[0]]
        _check_limit(env, first, seed)
        _check_refusals(env, task_ids[0])
        if expert is not None:
            _check_expert(env, [task_ids[index] for index in chosen], expert, expert_success, seed)
        _check_gymnasium(env)


def _check_spaces(env: Env) -> None:
    for name in ("observation_space", "action_space"):
        space = getattr(env, name, None)
        for text in STRANGE_ACTIONS:
            require(
                isinstance(space, gymnasium.Space) and text in space,
                f"{name} does not contain the text {text[:20]!r}; use prism_bench.environments.contract.TextSpace",
            )


def _check_task_ids(env: Env, twin: Env) -> list[str]:
    task_ids = listed_tasks(env)
    require(len(task_ids) > 0, "task_ids is missing or empty; it has to list the tasks of the split")
    require(all(isinstance(task_id, str) for task_id in task_ids), "task_ids has an entry that is no string")
    require(len(set(task_ids)) == len(task_ids), "task_ids names a task twice")
    require(
        listed_tasks(twin) == task_ids,
        "task_ids differs between two environments made alike; the order has to be fixed",
    )
    return task_ids


def _check_protocol(env: Env, twin: Env) -> None:
    with never_raises("protocol()"):
        written = [json.dumps(layer.unwrapped.protocol(), sort_keys=True) for layer in (env, twin)]  # type: ignore[attr-defined]
    require(written[0] == written[1], "protocol() differs between two environments made alike")


def _check_drawing(env: Env, twin: Env, seed: int) -> None:
    def draw(environment: Env, first: int, count: int) -> list[str]:
        seeds = [first, *[None] * (count - 1)]
        return [reset(environment, None, s)[1]["task_id"] for s in seeds]

    drawn = draw(env, seed, 4)
    require(drawn == draw(env, seed, 4), "the same seed draws other tasks the second time; draw from np_random")
    require(drawn == draw(twin, seed, 4), "the same seed draws other tasks in a second environment made alike")
    if len(listed_tasks(env)) > 1:
        more = {task for offset in range(10) for task in draw(env, seed + offset, 3)}
        require(len(more) > 1, "reset() without a task always starts the same one; draw it from np_random")


def _walk(env: Env, task_id: str, seed: int, steps: int = 30) -> list[Transition]:
    """Return the transitions of random actions, three of four admissible; everything returned is copied."""
    rng = random.Random(seed)
    observation, info = reset(env, task_id, seed)
    seen: list[Transition] = [(observation, 0.0, False, copy.deepcopy(info))]
    for _ in range(steps):
        actions = info["admissible_actions"]
        action = rng.choice(actions) if actions and rng.random() < 0.75 else rng.choice(STRANGE_ACTIONS)
        actions.clear()  # the list is the caller's: the environment must not notice
        (observation, reward, terminated, info), truncated = step(env, action)
        seen.append((observation, reward, terminated, copy.deepcopy(info)))
        if terminated or truncated:
            break
    return seen


def _check_determinism(env: Env, twin: Env, task_id: str, seed: int) -> None:
    seen = _walk(env, task_id, seed)
    for other, where in ((env, "started again"), (twin, "started in a second environment made alike")):
        for number, (before, now) in enumerate(zip(seen, _walk(other, task_id, seed), strict=False)):
            for name, old, new in zip(("observation", "reward", "terminated", "info"), before, now, strict=True):
                require(
                    old == new,
                    f"the task {task_id!r}, {where} with the same seed and actions, has another {name} "
                    f"at step {number}: {str(new)[:80]!r} instead of {str(old)[:80]!r}",
                )


def _check_strange_actions(env: Env, task_id: str, seed: int) -> None:
    for action in STRANGE_ACTIONS:
        reset(env, task_id, seed)
        step(env, action)


def _check_limit(env: Env, task_id: str, seed: int) -> None:
    """Check that only the step limit around the environment truncates, and that it does not terminate."""
    limit = next((layer._max_episode_steps for layer in _layers(env) if isinstance(layer, TimeLimit)), None)
    require(limit is not None, "no step limit; register the environment with max_episode_steps")
    steps = min(int(limit or 0) + 1, MOST_STEPS)
    reset(env.unwrapped, task_id, seed)
    for number in range(1, steps + 1):
        (_, _, terminated, _), truncated = step(env.unwrapped, "no such action")
        require(not truncated, f"the environment itself truncates, at step {number}; leave that to max_episode_steps")
        if terminated:
            return
    reset(env, task_id, seed)
    for number in range(1, steps):
        (_, _, terminated, _), truncated = step(env, "no such action")
        require(
            truncated == (number == limit), f"an episode is truncated at step {number}, not at the limit of {limit}"
        )
        require(not terminated, f"an idle episode terminates at step {number} only under the step limit")


def _layers(env: gymnasium.Env[Any, Any]) -> Iterator[gymnasium.Env[Any, Any]]:
    while isinstance(env, gymnasium.Wrapper):
        yield env
        env = env.env


def _check_refusals(env: Env, known: str) -> None:
    unknown = known + " misspelt"
    try:
        env.reset(options={"task_id": unknown})
    except UnknownTaskError as refusal:
        require(known in str(refusal), f"the refusal of {unknown!r} does not name the nearest task: {refusal}")
    except Exception as error:
        raise ContractViolationError(
            f"an unknown task raised {type(error).__name__}, not UnknownTaskError: {error}"
        ) from error
    else:
        raise ContractViolationError(
            f"the unknown task {unknown!r} was not refused; raise UnknownTaskError (see choose_task)"
        )
    try:
        env.unwrapped.expert("no such expert")  # type: ignore[attr-defined]
    except InputError:
        return
    except Exception as error:
        raise ContractViolationError(f"an unknown expert raised {type(error).__name__}, not InputError") from error
    raise ContractViolationError("the unknown expert 'no such expert' was not refused; raise InputError")


def _check_expert(env: Env, task_ids: list[str], name: str, share: float, seed: int) -> None:
    with never_raises(f"expert({name!r})"):
        expert = env.unwrapped.expert(name)  # type: ignore[attr-defined]
    failed = []
    for task_id in task_ids:
        observation, info = reset(env, task_id, seed)
        over = False
        with never_raises(f"the expert {name!r} in the task {task_id!r}"):
            expert.reset(observation, info)
            while not over:
                (observation, _, terminated, info), truncated = step(env, expert.act(observation, info))
                over = terminated or truncated
        if not info["success"]:
            failed.append(task_id)
    solved = len(task_ids) - len(failed)
    require(
        solved >= share * len(task_ids),
        f"the expert {name!r} solved {solved} of {len(task_ids)} tasks; it failed in {', '.join(failed)}",
    )


def _check_gymnasium(env: Env) -> None:
    with never_raises("Gymnasium's own check_env"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice on registration and rendering, meant for other environments
        check_env(env.unwrapped, skip_render_check=True)
