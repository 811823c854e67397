"""Rollouts of tasks by a policy, the same for collection, pass rates, RL and evaluation."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Literal

from prism_bench import processes
from prism_bench.accounting.meter import Meter
from prism_bench.data.rendering import Renderer
from prism_bench.data.trajectory import Step, Trajectory
from prism_bench.environments.contract import is_admissible
from prism_bench.errors import InputError
from prism_bench.rollouts.answers import Answer, Environment
from prism_bench.rollouts.backend import Backend, Completion, Sampling
from prism_bench.rollouts.faults import FaultRules
from prism_bench.rollouts.pool import Environments, LocalEnvironments
from prism_bench.rollouts.workers import WorkerEnvironments


@dataclass(frozen=True, slots=True)
class Episode:
    """A policy's episode and its exact tokens.

    ``prompt_ids`` is the prompt; ``completion_ids`` the rest, completions and observations in turn; ``agent_mask`` is 1
    where the policy wrote and 0 where the environment did; ``logprobs`` are those of the policy's tokens, 0 elsewhere.
    Where the policy reads the last turns only, contexts follow each other as in ``Rendered``. ``inadmissible`` is the
    number of actions that the environment had not listed as admissible.
    """

    trajectory: Trajectory
    prompt_ids: list[int]
    completion_ids: list[int]
    agent_mask: list[int]
    logprobs: list[float]
    inadmissible: int = 0


@dataclass(frozen=True)
class Limits:
    """Limits of an episode, past which it has failed; None leaves it to the environment.

    Attributes:
        max_turns: its most turns.
        max_inadmissible: its most actions that are not admissible.
    """

    max_turns: int | None = None
    max_inadmissible: int | None = None


NO_LIMITS = Limits()

_Ending = Literal["environment", "out_of_turns", "strayed", "context_full"]


@dataclass(slots=True)
class _Running:
    """A running episode; empty until the environment has answered."""

    task_id: str
    observation: str = ""
    info: dict[str, Any] = field(default_factory=dict)
    prompt_ids: list[int] = field(default_factory=list)
    completion_ids: list[int] = field(default_factory=list)
    agent_mask: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    context: int = 0  # the backend's session that the policy reads
    moved: bool = True  # it has to be a new one
    used: int = 0  # tokens in it
    steps: list[Step] = field(default_factory=list)  # the last one without its reward until that is known
    inadmissible: int = 0


class RolloutRunner:
    """Rolls out the tasks of one environment with policies; keeps its environment objects from call to call.

    Args:
        make: returns a new environment object.
        renderer: of the policies' tokenizer and prompt.
        batch_size: how many episodes run at once, fewer if the backend has no room for so many.
        workers: give each environment a process of its own, see :mod:`prism_bench.rollouts.workers`; the runner has
            to be closed then, or used in a ``with`` statement.
        rules: decide what a failure of an environment costs.
    """

    def __init__(
        self,
        make: Callable[[], Environment],
        renderer: Renderer,
        batch_size: int,
        workers: bool = False,
        rules: FaultRules | None = None,
    ) -> None:
        self.rules = rules or FaultRules()
        host = WorkerEnvironments if workers else LocalEnvironments
        self.environments: Environments = host(make, self.rules)
        self.renderer = renderer
        self.batch_size = batch_size

    def __enter__(self) -> "RolloutRunner":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the environments."""
        self.environments.close()

    def run(
        self,
        backend: Backend,
        task_ids: Sequence[str],
        sampling: Sampling,
        source: str,
        meter: Meter,
        on_episode: Callable[[int], None] = lambda finished: None,
        limits: Limits = NO_LIMITS,
    ) -> list[Episode]:
        """Roll out every task once (a task may be listed several times) and return the episodes in that order.

        The next task takes the place of a finished episode in the batch. An episode ends when the environment ends
        it, when its context is full, or past one of ``limits``. Its randomness depends on ``sampling.seed``, the task,
        and how often the task is listed before; not on other tasks or ``batch_size``. Processes that are in one call
        (:mod:`prism_bench.processes`) share the tasks, and all of them return all episodes.

        Args:
            source: the policy's name in the trajectories.
            on_episode: called with the number of finished episodes whenever it grows.

        Raises:
            InputError: a prompt leaves no room for a completion, or too many episodes are lost because the environment
                fails.
        """
        most = backend.most_sessions(self.renderer.max_length)
        at_once = self.batch_size if most is None else min(self.batch_size, most)
        sessions = session_numbers(task_ids)
        waiting = iter(processes.share(list(zip(sessions, task_ids, strict=True))))
        running: dict[int, _Running] = {}
        finished: dict[int, Episode] = {}
        unread: dict[int, list[int]] = {}  # new tokens of the episodes in which it is the policy's turn
        env_steps = 0
        endings: Counter[_Ending] = Counter()
        faults: Counter[str] = Counter()
        self.environments.clear()  # of what an exception left there
        while True:
            self._fill(running, waiting, at_once)
            answers = self.environments.answers(wait=not unread)
            if found := self.environments.take_faults():
                faults += found
                spent = meter.spent
                self.rules.check_lost(spent.lost_episodes + faults["lost_episodes"], spent.episodes + len(task_ids))
            ended = []
            for session, answer in answers.items():
                tokens = self._take(running[session], answer, sampling, limits)
                if isinstance(tokens, str):
                    endings[tokens] += 1
                    ended.append(session)
                else:
                    unread[session] = tokens
            if ended:
                backend.close([running[session].context for session in ended])
            for session in ended:
                finished[session] = _episode(running.pop(session), source)
                self.environments.release(session)
            if ended:
                on_episode(min(len(finished) * processes.count(), len(task_ids)))
            if answers:
                continue  # others may have answered meanwhile, or at once where a new task took the place
            if not unread:
                break
            _move({session: running[session] for session in unread}, backend)
            speaking = {running[session].context: session for session in unread}
            completions = backend.complete({name: unread[session] for name, session in speaking.items()}, sampling)
            env_steps += len(completions)
            unread = {}
            for name, completion in completions.items():
                session = speaking[name]
                self.environments.step(session, self._act(running[session], completion))
        work = backend.take_work()
        meter.add(
            prefill_tokens=work.prefill_tokens,
            generated_tokens=work.generated_tokens,
            flops=work.flops,
            env_steps=env_steps,
            episodes=endings.total(),
            context_full=endings["context_full"],
            out_of_turns=endings["out_of_turns"],
            strayed=endings["strayed"],
            **faults,
        )
        episodes = {session: episode for share in processes.gather(finished) for session, episode in share.items()}
        return [episodes[session] for session in sessions]

    def _fill(self, running: dict[int, _Running], waiting: Iterator[tuple[int, str]], at_once: int) -> None:
        while len(running) < at_once and (following := next(waiting, None)) is not None:
            session, task_id = following
            running[session] = _Running(task_id)
            self.environments.reset(session, task_id)

    def _take(self, current: _Running, answer: Answer, sampling: Sampling, limits: Limits) -> list[int] | _Ending:
        """Return the tokens of ``answer`` for the policy to read, or the reason why the episode ended."""
        current.observation, current.info = answer.observation, answer.info
        if current.steps:
            current.steps[-1] = replace(current.steps[-1], reward=answer.reward)
            if answer.over:
                return "environment"
            if limits.max_inadmissible is not None and current.inadmissible > limits.max_inadmissible:
                return "strayed"
            if len(current.steps) == limits.max_turns:
                return "out_of_turns"
        new, current.moved = self.renderer.next_context(current.steps, current.observation, self._listed(current.info))
        current.used = len(new) + (0 if current.moved else current.used)
        if current.used + sampling.max_completion_tokens > self.renderer.max_length:
            if current.steps:
                return "context_full"
            raise InputError(
                f"task {current.task_id}: the prompt of {len(new)} tokens and a completion of "
                f"{sampling.max_completion_tokens} exceed the context of {self.renderer.max_length}; "
                "raise model.max_length"
            )
        if not current.steps:
            current.prompt_ids = new
            return new
        current.completion_ids += new
        current.agent_mask += [0] * len(new)
        current.logprobs += [0.0] * len(new)
        return new

    def _act(self, current: _Running, completion: Completion) -> str:
        """Return the action in ``completion``."""
        text = self.renderer.decode(completion.ids)
        shown = current.observation, self._listed(current.info)
        action = self.renderer.prompt.action(text, *shown)
        current.inadmissible += not is_admissible(action, current.info["admissible_actions"])
        said = None if text == self.renderer.prompt.completion(action, *shown) else text
        truncated = completion.ids[-1] != self.renderer.end_token_id
        current.steps.append(Step(shown[0], action, 0.0, said, shown[1], truncated))
        current.used += len(completion.ids)
        current.completion_ids += completion.ids
        current.agent_mask += [1] * len(completion.ids)
        current.logprobs += completion.logprobs
        return action

    def _listed(self, info: dict[str, Any]) -> tuple[str, ...]:
        return tuple(info["admissible_actions"]) if self.renderer.prompt.needs_admissible else ()


