"""A catalogue generated from a seed, without a network: three files in the official raw schema.

    python -m envs.webshop.generator FOLDER --products 1000 --seed 0

Schema: ``items_shuffle.json``, ``items_ins_v2.json`` and ``items_human_ins.json`` of
https://github.com/princeton-nlp/WebShop, without the fields that upstream never reads (of an option value only
``value`` is written). Every name and sentence is ours (:mod:`envs.webshop.vocabulary`, :mod:`envs.webshop.listing`), so
results on a generated catalogue do not compare with results on the official one.

Products of a kind share their search phrase and category path. They differ in attributes, options and price, so that
several products almost satisfy a goal. Every attribute occurs in the product's texts: the first in the title, and all
but at most one in the indexed texts (title, description, first bullet point); that one occurs in a later bullet point.
Titles are in sentence case: attributes are spelt there as in a goal.

Product ``i`` depends on the seed and on ``i`` only, not on the number of products. Random numbers are drawn per block
of products with ``Generator.random``, whose stream is the same in all versions of NumPy. Memory does not grow with the
catalogue.
"""

import argparse
import functools
import json
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from rich.progress import Progress

from envs.webshop.listing import Draw, annotation_entry, human_entries, pick, product_entry
from envs.webshop.vocabulary import Kind, vocabulary
from prism_bench.errors import InputError

PRODUCTS_FILE = "items_shuffle.json"
INSTRUCTIONS_FILE = "items_ins_v2.json"
HUMAN_FILE = "items_human_ins.json"
MOST_PRODUCTS = 10_000_000

_BLOCK = 1024
_WITH_INSTRUCTION, _WITH_HUMAN_INSTRUCTION = 0.88, 0.05
_ATTRIBUTES_OF_A_PRODUCT = (4, 5, 5, 6, 6)
_ATTRIBUTES_OF_A_GOAL = (1, 1, 2, 2, 2, 3)
_OPTION_NAMES = (0, 1, 1, 2, 2, 2, 2, 3)
_VALUES_OF_AN_OPTION = (2, 3, 3, 4, 4, 5, 6)
_VALUES_OF_A_THIRD_OPTION = (2, 2, 3)
_ASIN_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ASINS = 36**8
_ASIN_STEP = 1_743_560_884_421  # has no factor in common with 36, so that codes repeat after 36**8 products only


