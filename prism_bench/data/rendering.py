"""The one place where text becomes tokens and labels.

The probe, SFT, RL and evaluation must see the same tokens, or scores and rewards belong to different policies. An
episode is therefore rendered piece by piece, exactly as it grows in a rollout: the prompt, then in turn a completion
and the next observation. No piece is tokenised together with another, and no sampled token is ever decoded and encoded
again.

The pieces come out of the tokenizer's own chat template, which has to be prefix-preserving: a longer conversation must
begin with the text of the shorter one. Templates that rewrite earlier turns (Qwen3 drops earlier thoughts) are replaced
by the training templates that TRL ships for the same models; any other is refused. Qwen3 runs in its mode without
thinking, in which a template puts an empty thought before every completion: a thought that is part of a completion
would belong to the policy, and expert episodes have none.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase
from trl.chat_template_utils import get_training_chat_template

from prism_bench.accounting.meter import Meter
from prism_bench.data.prompts import Message, Prompt
from prism_bench.data.trajectory import Step, Trajectory
from prism_bench.errors import InputError

IGNORED = -100
"""The label of a token that is context, not target (``torch.nn.CrossEntropyLoss``'s default)."""

_TEMPLATE_VARIABLES: dict[str, Any] = {
    "enable_thinking": False,
    "date_string": "26 Jul 2024",  # Llama 3.1's default; Llama 3.2's is today, and no run could be repeated tomorrow
}

_SYSTEM, _FIRST = "\u24eabefore\u24ea", "\u2460first\u2460"
_COMPLETION, _SECOND = "\u2461reply\u2461", "\u2462second\u2462"

_LEFT_OUT = "\n...\n"
"""Stands for the turns between the first observation and the last turns."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """Tokens of one trajectory. ``labels`` equals ``input_ids`` at the agent's tokens and ``IGNORED`` elsewhere.

    Where the policy reads the last turns only (``prompt.last_turns``), the trajectory is several contexts in a row.
    Their first tokens are at ``starts``, and no token reads one of another context.
    """

    input_ids: list[int]
    labels: list[int]
    steps: int  # how many steps of the trajectory fit
    starts: tuple[int, ...] = (0,)

    @property
    def agent_tokens(self) -> int:
        return sum(label != IGNORED for label in self.labels)

    @property
    def contexts(self) -> list[tuple[list[int], list[int]]]:
        """Tokens and labels of each context."""
        ends = (*self.starts[1:], len(self.input_ids))
        return [
            (self.input_ids[start:end], self.labels[start:end]) for start, end in zip(self.starts, ends, strict=True)
        ]

    @property
    def positions(self) -> list[int]:
        """Position of each token in its context."""
        return [position for ids, _ in self.contexts for position in range(len(ids))]


class Renderer:
    """Renders episodes for one tokenizer and one prompt.

    Args:
        tokenizer: with a chat template; its end-of-turn token ends a completion.
        prompt: what is written around observations and actions.
        max_length: tokens of context; a longer trajectory is truncated after the last step that fits.

    Raises:
        InputError: the tokenizer has no chat template, or one that is not prefix-preserving.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, prompt: Prompt, max_length: int) -> None:
        self.tokenizer = tokenizer
        self.prompt = prompt
        self.max_length = max_length
        self._name = tokenizer.name_or_path or "this tokenizer"
        if tokenizer.chat_template is None:
            raise InputError(
                f"{self._name}: the tokenizer has no chat template; use an instruct checkpoint, or set "
                "tokenizer.chat_template and save it again"
            )
        self._template = _prefix_preserving_template(tokenizer)
        self._takes_system = self._shows_system()
        end, self._between_start, self._between_end = self._split_turns()
        self.end_token_id = cast(int, tokenizer.convert_tokens_to_ids(end))
        self._encode = lru_cache(maxsize=200_000)(self._encode_text)

    def prompt_ids(self, observation: str, admissible_actions: tuple[str, ...] = ()) -> list[int]:
        """Return the tokens before the first completion."""
        return self._prompt(self.prompt.messages(observation, admissible_actions))

    def completion(self, step: Step) -> list[int]:
        """Return the tokens of a completion, its end-of-turn token included unless it was truncated."""
        text = step.completion
        if text is None:
            text = self.prompt.completion(step.action, step.observation, step.admissible_actions)
        return [*self._encode(text), *([] if step.truncated else [self.end_token_id])]

    def next_context(
        self, steps: Sequence[Step], observation: str, admissible_actions: tuple[str, ...] = ()
    ) -> tuple[list[int], bool]:
        """Return the tokens that the policy reads before its next completion, and whether they are a new context.

        Without ``prompt.last_turns`` only the first ones are; the others follow the completion of the last step. With
        it, a context that would have more earlier turns is replaced by the first observation and the last turns.

        Args:
            steps: the episode so far; rewards are not read.
            observation: what the environment says now.
            admissible_actions: those of now.
        """
        if not steps:
            return self.prompt_ids(observation, admissible_actions), True
        turns = self.prompt.last_turns
        if turns is None or len(steps) <= turns:
            return self._after(steps[-1], observation, admissible_actions), False
        kept = steps[-turns:]
        ids = self._opening(steps[0], kept[0])
        for step, after in itertools.pairwise(kept):
            ids += self.completion(step) + self._after(step, after.observation, after.admissible_actions)
        return ids + self.completion(kept[-1]) + self._after(kept[-1], observation, admissible_actions), True

    def observation(
        self, observation: str, admissible_actions: tuple[str, ...] = (), previous: str | None = None
    ) -> list[int]:
        """Return the tokens between two completions; ``previous`` is the observation before this one."""
        turn = self.prompt.turn(observation, admissible_actions, previous)
        return [*self._encode(f"{self._between_start}{turn}{self._between_end}")]

    def decode(self, completion_ids: list[int]) -> str:
        """Return the text of a sampled completion, without its end-of-turn token."""
        return cast(str, self.tokenizer.decode(completion_ids, skip_special_tokens=True))

    def render(self, trajectory: Trajectory) -> Rendered:
        """Return tokens and labels of ``trajectory``, truncated after the last whole step that fits ``max_length``.

        Raises:
            InputError: not even the first step fits.
        """
        input_ids: list[int] = []
        labels: list[int] = []
        starts: list[int] = []
        fitted = 0
        for step in trajectory.steps:
            context, new = self.next_context(trajectory.steps[:fitted], step.observation, step.admissible_actions)
            completion = self.completion(step)
            before = 0 if new else len(input_ids) - starts[-1]
            if before + len(context) + len(completion) > self.max_length:
                break
            starts += [len(input_ids)] if new else []
            input_ids += context + completion
            labels += [IGNORED] * len(context) + completion
            fitted += 1
        if not fitted:
            raise InputError(
                f"task {trajectory.task_id}: the prompt and the first completion exceed the context of "
                f"{self.max_length} tokens; raise model.max_length"
            )
        return Rendered(input_ids, labels, fitted, tuple(starts))

    def _after(self, step: Step, observation: str, admissible_actions: tuple[str, ...]) -> list[int]:
        """Return the tokens between the completion of ``step`` and the next one, as the policy reads them."""
        end = [self.end_token_id] if step.truncated else []
        return end + self.observation(observation, admissible_actions, step.observation)

    def _opening(self, first: Step, resumed: Step) -> list[int]:
        """Return a prompt that goes on from the first observation to that of a later step."""
        *others, user = self.prompt.messages(first.observation, first.admissible_actions)
        turn = self.prompt.turn(resumed.observation, resumed.admissible_actions)
        return self._prompt([*others, {**user, "content": f"{user['content']}{_LEFT_OUT}{turn}"}])

    def _prompt(self, messages: list[Message]) -> list[int]:
        return [*self._encode(self._chat(messages if self._takes_system else _without_system(messages)))]

    def _encode_text(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))

    def _chat(self, messages: list[Message], generate: bool = True) -> str:
        return cast(
            str,
            self.tokenizer.apply_chat_template(
                messages,
                chat_template=self._template,
                tokenize=False,
                add_generation_prompt=generate,
                **_TEMPLATE_VARIABLES,
            ),
        )

    def _shows_system(self) -> bool:
        """Return whether the chat template has a place for a system message; Gemma's refuses one."""
        try:
            return _SYSTEM in self._chat([{"role": "system", "content": _SYSTEM}, {"role": "user", "content": _FIRST}])
        except TemplateError:
            return False

    def _split_turns(self) -> tuple[str, str, str]:
        """Return the end-of-turn token and the text around the next user message."""
        conversation = [
            {"role": "user", "content": _FIRST},
            {"role": "assistant", "content": _COMPLETION},
            {"role": "user", "content": _SECOND},
        ]
        prompt, answered, continued = (self._chat(conversation[:n], generate=n != 2) for n in (1, 2, 3))
        if not (answered.startswith(prompt + _COMPLETION) and continued.startswith(answered)):
            raise InputError(
                f"{self._name}: the chat template is not prefix-preserving, so an episode cannot grow "
                "without being encoded again; give the tokenizer a template that leaves earlier turns as they are"
            )
        after_completion = continued[len(prompt + _COMPLETION) :]
        specials = [token for token in self.tokenizer.all_special_tokens if after_completion.startswith(token)]
        if not specials:
            raise InputError(
                f"{self._name}: the chat template does not end a completion with a special token "
                f"(it goes on with {after_completion[:20]!r}), so a policy could not say that it is done"
            )
        end = max(specials, key=len)
        before, after = after_completion[len(end) :].split(_SECOND)
        return end, before, after


def render_demonstrations(renderer: Renderer, trajectories: Sequence[Trajectory], meter: Meter) -> list[Rendered]:
    """Render ``trajectories`` for training, and count in ``meter`` all of them and those that lost steps.

    Raises:
        InputError: not even the first step of a trajectory fits.
    """
    rendered = [renderer.render(trajectory) for trajectory in trajectories]
    truncated = sum(one.steps < len(trajectory.steps) for one, trajectory in zip(rendered, trajectories, strict=True))
    meter.add_once(demonstrations=len(rendered), demonstrations_truncated=truncated)
    return rendered


def _without_system(messages: list[Message]) -> list[Message]:
    """Return messages in which a system message is the beginning of the user message that follows it."""
    if messages[0]["role"] != "system":
        return messages
    system, first, *others = messages
    return [{**first, "content": f"{system['content']}\n\n{first['content']}"}, *others]


def _prefix_preserving_template(tokenizer: PreTrainedTokenizerBase) -> str:
    try:
        replacement = get_training_chat_template(tokenizer)
    except ValueError:  # TRL does not know this template; _split_turns judges it
        replacement = None
    return cast(str, replacement or tokenizer.chat_template)
