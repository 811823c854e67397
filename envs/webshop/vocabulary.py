"""The vocabulary of generated catalogues: kinds of products, their attributes, options and prices, brands.

Everything in ``vocabulary.json`` is invented; only its structure (a search phrase per kind, a category path, attributes
of two or three words, option values) follows the official catalogue. The words are few, so that a very small language
model can learn all of them, and prices are price points, as in shops. In the file:

* a kind has its ``own`` attributes, then those of its ``list`` and of its category;
* attributes are separated by commas; a leading ``with`` or ``for`` joins them to a noun and belongs to no attribute; of
  alternatives (``long sleeve|short sleeve``) a product has at most one;
* the first entries of a list of attributes or option values are the most frequent;
* ``sentences`` end descriptions and bullet points, and contain no attribute.
"""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PATH_SEPARATOR = " \N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK} "


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute, and the word that joins it to a noun: ``with``, ``for``, or none before the noun."""

    text: str
    link: str


@dataclass(frozen=True, slots=True)
class Option:
    """An option name as the raw files spell it, with all possible values."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of products with the same search phrase.

    Of each tuple in ``attributes`` a product has at most one. ``dollars`` are the price points, ascending. ``noun`` is
    the word for the product in titles.
    """

    category: str
    query: str
    noun: str
    path: str
    dollars: tuple[int, ...]
    attributes: tuple[tuple[Attribute, ...], ...]
    options: tuple[Option, ...]
    sentences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The whole vocabulary. Kinds are sorted by category, and within a category by frequency."""

    kinds: tuple[Kind, ...]
    cents: tuple[str, ...]
    brand_starts: tuple[str, ...]
    brand_ends: tuple[str, ...]
    models: tuple[str, ...]

    @property
    def brands(self) -> int:
        """The number of brands."""
        return len(self.brand_starts) * len(self.brand_ends)

    def brand(self, number: int) -> str:
        """Return a brand; each number below ``brands`` has its own."""
        turn, start = divmod(number, len(self.brand_starts))
        return self.brand_starts[start] + self.brand_ends[(turn + 7 * start) % len(self.brand_ends)]

    def model(self, number: int) -> str:
        """Return the name of a model: a word, or a word with a number once the words are used up."""
        turn, word = divmod(number, len(self.models))
        return f"{self.models[word]} {turn + 1}" if turn else self.models[word]


@functools.cache
def vocabulary() -> Vocabulary:
    """Return the vocabulary of ``vocabulary.json``."""
    tables = json.loads(Path(__file__).with_name("vocabulary.json").read_text(encoding="ascii"))
    return Vocabulary(
        kinds=tuple(_kind(tables, category, entry) for category, kinds in tables["kinds"].items() for entry in kinds),
        cents=tuple(tables["cents"]),
        brand_starts=tuple(tables["brand_starts"].split()),
        brand_ends=tuple(tables["brand_ends"].split()),
        models=tuple(tables["models"].split()),
    )


def _kind(tables: Mapping[str, Any], category: str, entry: Mapping[str, Any]) -> Kind:
    lowest, highest = entry["dollars"]
    lists = (entry["own"], tables["attributes"][entry["list"]], tables["attributes"][category])
    options = [tables["options"][name] for name in entry["options"].split(", ")]
    return Kind(
        category=category,
        query=entry["query"],
        noun=entry["noun"],
        path=_PATH_SEPARATOR.join([tables["paths"][category], *entry["path"].split(" > ")]),
        dollars=tuple(point for point in tables["dollars"] if lowest <= point <= highest),
        attributes=tuple(_alternatives(text) for attributes in lists for text in attributes.split(", ")),
        options=tuple(Option(option["name"], tuple(option["values"].split(", "))) for option in options),
        sentences=tuple(tables["sentences"][category]),
    )


def _alternatives(text: str) -> tuple[Attribute, ...]:
    link = next((link for link in ("with", "for") if text.startswith(f"{link} ")), "")
    return tuple(Attribute(choice, link) for choice in text.removeprefix(f"{link} ").split("|"))
