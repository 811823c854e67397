"""Answers of environments to ``reset`` and ``step``, refused where a result could not be computed or stored from them.

:mod:`prism_bench.environments.check` checks more, once; these checks cost a microsecond and are made at every step.
"""

import math
from dataclasses import dataclass
from typing import Any

import gymnasium

from prism_bench.environments.contract import INFO_KEYS, InvalidAnswerError

Environment = gymnasium.Env[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer of an environment to ``reset`` (no reward, not over) or ``step``."""

    observation: str
    reward: float
    over: bool
    info: dict[str, Any]


def reset(environment: Environment, task_id: str) -> Answer:
    """Begin ``task_id``.

    Raises:
        InvalidAnswerError: the answer cannot be used.
    """
    returned: Any = environment.reset(options={"task_id": task_id})
    if not isinstance(returned, tuple) or len(returned) != 2:
        raise InvalidAnswerError("did not return observation and info")
    observation, info = returned
    answer = _checked(observation, 0.0, False, info)
    if info["task_id"] != task_id:
        raise InvalidAnswerError(f"began the task {info['task_id']!r}")
    return answer


def step(environment: Environment, action: str) -> Answer:
    """Do ``action``.

    Raises:
        InvalidAnswerError: the answer cannot be used.
    """
    returned: Any = environment.step(action)
    if not isinstance(returned, tuple) or len(returned) != 5:
        raise InvalidAnswerError("did not return observation, reward, terminated, truncated and info")
    observation, reward, terminated, truncated, info = returned
    return _checked(observation, reward, bool(terminated or truncated), info)


def lost(task_id: str, step: int, task_type: str | None = None) -> Answer:
    """Return the answer in place of an environment that failed: the end of its episode.

    After a failed ``reset`` (step 0), which nothing can end yet, the episode ends with its first step.
    """
    admissible = [] if step else [""]  # not empty, for prompts that list them
    info = {"task_id": task_id, "task_type": task_type, "admissible_actions": admissible, "score": 0.0}
    return Answer("", 0.0, step > 0, info | {"success": False})


def _checked(observation: Any, reward: Any, over: bool, info: Any) -> Answer:
    if not isinstance(observation, str):
        raise InvalidAnswerError(f"returned an observation that is {type(observation).__name__}, no text")
    if not observation.isascii() and not _is_unicode(observation):
        raise InvalidAnswerError("returned an observation that is no valid Unicode")
    if not _is_finite(reward):
        raise InvalidAnswerError(f"returned the reward {reward!r}, no finite number")
    if not isinstance(info, dict):
        raise InvalidAnswerError(f"returned an info that is {type(info).__name__}, no dict")
    if missing := [key for key in INFO_KEYS if key not in info]:
        raise InvalidAnswerError(f"returned an info without {', '.join(missing)}")
    score = info["score"]
    if not _is_finite(score) or not 0 <= score <= 1:
        raise InvalidAnswerError(f"returned the score {score!r}, no number from 0 to 1")
    return Answer(observation, float(reward), over, info)


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except (TypeError, ValueError):
        return False


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
