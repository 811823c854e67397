"""Checks any environment against the contract of :mod:`prism_bench.environments.contract`.

    check_environment("my_package:my_package/MyWorld-v0", split="train", expert="search")
    check_environment(lambda: TimeLimit(MyEnvironment(), 20))

A violation raises :class:`ContractViolationError` with one sentence that says what is wrong and what the contract asks
for. Of a long list of tasks a few are played; what passes is therefore not proved, only tried.
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

from prism_bench.environments.contract import INFO_KEYS, UnknownTaskError

Env = gymnasium.Env[str, str]
Transition = tuple[str, float, bool, dict[str, Any]]  # observation, reward, terminated, info

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
MOST_STEPS = 1000  # a step limit beyond it is not tried out


class ContractViolationError(AssertionError):
    """An environment breaks the contract."""


def check_environment(
    make: Callable[[], gymnasium.Env[Any, Any]] | str,
    *,
    tasks: int = 3,
    seed: int = 0,
    expert: str | None = None,
    expert_success: float = 1.0,
    **options: Any,
) -> None:
    """Raise if the environment breaks the contract.

    Args:
        make: builds the environment as the harness would, that is with its step limit; called twice, to compare. Or the
            Gymnasium id, to which ``options`` go.
        tasks: number of tasks that are played.
        seed: governs which, and the actions tried in them.
        expert: name of an expert that has to solve those tasks.
        expert_success: the share of them that it has to solve.

    Raises:
        ContractViolationError: the first breach found.
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


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ContractViolationError(message)


@contextlib.contextmanager
def _never_raises(what: str) -> Iterator[None]:
    try:
        yield
    except ContractViolationError:
        raise
    except Exception as error:
        raise ContractViolationError(f"{what} raised {type(error).__name__}: {error}") from error


def _check_spaces(env: Env) -> None:
    for name in ("observation_space", "action_space"):
        space = getattr(env, name, None)
        for text in STRANGE_ACTIONS:
            _require(
                isinstance(space, gymnasium.Space) and text in space,
                f"{name} does not contain the text {text[:20]!r}; use prism_bench.environments.contract.TextSpace",
            )


def _task_ids(env: Env) -> list[str]:
    return list(getattr(env.unwrapped, "task_ids", ()))


def _check_task_ids(env: Env, twin: Env) -> list[str]:
    task_ids = _task_ids(env)
    _require(len(task_ids) > 0, "task_ids is missing or empty; it has to list the tasks of the split")
    _require(all(isinstance(task_id, str) for task_id in task_ids), "task_ids holds something that is no string")
    _require(len(set(task_ids)) == len(task_ids), "task_ids names a task twice")
    _require(
        _task_ids(twin) == task_ids, "task_ids differs between two environments made alike; the order has to be fixed"
    )
    return task_ids


def _check_protocol(env: Env, twin: Env) -> None:
    with _never_raises("protocol()"):
        written = [json.dumps(layer.unwrapped.protocol(), sort_keys=True) for layer in (env, twin)]  # type: ignore[attr-defined]
    _require(written[0] == written[1], "protocol() differs between two environments made alike")


def _reset(env: Env, task_id: str | None, seed: int | None) -> tuple[str, dict[str, Any]]:
    with _never_raises("reset()" if task_id is None else f"reset() to the task {task_id!r}"):
        result = env.reset(seed=seed, options=None if task_id is None else {"task_id": task_id})
    _require(isinstance(result, tuple) and len(result) == 2, "reset() has to return (observation, info)")
    observation, info = result
    _require(isinstance(observation, str), f"the observation after reset() is {type(observation).__name__}, not str")
    _check_info(info, "reset()")
    if task_id is not None:
        _require(info["task_id"] == task_id, f"reset() to the task {task_id!r} started {info['task_id']!r}")
    _require(info["task_id"] in _task_ids(env), f"info names a task that task_ids lacks: {info['task_id']!r}")
    return observation, info


def _step(env: Env, action: str) -> tuple[Transition, bool]:
    with _never_raises(f"the action {action[:40]!r}"):
        result = env.step(action)
    _require(isinstance(result, tuple) and len(result) == 5, "step() has to return five things")
    observation, reward, terminated, truncated, info = result
    after = f"step({action[:40]!r})"
    _require(isinstance(observation, str), f"the observation after {after} is {type(observation).__name__}, not str")
    _require(isinstance(reward, float | int), f"the reward after {after} is {type(reward).__name__}, not a number")
    for name, value in (("terminated", terminated), ("truncated", truncated)):
        _require(isinstance(value, bool), f"{name} after {after} is {type(value).__name__}, not bool")
    _check_info(info, after)
    return (observation, float(reward), terminated, info), truncated


def _check_info(info: Any, after: str) -> None:
    _require(isinstance(info, dict), f"info after {after} is no dict")
    missing = [key for key in INFO_KEYS if key not in info]
    _require(not missing, f"info after {after} lacks {', '.join(missing)}")
    for key in ("task_id", "task_type"):
        _require(isinstance(info[key], str) and info[key] != "", f"info[{key!r}] after {after} is no text")
    actions = info["admissible_actions"]
    _require(
        isinstance(actions, list) and all(isinstance(action, str) for action in actions),
        f"info['admissible_actions'] after {after} is no list of strings",
    )
    _require(
        actions == sorted(set(actions)), f"info['admissible_actions'] after {after} is not sorted or repeats itself"
    )
    score = info["score"]
    _require(
        isinstance(score, float | int) and 0 <= score <= 1, f"info['score'] after {after} is {score!r}, not in 0..1"
    )
    _require(isinstance(info["success"], bool), f"info['success'] after {after} is no bool")


