"""Calls of ``reset`` and ``step`` whose results are checked for their form: number, types, and the keys of info."""

import contextlib
from collections.abc import Iterator
from typing import Any

import gymnasium

from prism_bench.environments.contract import INFO_KEYS, OPTIONAL_INFO_KEYS

Env = gymnasium.Env[str, str]
Transition = tuple[str, float, bool, dict[str, Any]]  # observation, reward, terminated, info


class ContractViolationError(AssertionError):
    """An environment violates the contract."""


def require(condition: bool, message: str) -> None:
    """Raise ContractViolationError with ``message`` unless the condition holds."""
    if not condition:
        raise ContractViolationError(message)


@contextlib.contextmanager
def never_raises(call: str) -> Iterator[None]:
    """Turn any exception of the block into a ContractViolationError that names the call."""
    try:
        yield
    except ContractViolationError:
        raise
    except Exception as error:
        raise ContractViolationError(f"{call} raised {type(error).__name__}: {error}") from error


def listed_tasks(env: Env) -> list[str]:
    """Return ``task_ids`` of the innermost environment, empty if it has none."""
    return list(getattr(env.unwrapped, "task_ids", ()))


def reset(env: Env, task_id: str | None, seed: int | None) -> tuple[str, dict[str, Any]]:
    """Return the observation and info of ``env.reset``, to a task or to one that the environment draws."""
    with never_raises("reset()" if task_id is None else f"reset() to the task {task_id!r}"):
        result = env.reset(seed=seed, options=None if task_id is None else {"task_id": task_id})
    require(isinstance(result, tuple) and len(result) == 2, "reset() has to return (observation, info)")
    observation, info = result
    require(isinstance(observation, str), f"the observation after reset() is {type(observation).__name__}, not str")
    _check_info(info, "reset()")
    if task_id is not None:
        require(info["task_id"] == task_id, f"reset() to the task {task_id!r} started {info['task_id']!r}")
    require(info["task_id"] in listed_tasks(env), f"info names a task that task_ids lacks: {info['task_id']!r}")
    return observation, info


def step(env: Env, action: str) -> tuple[Transition, bool]:
    """Return the transition of ``env.step``, and whether the episode was truncated."""
    with never_raises(f"the action {action[:40]!r}"):
        result = env.step(action)
    require(
        isinstance(result, tuple) and len(result) == 5,
        "step() has to return (observation, reward, terminated, truncated, info)",
    )
    observation, reward, terminated, truncated, info = result
    after = f"step({action[:40]!r})"
    require(isinstance(observation, str), f"the observation after {after} is {type(observation).__name__}, not str")
    require(isinstance(reward, float | int), f"the reward after {after} is {type(reward).__name__}, not a number")
    for name, value in (("terminated", terminated), ("truncated", truncated)):
        require(isinstance(value, bool), f"{name} after {after} is {type(value).__name__}, not bool")
    _check_info(info, after)
    return (observation, float(reward), terminated, info), truncated


def _check_info(info: Any, after: str) -> None:
    require(isinstance(info, dict), f"info after {after} is no dict")
    missing = [key for key in INFO_KEYS if key not in info]
    require(not missing, f"info after {after} lacks {', '.join(missing)}")
    for key in ("task_id", "task_type"):
        require(isinstance(info[key], str) and info[key] != "", f"info[{key!r}] after {after} is no text")
    for key in OPTIONAL_INFO_KEYS:
        require(isinstance(info.get(key, ""), str), f"info[{key!r}] after {after} is no text")
    actions = info["admissible_actions"]
    require(
        isinstance(actions, list) and all(isinstance(action, str) for action in actions),
        f"info['admissible_actions'] after {after} is no list of strings",
    )
    require(
        actions == sorted(set(actions)), f"info['admissible_actions'] after {after} is not sorted or repeats itself"
    )
    score = info["score"]
    require(
        isinstance(score, float | int) and 0 <= score <= 1, f"info['score'] after {after} is {score!r}, not in 0..1"
    )
    require(isinstance(info["success"], bool), f"info['success'] after {after} is no bool")
