"""Generation: token ids in, token ids out, one growing context per episode.

A backend keeps a *session* for every episode that runs. In each turn it is given the new tokens of some sessions (the
prompt, or the environment's answer) and returns a completion for each; it remembers earlier tokens. A backend that
keeps the key-value cache reads every token once.

The *engine* of a run, a choice of ``conf/generation``, makes the backends.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from prism_bench.models.policy import Policy

if TYPE_CHECKING:  # takes seconds to import
    from trl.trainer.grpo_trainer import GRPOTrainer


@dataclass(frozen=True, slots=True)
class Sampling:
    """Settings of sampling. ``temperature`` 0 is greedy decoding; a session keeps the ``seed`` it was opened with."""

    temperature: float = 1.0
    max_completion_tokens: int = 16
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Completion:
    """Sampled tokens, the end-of-turn token last unless truncated, and the log-probability of each."""

    ids: list[int]
    logprobs: list[float]


@dataclass(frozen=True, slots=True)
class Work:
    """Work of a backend: tokens read and written in all sessions, and FLOPs."""

    prefill_tokens: int = 0
    generated_tokens: int = 0
    flops: float = 0.0


class Backend(Protocol):
    """Generates completions for many sessions at once."""

    def complete(self, new_tokens: Mapping[int, Sequence[int]], sampling: Sampling) -> dict[int, Completion]:
        """Append ``new_tokens`` to each session, open those not seen before, and sample a completion of every one.

        The tokens of the completion belong to the session afterwards. A session is an integer from 0 to 2^63 - 1 that
        also names its random stream: the same session, seed and tokens give the same completion whatever else is in the
        batch. A backend whose rounding can lead to another token says so.
        """

    def most_sessions(self, tokens: int) -> int | None:
        """Return how many sessions of up to ``tokens`` tokens may be open at once; None for any number."""

    def close(self, sessions: Sequence[int]) -> None:
        """Forget ``sessions``."""

    def take_work(self) -> Work:
        """Return the work since the last call."""


class Engine(Protocol):
    """Maker of the backends of a run."""

    @property
    def name(self) -> str:
        """Name of the engine in a result, with its version if it is not among the packages that every run lists."""

    @property
    def devices(self) -> int:
        """Return how many devices it computes on, those of training included."""

    def grpo_options(self) -> Mapping[str, Any]:
        """Return the fields of ``trl.GRPOConfig`` that bring the engine into the trainer.

        Raises:
            InputError: the engine cannot take new weights, or not on this machine.
        """

    def start(self, policy: Policy, checkpoint: str | Path, end_token_id: int) -> AbstractContextManager[Backend]:
        """Yield a backend for ``policy``, which was loaded from ``checkpoint``; afterwards its memory is free.

        Raises:
            InputError: the engine cannot run this policy, or not on this machine.
        """

    def in_trainer(self, trainer: "GRPOTrainer", end_token_id: int) -> Backend:
        """Return a backend for the policy of ``trainer`` as it is now, for the rollouts of one step.

        Raises:
            InputError: the trainer is set up in a way that is not supported.
        """

    def leave_trainer(self, trainer: "GRPOTrainer") -> None:
        """Free the engine's memory inside ``trainer``, after its last step."""
