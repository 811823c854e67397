"""Goals: instructions to find a product, made from the catalogue.

Source: ``web_agent_site/engine/goal.py`` of https://github.com/princeton-nlp/WebShop (``get_synthetic_goals``,
``get_human_goals``) and ``web_agent_site/envs/web_agent_text_env.py`` for their order.

A *synthetic* goal is a product's instruction with one combination of its options; a *human* goal is an instruction that
a person wrote for the product. Both get a price limit, unless the product is too expensive for one.

Deviations: upstream draws limits from the process's random state, so that they differ between servers. Here a limit
depends on a seed, the product's code and, for a human goal, the number of its instruction. The goals are in upstream's
order for every seed. An instruction without attributes makes no goal; upstream leaves such human instructions out, too,
and stops at a synthetic one.
"""

import bisect
import itertools
import math
import random
from array import array
from dataclasses import dataclass

from envs.webshop.json_stream import JsonStream
from envs.webshop.products import Product, draw, text, texts
from prism_bench.errors import InputError

NO_LIMIT = 1_000_000.0
"""The price limit of a goal without one (upstream's number)."""

LIMITS = tuple(10.0 * number for number in range(1, 100))
"""Possible limits: two of the four next above the price are drawn, and the larger one is taken."""

ORDER_SEED = 233
"""Upstream shuffles its goals with this seed."""


@dataclass(frozen=True, slots=True)
class Goal:
    """One goal. ``options`` are (name, value) pairs of a synthetic goal, or plain strings of a human one.

    ``name`` is the title of the product that the goal was made from; with ``query``, ``product_category`` and
    ``attributes`` it belongs to the reward and is never shown. ``instruction`` is the whole sentence that is shown.
    """

    asin: str
    category: str
    query: str
    name: str
    product_category: str
    instruction: str
    attributes: tuple[str, ...]
    price_upper: float
    options: tuple[tuple[str, str] | str, ...]


@dataclass(frozen=True, slots=True)
class HumanInstruction:
    """An instruction that a person wrote for a product; ``number`` counts a product's from 0, unusable ones too."""

    number: int
    instruction: str
    attributes: tuple[str, ...]
    options: tuple[str, ...]


def read_human_instructions(stream: JsonStream) -> dict[str, tuple[HumanInstruction, ...]]:
    """Return the instructions of ``items_human_ins.json`` that make a goal, by asin.

    Raises:
        InputError: the file is no JSON object of lists of instructions.
    """
    instructions = {}
    for place, asin, entries in stream.members():
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise InputError(f"{place}: {asin!r:.20} has {entries!r:.40} where a list of instructions is expected")
        instructions[asin] = tuple(
            HumanInstruction(
                number,
                text(entry, "instruction", place),
                texts(entry, "instruction_attributes", place),
                texts(entry, "instruction_options", place),
            )
            for number, entry in enumerate(entries)
            if entry.get("instruction_attributes")
        )
    return instructions


def price_limit(price: float, *key: object) -> float:
    """Return the limit of a goal whose product costs ``price``, drawn by ``key``; none from 980 dollars on."""
    start = bisect.bisect_right(LIMITS, price)
    larger = [pair[1] for pair in itertools.combinations(LIMITS[start : start + 4], 2)]
    return larger[int(draw("limit", *key) * len(larger))] if larger else NO_LIMIT


def synthetic_count(product: Product) -> int:
    """Return the number of synthetic goals of a product: one for each combination of its options."""
    if product.instruction is None or not product.instruction_attributes:
        return 0
    return math.prod(len(values) for _, values in product.options)


def synthetic_goal(product: Product, combination: int, seed: int) -> Goal:
    """Return the goal of one combination of options, numbered as ``itertools.product`` over sorted names yields them.

    All goals of a product have the same limit.
    """
    options = []
    for name, values in sorted(product.options, reverse=True):
        combination, value = divmod(combination, len(values))
        options.append((name, values[value]))
    options.reverse()
    listed = ", and ".join(f"{name}: {value}" for name, value in options)
    limit = price_limit(product.price, seed, product.asin)
    sentence = f"{product.instruction}{f' with {listed}' if listed else ''}"
    return _goal(product, sentence, product.instruction_attributes, limit, tuple(options))


def human_goal(product: Product, human: HumanInstruction, seed: int) -> Goal:
    """Return the goal of one human instruction; each has its own limit."""
    limit = price_limit(product.price, seed, product.asin, human.number)
    return _goal(product, human.instruction.strip("."), human.attributes, limit, human.options)


def _goal(
    product: Product,
    sentence: str,
    attributes: tuple[str, ...],
    limit: float,
    options: tuple[tuple[str, str] | str, ...],
) -> Goal:
    return Goal(
        asin=product.asin,
        category=product.category,
        query=product.query,
        name=product.title,
        product_category=product.product_category,
        instruction=sentence + (f", and price lower than {limit:.2f} dollars" if limit < NO_LIMIT else ""),
        attributes=attributes,
        price_upper=limit,
        options=options,
    )


def shuffled(count: int) -> "array[int]":
    """Return the numbers of ``count`` goals, counted as they are made, in upstream's order."""
    order = array("q", range(count))
    random.Random(ORDER_SEED).shuffle(order)
    return order