def generate(folder: Path, products: int, seed: int, progress: Callable[[int], None] | None = None) -> None:
    """Write a catalogue to ``folder``, which appears with all three files or not at all.

    Args:
        folder: a folder that does not exist yet, or is empty.
        products: number of products, 1 to ``MOST_PRODUCTS``.
        seed: 0 or more; other seeds give other products.
        progress: called with the number of products written so far, about every thousand.

    Raises:
        InputError: a number out of its range, or a folder with something in it.
    """
    if not 1 <= products <= MOST_PRODUCTS:
        raise InputError(f"products={products} is no size of a catalogue; ask for 1 to {MOST_PRODUCTS}")
    if seed < 0:
        raise InputError(f"seed={seed} is negative; give 0 or more")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is no empty folder; give a new one or remove it")
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = folder.parent / f".{folder.name}-{secrets.token_hex(4)}"
    unfinished.mkdir()
    try:
        _write(unfinished, products, seed, progress)
        unfinished.replace(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write(folder: Path, products: int, seed: int, progress: Callable[[int], None] | None) -> None:
    with ExitStack() as stack:
        catalogue = stack.enter_context(_JsonFile(folder / PRODUCTS_FILE, "[", "]"))
        instructions = stack.enter_context(_JsonFile(folder / INSTRUCTIONS_FILE, "{", "}"))
        human = stack.enter_context(_JsonFile(folder / HUMAN_FILE, "{", "}"))
        for start in range(0, products, _BLOCK):
            stop = min(start + _BLOCK, products)
            for number, draw in zip(range(start, stop), _draws(seed, start), strict=False):
                asin = _asin(seed, number)
                catalogue.add(product_entry(draw, asin))
                instructions.add(annotation_entry(draw), asin)
                if draw.has_human:
                    human.add(human_entries(draw, asin), asin)
            if progress is not None:
                progress(stop)


class _JsonFile:
    """A JSON array or object, written entry by entry, one a line."""

    def __init__(self, path: Path, first: str, last: str) -> None:
        self._file = path.open("w", encoding="ascii", newline="\n")
        self._separator, self._end = f"{first}\n", f"{last}\n"
        self._is_empty = True

    def __enter__(self) -> "_JsonFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._file:
            self._file.write((self._separator if self._is_empty else "\n") + self._end)

    def add(self, entry: object, key: str = "") -> None:
        self._file.write(f'{self._separator}"{key}": ' if key else self._separator)
        self._file.write(json.dumps(entry))
        self._separator, self._is_empty = ",\n", False


@functools.cache
def _tables() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the cumulative shares of the kinds, and the factors of random keys per attribute and per option value.

    The entries with the smallest keys are chosen: later entries of a list have larger factors and are chosen less
    often; a factor of infinity marks an entry that does not exist. Shapes: (kinds,), (kinds, most attributes), (kinds,
    most options, most values).
    """
    every = vocabulary().kinds
    rank = np.array([sum(other.category == kind.category for other in every[:at]) for at, kind in enumerate(every)])
    shares = 1 / (rank + 12)
    attributes = np.full((len(every), max(len(kind.attributes) for kind in every)), np.inf)
    most_values = max(len(option.values) for kind in every for option in kind.options)
    values = np.full((len(every), max(len(kind.options) for kind in every), most_values), np.inf)
    for at, kind in enumerate(every):
        attributes[at, : len(kind.attributes)] = 1 + 0.25 * np.arange(len(kind.attributes))
        for place, option in enumerate(kind.options):
            values[at, place, : len(option.values)] = 1 + 0.2 * np.arange(len(option.values))
    return np.cumsum(shares) / shares.sum(), attributes, values


def _draws(seed: int, start: int) -> Iterator[Draw]:
    """Yield the draws of a whole block, whose random numbers do not depend on how many of them are used."""
    words, every = vocabulary(), vocabulary().kinds
    shares, attribute_growth, value_growth = _tables()
    rng = np.random.default_rng((seed, start))
    kind_numbers = np.minimum(np.searchsorted(shares, rng.random(_BLOCK)), len(every) - 1)
    numbers = np.arange(start, start + _BLOCK)
    # Later products are drawn from more brands and models. The cube makes few of them frequent.
    popularity = rng.random((2, _BLOCK))
    popularity = popularity * popularity * popularity
    brands = (np.minimum(50 + numbers // 600, words.brands) * popularity[0]).astype(int).tolist()
    models = ((24 + numbers // 500) * popularity[1]).astype(int).tolist()
    attribute_orders = _orders(rng.random((_BLOCK, attribute_growth.shape[1])) * attribute_growth[kind_numbers])
    alternatives = rng.random((_BLOCK, attribute_growth.shape[1])).tolist()
    name_orders = _orders(rng.random((_BLOCK, value_growth.shape[1])))
    value_orders = _orders(rng.random((_BLOCK, *value_growth.shape[1:])) * value_growth[kind_numbers])
    rest = rng.random((_BLOCK, 24)).tolist()
    for at, kind_number in enumerate(kind_numbers.tolist()):
        kind, chances = every[kind_number], iter(rest[at])
        slots = attribute_orders[at][: pick(_ATTRIBUTES_OF_A_PRODUCT, next(chances))]
        attributes = [pick(kind.attributes[slot], alternatives[at][slot]) for slot in slots]
        names = [place for place in name_orders[at] if place < len(kind.options)]
        options = []
        for turn, place in enumerate(sorted(names[: pick(_OPTION_NAMES, next(chances))])):
            choices = kind.options[place].values
            sizes = _VALUES_OF_A_THIRD_OPTION if turn == 2 else _VALUES_OF_AN_OPTION
            offered = sorted(value_orders[at][place][: min(pick(sizes, next(chances)), len(choices))])
            options.append((kind.options[place].name, [choices[value] for value in offered]))
        has_instruction = next(chances) < _WITH_INSTRUCTION
        first = int(next(chances) * len(attributes))
        wanted = (attributes[first:] + attributes[:first])[: pick(_ATTRIBUTES_OF_A_GOAL, next(chances))]
        yield Draw(
            kind=kind,
            brand=words.brand(brands[at]),
            model=words.model(models[at]),
            price=_price(kind, next(chances), next(chances), next(chances)),
            attributes=attributes,
            options=options,
            wanted=wanted if has_instruction else [],
            has_human=next(chances) < _WITH_HUMAN_INSTRUCTION,
            rest=list(chances),
        )


def _orders(keys: np.ndarray) -> Any:
    return np.argsort(keys, axis=-1, kind="stable").tolist()


def _price(kind: Kind, chance: float, cents: float, form: float) -> str:
    at, ending = int(chance * len(kind.dollars)), pick(vocabulary().cents, cents)
    price = f"${kind.dollars[at]}.{ending}"
    if form < 0.02:
        return ""  # some official products have no price either; upstream then takes 100 dollars
    if form < 0.1 and at + 1 < len(kind.dollars):
        return f"{price} - ${kind.dollars[at + 1]}.{ending}"
    return price


def _asin(seed: int, number: int) -> str:
    rest = (number * _ASIN_STEP + _first_asin(seed)) % _ASINS
    digits = []
    for _ in range(8):
        rest, digit = divmod(rest, 36)
        digits.append(_ASIN_DIGITS[digit])
    return "B0" + "".join(digits)


@functools.lru_cache(maxsize=8)
def _first_asin(seed: int) -> int:
    return int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]) % _ASINS


def main() -> None:
    """Read the command line and write the catalogue."""
    parser = argparse.ArgumentParser(prog="python -m envs.webshop.generator", description="Generate a catalogue.")
    parser.add_argument("folder", type=Path, help="where to; it must not exist yet, or be empty")
    parser.add_argument("--products", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    try:
        with Progress() as bar:
            task = bar.add_task("products", total=arguments.products)
            generate(
                arguments.folder, arguments.products, arguments.seed, lambda done: bar.update(task, completed=done)
            )
    except InputError as error:
        raise SystemExit(str(error)) from None
    print(f"{arguments.products} products with seed {arguments.seed}: {arguments.folder}")


if __name__ == "__main__":
    main()
