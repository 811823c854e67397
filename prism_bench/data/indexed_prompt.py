"""A prompt for pages: links and the words of a query are named by their position.

A small model made from scratch can neither copy a product code nor write a query letter by letter, but it can learn to
repeat a word of the page and the number that follows it there. Every admissible action whose argument is a piece of the
page gets a number behind that piece, and the completion is the piece with its number: ``large#3`` for ``click[large]``
below. Where an action is an open form, such as ``search[<keywords>]``, the words of the task are numbered as well, and
the completion names the form and its words: ``search#4#5`` for ``search[red shirt]``.

    page     Instruction: [SEP] Find me a red shirt [SEP] Back to Search [SEP] size [SEP] small [SEP] large
    prompt   find me a red shirt back to search#1 size small#2 large#3

The number decides. A model of two layers needs the words before it to find it: one step to the word that the task asks
for, one to the number behind it.

The prompt also leaves out capitals, punctuation in the task, the codes of things (a number says as much), the end of
long pieces, and a page that an action did not change. Numbers are attached to the text before them and words have a
space before them, so that each is the same token on the page and in a completion. Admissible actions that are not on
the page follow at its end, numbered too. The prompt therefore serves every environment, as a list of choices.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

from annotated_types import MinLen

from prism_bench.data.prompts import Message, Prompt, require_admissible
from prism_bench.errors import InputError
from prism_bench.settings.types import Count

_ACTION = re.compile(r"(?P<name>[^\[\]]+)\[(?P<argument>.*)\]", re.DOTALL)
_OPEN = re.compile(r"<.+>", re.DOTALL)
_COMPLETION = re.compile(r"(?P<name>[^#]*)(?P<numbers>(?:#\d{1,6})+)")
_EDGES = " \t\n.,:;!?\"'()"


@dataclass(frozen=True, slots=True)
class _Page:
    """A page as the policy reads it, and the meaning of its numbers."""

    text: str
    actions: dict[int, str]
    names: dict[int, str]  # the text in front of the number of an action
    words: dict[int, str]
    forms: tuple[str, ...]  # the names of open forms


@dataclass(frozen=True)
class IndexedPrompt(Prompt):
    """Prompt that names actions and words by their position.

    Args:
        separator: stands between the pieces of a page.
        code: a regular expression of pieces that are shown as their number alone.
        task_label: the piece after which the task stands; None: any piece of a page with a form may state it.
        words_per_piece: the most words of a piece; longer ones are truncated.

    Raises:
        InputError: ``code`` is no regular expression.
    """

    separator: Annotated[str, MinLen(1)]
    code: str | None = None
    task_label: str | None = None
    words_per_piece: Count = 12

    def __post_init__(self) -> None:
        try:
            re.compile(self.code or "")
        except re.error as error:
            raise InputError(f"code={self.code} is no regular expression ({error})") from None

    @property
    def needs_admissible(self) -> bool:
        return True

    def messages(self, observation: str, admissible_actions: Sequence[str]) -> list[Message]:
        return [{"role": "user", "content": self.turn(observation, admissible_actions)}]

    def turn(self, observation: str, admissible_actions: Sequence[str], previous: str | None = None) -> str:
        return "unchanged" if observation == previous else self._page(observation, admissible_actions).text

    def completion(self, action: str, observation: str, admissible_actions: Sequence[str]) -> str:
        """Return the number of ``action``, or its form and the numbers of its words.

        An action that is not on the page is its own completion: it can be read, but not learned.
        """
        page = self._page(observation, admissible_actions)
        for number, meant in page.actions.items():
            if meant == action:
                return f"{page.names[number]}#{number}"
        form = _ACTION.fullmatch(action)
        if form is None or form["name"] not in page.forms:
            return action
        numbers: list[int] = []
        for word in form["argument"].split():
            places = [number for number, there in page.words.items() if there == word.strip(_EDGES).lower()]
            if not places:
                return action
            last = numbers[-1] if numbers else 0
            numbers.append(next((number for number in places if number > last), places[0]))
        return form["name"] + "".join(f"#{number}" for number in numbers) if numbers else action

    def action(self, completion: str, observation: str, admissible_actions: Sequence[str]) -> str:
        """Return the action that ``completion`` names on this page; the completion itself if it names none."""
        page = self._page(observation, admissible_actions)
        text = completion.strip()
        named = _COMPLETION.fullmatch(text)
        if named is None:
            return text
        numbers = [int(number) for number in named["numbers"][1:].split("#")]
        if named["name"] in page.forms:
            known = all(number in page.words for number in numbers)
            return f"{named['name']}[{' '.join(page.words[number] for number in numbers)}]" if known else text
        return page.actions.get(numbers[0], text) if len(numbers) == 1 else text

    def _page(self, observation: str, admissible_actions: Sequence[str]) -> _Page:
        require_admissible(admissible_actions)
        return _read(self, observation, tuple(admissible_actions))


@lru_cache(maxsize=4096)
def _read(prompt: IndexedPrompt, observation: str, admissible_actions: tuple[str, ...]) -> _Page:
    forms, choices = [], {}  # choices: an action's argument as the page shows it -> the action
    for action in admissible_actions:
        parts = _ACTION.fullmatch(action)
        if parts is not None and _OPEN.fullmatch(parts["argument"]):
            forms.append(parts["name"])
        else:
            choices[action if parts is None else parts["argument"]] = action
    numbers = itertools.count(1)
    actions: dict[int, str] = {}
    names: dict[int, str] = {}
    words: dict[int, str] = {}
    written: list[str] = []

    def write_choice(action: str, name: str) -> None:
        actions[number := next(numbers)], names[number] = action, name
        written.append(f"{name}#{number}")

    for piece, is_task in _pieces(prompt, observation):
        shown = "".join(f" {word}" for word in piece.lower().split()[: prompt.words_per_piece])
        if piece.lower() in choices:
            hidden = prompt.code is not None and re.fullmatch(prompt.code, piece)
            write_choice(choices[piece.lower()], "" if hidden else shown)
        elif is_task and (forms or prompt.task_label is not None):
            for word in filter(None, (word.strip(_EDGES) for word in piece.lower().split())):
                written.append(f" {word}")
                if forms:
                    words[number := next(numbers)] = word
                    written.append(f"#{number}")
        else:
            written.append(shown)
    for action in choices.values():
        if action not in actions.values():
            write_choice(action, f" {action}")
    return _Page("".join(written), actions, names, words, tuple(forms))


def _pieces(prompt: IndexedPrompt, observation: str) -> Iterator[tuple[str, bool]]:
    """Yield each piece of the page and whether it states the task (without a label any piece may)."""
    before: str | None = None
    for piece in (part.strip() for part in observation.split(prompt.separator)):
        if piece and not (prompt.task_label is not None and piece == prompt.task_label):
            yield piece, prompt.task_label is None or before == prompt.task_label
        before = piece
