"""An expert that acts on the pages alone: the instruction, results with their prices, the options of a product.

It searches for the words of the instruction and opens the first result within the price limit. While a product lacks a
wanted option, it goes back and opens the next one. Then it selects the options in the order of the page, and buys. It
does not know a goal's attributes or category and reads no descriptions; it relies on the ranking of the search. Some of
its purchases therefore have a reward below 1; only those with a reward of 1 are demonstrations. It knows the regime of
the goal (``info["regime"]``): where a description has to be opened before a purchase, it opens it.

Upstream's rule-based baseline searches for the whole instruction and buys the first result, without selecting options.
"""

import math
import re
from dataclasses import dataclass
from typing import Any

from envs.webshop.engine import PAGE_LENGTH
from envs.webshop.pages import BACK, BUY, DESCRIPTION, ITEM_BUTTONS, NEXT, PREVIOUS
from envs.webshop.regimes import REGIMES
from prism_bench.environments.contract import CLEAN

STEPS = 15
"""Number of actions in an episode; the last of them are kept for the options and for buying."""

_BUY, _NEXT, _PREVIOUS, _BACK, _DESCRIPTION = (
    f"click[{name.lower()}]" for name in (BUY, NEXT, PREVIOUS, BACK, DESCRIPTION)
)
_BUTTONS = frozenset(name.lower() for name in ITEM_BUTTONS)  # an option value called like one cannot be selected

# Upstream's wording of synthetic goals: "Find me A, B QUERY with C, D for E with NAME: VALUE, and NAME: VALUE, and
# price lower than 30.00 dollars". The first pattern matches human instructions too.
_LIMIT = re.compile(r"(?P<rest>.*?)(?:, and price lower than (?P<limit>\d+(?:\.\d+)?) dollars)?", re.DOTALL)
_OPTIONS = re.compile(r"Find me (?P<rest>.*?) with (?P<options>(?:(?! with )[^:])+: .*)", re.DOTALL)
_NEXT_OPTION = re.compile(r", and (?=[^:,]+: )")

_PRICE = re.compile(r"\$(\d+(?:\.\d+)?)")
_COUNTS = re.compile(r"Page (\d+) \(Total results: (\d+)\)")
_MARKS = re.compile(r"\s*\[(?:clicked )?button\] (.*) \[(?:clicked )?button_\]")  # of text_rich
_UNSEARCHED = """
    a am an and are be buy can find for i i'd i'm im in is it like looking me my need of on or please show some that the
    to want which with would you
"""
_NOT_SEARCHED = frozenset(_UNSEARCHED.split())


@dataclass(frozen=True, slots=True)
class Request:
    """The product that an instruction asks for.

    ``options`` are (name, value) pairs; None for a human instruction, whose ``words`` may name values.
    """

    words: tuple[str, ...]
    options: tuple[tuple[str, str], ...] | None
    limit: float


def read_request(instruction: str) -> Request:
    """Return the request of ``instruction``; ``words`` are those to search for, in its order, each once."""
    sentence = _LIMIT.fullmatch(instruction)
    assert sentence is not None  # the pattern matches any text
    text = sentence["rest"]
    options: tuple[tuple[str, str], ...] | None = () if text.startswith("Find me ") else None
    if found := _OPTIONS.fullmatch(text):
        pairs = [option.partition(": ") for option in _NEXT_OPTION.split(found["options"])]
        options = tuple((name, value) for name, _, value in pairs)
        text = " ".join([found["rest"], *(value for _, value in options)])
    words = (word.strip(",.:;?!") for word in re.sub(r"[\[\]]", " ", text).split())
    searched = dict.fromkeys(w for w in words if any(map(str.isalnum, w)) and w.lower() not in _NOT_SEARCHED)
    return Request(tuple(searched), options, float(sentence["limit"] or "inf"))