def session_numbers(task_ids: Sequence[str]) -> list[int]:
    """Return a session for each task: a digest of the task and of how often it is listed before."""
    earlier: Counter[str] = Counter()
    numbers = []
    for task_id in task_ids:
        numbers.append(_number(f"{earlier[task_id]} {task_id}"))
        earlier[task_id] += 1
    return numbers


def _number(name: str) -> int:
    """Return a digest of 63 bits, as many as the largest signed integer has."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big") >> 1


def _move(speaking: Mapping[int, _Running], backend: Backend) -> None:
    """Give episodes that left out turns a new session of the backend, which has random numbers of its own."""
    moved = {session: current for session, current in speaking.items() if current.moved}
    backend.close([current.context for current in moved.values() if current.steps])
    for session, current in moved.items():
        current.context = _number(f"{session} {len(current.steps)}") if current.steps else session


def _episode(current: _Running, source: str) -> Episode:
    agent_tokens = sum(current.agent_mask)
    trajectory = Trajectory(
        task_id=current.info["task_id"],
        task_type=current.info["task_type"],
        source=source,
        steps=tuple(current.steps),
        score=float(current.info["score"]),
        success=bool(current.info["success"]),
        context_tokens=len(current.prompt_ids) + len(current.completion_ids) - agent_tokens,
        agent_tokens=agent_tokens,
        regime=current.info.get("regime"),
    )
    return Episode(
        trajectory,
        current.prompt_ids,
        current.completion_ids,
        current.agent_mask,
        current.logprobs,
        current.inadmissible,
    )
