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

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase
from trl.chat_template_utils import get_training_chat_template

from prism_bench.accounting.ledger import Meter
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


@dataclass(frozen=True, slots=True)
class Rendered:
    """Tokens of one trajectory. ``labels`` equals ``input_ids`` at the agent's tokens and ``IGNORED`` elsewhere."""

    input_ids: list[int]
    labels: list[int]
    steps: int  # how many steps of the trajectory fit

    @property
    def agent_tokens(self) -> int:
        return sum(label != IGNORED for label in self.labels)


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
        messages = self.prompt.messages(observation, admissible_actions)
        return [*self._encode(self._chat(messages if self._takes_system else _without_system(messages)))]

    def completion(self, step: Step) -> list[int]:
        """Return the tokens of a completion, its end-of-turn token included unless it was truncated."""
        text = step.completion
        if text is None:
            text = self.prompt.completion(step.action, step.observation, step.admissible_actions)
        return [*self._encode(text), *([] if step.truncated else [self.end_token_id])]

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
        fitted = 0
        before: Step | None = None
        for step in trajectory.steps:
            shown = step.observation, step.admissible_actions
            context = self.prompt_ids(*shown) if before is None else self.observation(*shown, before.observation)
            if before is not None and before.truncated:
                context = [self.end_token_id, *context]  # as the policy read it
            completion = self.completion(step)
            if len(input_ids) + len(context) + len(completion) > self.max_length:
                break
            input_ids += context + completion
            labels += [IGNORED] * len(context) + completion
            fitted += 1
            before = step
        if not fitted:
            raise InputError(
                f"task {trajectory.task_id}: the prompt and the first completion exceed the context of "
                f"{self.max_length} tokens; raise model.max_length"
            )
        return Rendered(input_ids, labels, fitted)

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
    meter.add(demonstrations=len(rendered), demonstrations_truncated=truncated)
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
