"""Prompts: the text around the observations and actions of an environment.

The choices of ``conf/prompt`` are ``action``, in which the completion is the action and nothing else (for small models
made from scratch); ``act``, in which an instruction names the commands (for instruct models); and ``react``, in which
an instruct model thinks before it acts (ReAct, arXiv 2210.03629). A fourth, for pages with links, is
:mod:`prism_bench.data.indexed_prompt`.

What demonstrations hold is kept under every prompt: a thought before ``Action:`` is part of the completion.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from prism_bench.data.trajectory import Trajectory
from prism_bench.errors import InputError
from prism_bench.settings.types import Count

Message = dict[str, str]


class Prompt(Protocol):
    """Conversion of observations to user messages, and of actions to completions and back.

    A method sees one turn: the observation and its admissible actions (empty unless ``needs_admissible``).
    """

    @property
    def needs_admissible(self) -> bool:
        """True if trajectories have to keep their admissible actions for this prompt."""

    @property
    def needs_thoughts(self) -> bool:
        """True if demonstrations have to have thoughts, since this prompt invites them."""
        return False

    @property
    def last_turns(self) -> int | None:
        """How many earlier turns the policy reads, beside the first observation; None for all of them."""
        return None

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


def check_thoughts(prompt: Prompt, trajectories: Sequence[Trajectory], where: str) -> None:
    """Check that demonstrations have thoughts, if the prompt invites them.

    Args:
        where: the place of the trajectories, for the message.

    Raises:
        InputError: a trajectory has no thought at any step.
    """
    if not prompt.needs_thoughts:
        return
    for number, trajectory in enumerate(trajectories):
        if not any(_split_completion(step.completion or "")[0] for step in trajectory.steps):
            raise without_thoughts(f"{where}: episode {number} has no thoughts")


def without_thoughts(problem: str) -> InputError:
    """Return the refusal of demonstrations without thoughts; ``problem`` says which ones."""
    return InputError(
        f"{problem}, and the prompt asks for them, so SFT would teach not to think; choose prompt=act, use "
        "demonstrations that have thoughts, or accept these with prompt.thoughts=optional"
    )


def _split_completion(completion: str) -> tuple[str, str]:
    """Return thought and action: what is before the last ``Action:``, and the first line after it."""
    before, marker, after = completion.rpartition("Action:")
    lines = after.strip().splitlines()
    return before.strip() if marker else "", lines[0].strip() if lines else ""


def _listing(admissible_actions: Sequence[str]) -> str:
    require_admissible(admissible_actions)
    return "\nAdmissible actions: " + ", ".join(admissible_actions)


@dataclass(frozen=True)
class ActionPrompt(Prompt):
    """Prompt without added text: the message is the observation, the completion the action."""

    list_admissible: bool = False
    last_turns: Count | None = None

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


@dataclass(frozen=True, kw_only=True)
class ActPrompt(ActionPrompt):
    """Prompt with a system message: an instruction and the commands of the environment. The completion is the action.

    In a completion with a thought, as demonstrations may have, the action follows the last ``Action:``.
    """

    instruction: str
    commands: str

    def messages(self, observation: str, admissible_actions: Sequence[str]) -> list[Message]:
        system = {"role": "system", "content": f"{self.instruction.strip()} {self.commands.strip()}"}
        return [system, *super().messages(observation, admissible_actions)]

    def action(self, completion: str, observation: str, admissible_actions: Sequence[str]) -> str:
        return _split_completion(completion)[1]


@dataclass(frozen=True)
class ReactPrompt(Prompt):
    """Prompt with an instruction; a completion is a thought and then ``Action: <action>``.

    Attributes:
        thoughts: whether demonstrations have to have thoughts.
    """

    instruction: str
    list_admissible: bool = False
    thoughts: Literal["required", "optional"] = "required"
    last_turns: Count | None = None

    @property
    def needs_admissible(self) -> bool:
        return self.list_admissible

    @property
    def needs_thoughts(self) -> bool:
        return self.thoughts == "required"

    def messages(self, observation: str, admissible_actions: Sequence[str]) -> list[Message]:
        content = f"{self.instruction.strip()}\n\n{self.turn(observation, admissible_actions)}"
        return [{"role": "user", "content": content}]

    def turn(self, observation: str, admissible_actions: Sequence[str], previous: str | None = None) -> str:
        return f"Observation: {observation}" + (_listing(admissible_actions) if self.list_admissible else "")

    def completion(self, action: str, observation: str, admissible_actions: Sequence[str]) -> str:
        return f"Action: {action}"

    def action(self, completion: str, observation: str, admissible_actions: Sequence[str]) -> str:
        return _split_completion(completion)[1]