class SearchExpert:
    """Expert for both observation modes; deterministic, one episode at a time."""

    def reset(self, observation: str, info: dict[str, Any]) -> None:
        """Read the instruction on the first page."""
        pieces = _pieces(observation)
        self.instruction = " ".join(pieces[pieces.index("Instruction:") + 1 : -1])
        self.request = read_request(self.instruction)
        described = REGIMES[info.get("regime") or CLEAN].rule == "description_first"
        self.ending = [_DESCRIPTION, _PREVIOUS, _BUY] if described else [_BUY]
        self.left = STEPS
        self.opened: set[str] = set()
        self.choosy = True  # until all results were seen or too few steps are left
        self.selection: list[str] = []  # clicks to come, once a product is chosen; buying is the last

    def act(self, observation: str, info: dict[str, Any]) -> str:
        """Return the next action, from the page and its admissible actions."""
        action = self._decide(_pieces(observation), frozenset(info["admissible_actions"]))
        self.left -= 1
        return action

    def _decide(self, pieces: list[str], possible: frozenset[str]) -> str:
        if self.selection:
            return self.selection.pop(0)
        if _BUY in possible:
            return self._on_product(pieces, possible)
        if _NEXT in possible:
            return self._on_results(pieces, possible)
        return f"search[{' '.join(self.request.words)}]"

    def _on_results(self, pieces: list[str], possible: frozenset[str]) -> str:
        is_last = _is_last_page(pieces)
        choosy = self.choosy and self._can_afford(2 if is_last else 1)  # behind the last page comes the first search
        best = min(_results(pieces, possible), key=self._reluctance, default=None)
        if best is not None and not (choosy and any(self._reluctance(best))):
            self.opened.add(best[0])
            return best[0]
        if not is_last:
            return _NEXT
        self.choosy = False
        return _BACK

    def _reluctance(self, result: tuple[str, float]) -> tuple[bool, bool]:
        """Return whether a result was opened before, and whether it is too expensive."""
        click, price = result
        return click in self.opened, price > self.request.limit

    def _on_product(self, pieces: list[str], possible: frozenset[str]) -> str:
        values, complete = self._wanted(_options(pieces, possible))
        if not complete and self.choosy and self._can_afford(1):
            return _PREVIOUS
        self.selection = [*(f"click[{value}]" for value in values), *self.ending]
        return self.selection.pop(0)

    def _can_afford(self, actions: int) -> bool:
        """Return whether, after ``actions`` more, enough are left to open a product, select its options and buy it."""
        return self.left >= actions + 1 + len(self.ending) + len(self.request.options or ())

    def _wanted(self, offered: dict[str, list[str]]) -> tuple[list[str], bool]:
        """Return the ``offered`` values (by option name) to select, and whether all wanted values are among them."""
        if self.request.options is None:
            mentioned = (_mentioned(values, self.instruction.lower()) for values in offered.values())
            return [value for value in mentioned if value is not None], True
        wanted = {value for _, value in self.request.options}  # the reward does not ask for their names either
        found = [value for values in offered.values() for value in values if value in wanted]
        return list(dict.fromkeys(found)), wanted <= set(found)


def _pieces(observation: str) -> list[str]:
    """Return the texts of a page in their order, without the marks of ``text_rich``."""
    if "[button_]" not in observation and "[clicked button_]" not in observation:
        return observation.split(" [SEP] ")
    lines = (line.strip() for line in observation.split("\n"))
    return [_MARKS.sub(r"\1", line) for line in lines if line and not line.startswith("You have clicked ")]


def _results(pieces: list[str], possible: frozenset[str]) -> list[tuple[str, float]]:
    """Return (click, lowest price) of every result on the page."""
    clicks = [(at, f"click[{piece.lower()}]") for at, piece in enumerate(pieces)]
    starts = [(at, click) for at, click in clicks if click in possible and click not in (_BACK, _PREVIOUS, _NEXT)]
    ends = [at for at, _ in starts[1:]] + [len(pieces)]
    found = []
    for (_, click), end in zip(starts, ends, strict=True):
        price = _PRICE.match(pieces[end - 1])
        found.append((click, float(price[1]) if price else math.inf))
    return found


def _is_last_page(pieces: list[str]) -> bool:
    counts = next((match for match in map(_COUNTS.fullmatch, pieces) if match), None)
    return counts is None or int(counts[1]) * PAGE_LENGTH >= int(counts[2])


def _options(pieces: list[str], possible: frozenset[str]) -> dict[str, list[str]]:
    """Return the values that can be selected on the page of a product, by option name, in its order."""
    start = pieces.index(PREVIOUS) + 1
    end = next((at for at in range(start, len(pieces)) if pieces[at].startswith("Price: ")), start)
    options: dict[str, list[str]] = {}
    name = ""
    for piece in pieces[start:end]:
        if f"click[{piece}]" in possible and piece not in _BUTTONS:
            options.setdefault(name, []).append(piece)
        else:
            name = piece
    return options


def _mentioned(values: list[str], text: str) -> str | None:
    """Return the longest of ``values`` that occurs in ``text`` as whole words."""
    found = [value for value in values if re.search(rf"(?<![\w']){re.escape(value)}(?!\w)", text)]
    return max(found, key=len, default=None)
