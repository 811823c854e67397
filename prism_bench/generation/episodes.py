"""Plays tasks and returns episodes. Collection, pass rates, RL rollouts and evaluation all come through here."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium

from prism_bench.environment import Expert, TextEnvironment
from prism_bench.generation.backend import Backend, Reply, Sampling
from prism_bench.ledger import Meter
from prism_bench.rendering import ContextError, Renderer
from prism_bench.trajectory import Step, Trajectory

Environment = gymnasium.Env[str, str]


@dataclass(frozen=True, slots=True)
class Episode:
    """A policy's episode and the very tokens it consisted of.

    ``prompt_ids`` is the opening; ``completion_ids`` the rest, replies and observations in turn; ``agent_mask`` is 1
    where the policy wrote and 0 where the environment did; ``logprobs`` are those of the policy's tokens, 0 elsewhere.
    """

    trajectory: Trajectory
    prompt_ids: list[int]
    completion_ids: list[int]
    agent_mask: list[int]
    logprobs: list[float]


@dataclass(slots=True)
class _Play:
    """An episode under way."""

    environment: Environment
    observation: str
    info: dict[str, Any]
    new_tokens: list[int]
    prompt_ids: list[int]
    completion_ids: list[int] = field(default_factory=list)
    agent_mask: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)


class EpisodePlayer:
    """Plays the tasks of one environment with policies; keeps its environment objects from call to call.

    Args:
        make: returns a new environment object.
        renderer: of the policies' tokenizer and prompt.
        batch_size: how many episodes are in play at once.
    """

    def __init__(self, make: Callable[[], Environment], renderer: Renderer, batch_size: int) -> None:
        self.make = make
        self.renderer = renderer
        self.batch_size = batch_size
        self._idle: list[Environment] = []

    def play(
        self,
        backend: Backend,
        task_ids: Sequence[str],
        sampling: Sampling,
        source: str,
        meter: Meter,
        on_episode: Callable[[int], None] = lambda finished: None,
        max_turns: int | None = None,
    ) -> list[Episode]:
        """Play every task once (a task may stand in the list several times) and return the episodes in that order.

        Finished episodes leave the batch and the next task takes the place. An episode ends when the environment ends
        it, when its context is full, or after ``max_turns``. What is random in it depends on ``sampling.seed``, the
        task, and how often that task stands earlier in the list; not on the other tasks or ``batch_size``.

        Args:
            source: what the trajectories say about who played.
            on_episode: called with the number of finished episodes whenever it grows.

        Raises:
            ContextError: an opening leaves no room for a reply.
        """
        sessions = session_numbers(task_ids)
        waiting = iter(zip(sessions, task_ids, strict=True))
        plays: dict[int, _Play] = {}
        finished: dict[int, Episode] = {}
        env_steps = 0
        while True:
            self._fill(plays, waiting, sampling)
            if not plays:
                break
            replies = backend.reply({session: play.new_tokens for session, play in plays.items()}, sampling)
            env_steps += len(replies)
            ended = [
                session
                for session, reply in replies.items()
                if self._advance(plays[session], reply, sampling, max_turns)
            ]
            for session in ended:
                play = plays.pop(session)
                finished[session] = _episode(play, source)
                self._idle.append(play.environment)
            if ended:
                backend.close(ended)
                on_episode(len(finished))
        work = backend.take_work()
        meter.add(
            prefill_tokens=work.prefill_tokens,
            generated_tokens=work.generated_tokens,
            flops=work.flops,
            env_steps=env_steps,
        )
        return [finished[session] for session in sessions]

    def _fill(self, plays: dict[int, _Play], waiting: Iterator[tuple[int, str]], sampling: Sampling) -> None:
        while len(plays) < self.batch_size and (next_one := next(waiting, None)) is not None:
            session, task_id = next_one
            environment = self._idle.pop() if self._idle else self.make()
            observation, info = environment.reset(options={"task_id": task_id})
            opening = self.renderer.opening(observation, self._listed(info))
            if len(opening) + sampling.max_reply_tokens > self.renderer.max_length:
                raise ContextError(
                    f"task {task_id}: the opening of {len(opening)} tokens and a reply of "
                    f"{sampling.max_reply_tokens} exceed the context of {self.renderer.max_length}; "
                    "raise model.max_length"
                )
            plays[session] = _Play(environment, observation, info, opening, opening)

    def _advance(self, play: _Play, reply: Reply, sampling: Sampling, max_turns: int | None) -> bool:
        """Do what ``reply`` says; return whether the episode is over."""
        text = self.renderer.decode(reply.ids)
        shown = play.observation, self._listed(play.info)
        action = self.renderer.prompt.action(text, *shown)
        play.observation, reward, terminated, truncated, play.info = play.environment.step(action)
        said = None if text == self.renderer.prompt.reply(action, *shown) else text
        cut = reply.ids[-1] != self.renderer.end_token_id
        play.steps.append(Step(shown[0], action, float(reward), said, shown[1], cut))
        play.completion_ids += reply.ids
        play.agent_mask += [1] * len(reply.ids)
        play.logprobs += reply.logprobs
        if terminated or truncated or len(play.steps) == max_turns:
            return True
        end = [self.renderer.end_token_id] if cut else []
        new = end + self.renderer.observation(play.observation, self._listed(play.info), shown[0])
        used = len(play.prompt_ids) + len(play.completion_ids) + len(new)
        if used + sampling.max_reply_tokens > self.renderer.max_length:
            return True
        play.new_tokens = new
        play.completion_ids += new
        play.agent_mask += [0] * len(new)
        play.logprobs += [0.0] * len(new)
        return False

    def _listed(self, info: dict[str, Any]) -> tuple[str, ...]:
        return tuple(info["admissible_actions"]) if self.renderer.prompt.needs_admissible else ()


def session_numbers(task_ids: Sequence[str]) -> list[int]:
    """Return a session for each task, named by a digest of the task and of how often it stands earlier in the list."""
    earlier: Counter[str] = Counter()
    numbers = []
    for task_id in task_ids:
        digest = hashlib.blake2b(f"{earlier[task_id]} {task_id}".encode(), digest_size=8).digest()
        numbers.append(int.from_bytes(digest, "big") >> 1)  # the largest signed integer has 63 bits
        earlier[task_id] += 1
    return numbers


def _episode(play: _Play, source: str) -> Episode:
    agent_tokens = sum(play.agent_mask)
    trajectory = Trajectory(
        task_id=play.info["task_id"],
        task_type=play.info["task_type"],
        source=source,
        steps=tuple(play.steps),
        score=float(play.info["score"]),
        success=bool(play.info["success"]),
        context_tokens=len(play.prompt_ids) + len(play.completion_ids) - agent_tokens,
        agent_tokens=agent_tokens,
    )
    return Episode(trajectory, play.prompt_ids, play.completion_ids, play.agent_mask, play.logprobs)


def play_expert(
    environment: Environment,
    name: str,
    task_ids: Sequence[str],
    meter: Meter,
    keep_admissible: bool = False,
    on_episode: Callable[[int], None] = lambda finished: None,
) -> list[Trajectory]:
    """Play every task once with the environment's expert ``name`` and return all episodes, failures included."""
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
        meter.add(env_steps=len(steps))
        on_episode(number)
    return trajectories
