"""What a policy reads and writes around the bare text of an environment.

Two prompts, chosen by ``conf/prompt``: ``action``, in which the reply is the action and nothing else (a small model
made from scratch has no words to spare), and ``react``, in which an instruct model may think before it acts
(ReAct, arXiv 2210.03629).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

Message = dict[str, str]


class Prompt(Protocol):
    """Turns observations into user messages and actions into replies, and back."""

    list_admissible: bool

    def opening(self, observation: str, admissible_actions: Sequence[str]) -> list[Message]:
        """Return the messages that open an episode."""

    def turn(self, observation: str, admissible_actions: Sequence[str]) -> str:
        """Return the user message that carries a later observation."""

    def reply(self, action: str) -> str:
        """Return what the policy should write in order to do ``action``."""

    def action(self, reply: str) -> str:
        """Return the action in ``reply``; the text itself where none is marked, for the environment to answer."""


class MissingAdmissibleActionsError(ValueError):
    """A prompt lists admissible actions that a trajectory did not keep."""


def _listing(admissible_actions: Sequence[str]) -> str:
    if not admissible_actions:
        raise MissingAdmissibleActionsError(
            "prompt.list_admissible=true needs the admissible actions of every step, and these episodes were collected "
            "without them: collect them again with the same prompt"
        )
    return "\nAdmissible actions: " + ", ".join(admissible_actions)


@dataclass(frozen=True)
class ActionPrompt:
    """The observation as it is; the reply is the action."""

    list_admissible: bool = False

    def opening(self, observation: str, admissible_actions: Sequence[str]) -> list[Message]:
        return [{"role": "user", "content": self.turn(observation, admissible_actions)}]

    def turn(self, observation: str, admissible_actions: Sequence[str]) -> str:
        return observation + (_listing(admissible_actions) if self.list_admissible else "")

    def reply(self, action: str) -> str:
        return action

    def action(self, reply: str) -> str:
        return reply.strip()


@dataclass(frozen=True)
class ReactPrompt:
    """An instruction first; the reply is a thought, where the policy has one, and then ``Action: <action>``."""

    instruction: str
    list_admissible: bool = False

    def opening(self, observation: str, admissible_actions: Sequence[str]) -> list[Message]:
        content = f"{self.instruction.strip()}\n\n{self.turn(observation, admissible_actions)}"
        return [{"role": "user", "content": content}]

    def turn(self, observation: str, admissible_actions: Sequence[str]) -> str:
        return f"Observation: {observation}" + (_listing(admissible_actions) if self.list_admissible else "")

    def reply(self, action: str) -> str:
        return f"Action: {action}"

    def action(self, reply: str) -> str:
        _, marker, after = reply.rpartition("Action:")
        lines = (after if marker else reply).strip().splitlines()
        return lines[0].strip() if lines else ""
