"""Prompts: the text around the observations and actions of an environment.

The choices of ``conf/prompt`` are ``action``, in which the completion is the action and nothing else (for small models
made from scratch), and ``react``, in which an instruct model may think before it acts (ReAct, arXiv 2210.03629). A
third, for pages with links, is :mod:`prism_bench.data.indexed_prompt`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from prism_bench.errors import InputError

Message = dict[str, str]


class Prompt(Protocol):
    """Conversion of observations to user messages, and of actions to completions and back.

    A method sees one turn: the observation and its admissible actions (empty unless ``needs_admissible``).
    """

    @property
    def needs_admissible(self) -> bool:
        """True if trajectories have to keep their admissible actions for this prompt."""

    def messages(self, observation: str, admissible_actions: Sequence[str]) -> list[Message]:
        """Return the first messages of an episode."""

    def turn(self, observation: str, admissible_actions: Sequence[str], previous: str | None = None) -> str:
        """Return the user message with an observation; ``previous`` is the observation before it."""

    def completion(self, action: str, observation: str, admissible_actions: Sequence[str]) -> str:
        """Return the completion with which the policy does ``action``."""

    def action(self, completion: str, observation: str, admissible_actions: Sequence[str]) -> str:
        """Return the action in ``completion``; the text itself where none is marked, for the environment to answer."""


def require_admissible(admissible_actions: Sequence[str]) -> None:
    """Raise if a trajectory did not keep the admissible actions that this prompt shows.

    Raises:
        InputError: there is no admissible action.
    """
    if not admissible_actions:
        raise InputError(
            "this prompt shows the admissible actions of every step, and these episodes were collected without them: "
            "collect them again with the same prompt"
        )


def _listing(admissible_actions: Sequence[str]) -> str:
    require_admissible(admissible_actions)
    return "\nAdmissible actions: " + ", ".join(admissible_actions)


@dataclass(frozen=True)
class ActionPrompt:
    """Prompt without added text: the message is the observation, the completion the action."""

    list_admissible: bool = False

    @property
    def needs_admissible(self) -> bool:
        return self.list_admissible

    def messages(self, observation: str, admissible_actions: Sequence[str]) -> list[Message]:
        return [{"role": "user", "content": self.turn(observation, admissible_actions)}]

    def turn(self, observation: str, admissible_actions: Sequence[str], previous: str | None = None) -> str:
        return observation + (_listing(admissible_actions) if self.list_admissible else "")

    def completion(self, action: str, observation: str, admissible_actions: Sequence[str]) -> str:
        return action

    def action(self, completion: str, observation: str, admissible_actions: Sequence[str]) -> str:
        return completion.strip()


@dataclass(frozen=True)
class ReactPrompt:
    """Prompt with an instruction; a completion is an optional thought and then ``Action: <action>``."""

    instruction: str
    list_admissible: bool = False

    @property
    def needs_admissible(self) -> bool:
        return self.list_admissible

    def messages(self, observation: str, admissible_actions: Sequence[str]) -> list[Message]:
        content = f"{self.instruction.strip()}\n\n{self.turn(observation, admissible_actions)}"
        return [{"role": "user", "content": content}]

    def turn(self, observation: str, admissible_actions: Sequence[str], previous: str | None = None) -> str:
        return f"Observation: {observation}" + (_listing(admissible_actions) if self.list_admissible else "")

    def completion(self, action: str, observation: str, admissible_actions: Sequence[str]) -> str:
        return f"Action: {action}"

    def action(self, completion: str, observation: str, admissible_actions: Sequence[str]) -> str:
        _, marker, after = completion.rpartition("Action:")
        lines = (after if marker else completion).strip().splitlines()
        return lines[0].strip() if lines else ""