def _check_drawing(env: Env, twin: Env, seed: int) -> None:
    def draw(environment: Env, first: int, count: int) -> list[str]:
        seeds = [first, *[None] * (count - 1)]
        return [_reset(environment, None, s)[1]["task_id"] for s in seeds]

    drawn = draw(env, seed, 4)
    _require(drawn == draw(env, seed, 4), "the same seed draws other tasks the second time; draw from np_random")
    _require(drawn == draw(twin, seed, 4), "the same seed draws other tasks in a second environment made alike")
    if len(_task_ids(env)) > 1:
        more = {task for offset in range(10) for task in draw(env, seed + offset, 3)}
        _require(len(more) > 1, "reset() without a task always starts the same one; draw it from np_random")


def _walk(env: Env, task_id: str, seed: int, steps: int = 30) -> list[Transition]:
    """Play random actions, admissible ones three times out of four; everything returned is copied."""
    rng = random.Random(seed)
    observation, info = _reset(env, task_id, seed)
    seen: list[Transition] = [(observation, 0.0, False, copy.deepcopy(info))]
    for _ in range(steps):
        actions = info["admissible_actions"]
        action = rng.choice(actions) if actions and rng.random() < 0.75 else rng.choice(STRANGE_ACTIONS)
        actions.clear()  # what a caller does to the list must not reach the environment
        (observation, reward, terminated, info), truncated = _step(env, action)
        seen.append((observation, reward, terminated, copy.deepcopy(info)))
        if terminated or truncated:
            break
    return seen


def _check_determinism(env: Env, twin: Env, task_id: str, seed: int) -> None:
    seen = _walk(env, task_id, seed)
    for other, where in ((env, "played again"), (twin, "played in a second environment made alike")):
        for number, (before, now) in enumerate(zip(seen, _walk(other, task_id, seed), strict=False)):
            for name, old, new in zip(("observation", "reward", "terminated", "info"), before, now, strict=True):
                _require(
                    old == new,
                    f"the task {task_id!r}, {where} with the same seed and actions, has another {name} "
                    f"at step {number}: {str(new)[:80]!r} instead of {str(old)[:80]!r}",
                )


def _check_strange_actions(env: Env, task_id: str, seed: int) -> None:
    for action in STRANGE_ACTIONS:
        _reset(env, task_id, seed)
        _step(env, action)


def _check_limit(env: Env, task_id: str, seed: int) -> None:
    """The environment itself never truncates; the step limit around it does, and does not call it termination."""
    limit = next((layer._max_episode_steps for layer in _layers(env) if isinstance(layer, TimeLimit)), None)
    _require(limit is not None, "no step limit; register the environment with max_episode_steps")
    steps = min(int(limit or 0) + 1, MOST_STEPS)
    _reset(env.unwrapped, task_id, seed)
    for number in range(1, steps + 1):
        (_, _, terminated, _), truncated = _step(env.unwrapped, "no such action")
        _require(not truncated, f"the environment itself truncates, at step {number}; leave that to max_episode_steps")
        if terminated:
            return
    _reset(env, task_id, seed)
    for number in range(1, steps):
        (_, _, terminated, _), truncated = _step(env, "no such action")
        _require(truncated == (number == limit), f"an episode is cut at step {number}, not at the limit of {limit}")
        _require(not terminated, f"an episode that idles terminates at step {number} only under the step limit")


def _layers(env: gymnasium.Env[Any, Any]) -> Iterator[gymnasium.Env[Any, Any]]:
    while isinstance(env, gymnasium.Wrapper):
        yield env
        env = env.env


def _check_refusals(env: Env, known: str) -> None:
    unknown = known + " misspelt"
    try:
        env.reset(options={"task_id": unknown})
    except UnknownTaskError as refusal:
        _require(known in str(refusal), f"the refusal of {unknown!r} does not name the nearest task: {refusal}")
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
    except ValueError:
        return
    except Exception as error:
        raise ContractViolationError(f"an unknown expert raised {type(error).__name__}, not ValueError") from error
    raise ContractViolationError("the unknown expert 'no such expert' was not refused; raise ValueError")


def _check_expert(env: Env, task_ids: list[str], name: str, share: float, seed: int) -> None:
    with _never_raises(f"expert({name!r})"):
        expert = env.unwrapped.expert(name)  # type: ignore[attr-defined]
    failed = []
    for task_id in task_ids:
        observation, info = _reset(env, task_id, seed)
        over = False
        with _never_raises(f"the expert {name!r} in the task {task_id!r}"):
            expert.reset(observation, info)
            while not over:
                (observation, _, terminated, info), truncated = _step(env, expert.act(observation, info))
                over = terminated or truncated
        if not info["success"]:
            failed.append(task_id)
    solved = len(task_ids) - len(failed)
    _require(
        solved >= share * len(task_ids),
        f"the expert {name!r} solved {solved} of {len(task_ids)} tasks; it failed in {', '.join(failed)}",
    )


def _check_gymnasium(env: Env) -> None:
    with _never_raises("Gymnasium's own check_env"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its advice on registration and rendering is meant for other environments
        check_env(env.unwrapped, skip_render_check=True)
