"""Records of the official code, the official products, a generated catalogue, and a small shop of odd products."""

import json
import lzma
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from envs.webshop.engine import Shop
from envs.webshop.generator import generate
from envs.webshop.goals import Goal
from envs.webshop.products import Product

RECORDS = Path(__file__).resolve().parents[4] / "shared" / "data" / "webshop"


class ShelfShop:
    """A shop of listed products, with a function from a query to the numbers that it finds."""

    def __init__(self, products: Sequence[Product], search: Callable[[str], list[int]]) -> None:
        self._products = products
        self._search = search

    def product(self, number: int) -> Product:
        return self._products[number]

    def search(self, query: str, limit: int) -> list[int]:
        return self._search(query)[:limit]


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the raw files of a generated catalogue of 300 products."""
    folder = tmp_path_factory.mktemp("generated") / "raw"
    generate(folder, 300, 0)
    return folder


@pytest.fixture(scope="session")
def record() -> Callable[[str], Any]:
    """Return a reader of the records, which are no part of the project; without them the test is skipped."""

    @cache
    def read(name: str) -> Any:
        file = RECORDS / name
        if not file.exists():
            pytest.skip(f"needs what the official code printed; there is no {file}")
        with lzma.open(file, "rt", encoding="utf-8") if file.suffix == ".xz" else file.open(encoding="utf-8") as stream:
            return json.load(stream)

    return read


@pytest.fixture(scope="session")
def official_products(record: Callable[[str], Any]) -> list[Product]:
    """The thousand official products at the prices of the traces."""
    prices = record("official_traces.json.xz")["prices"]
    attributes = record("items_ins_v2_1000.json")
    return [_product(raw, attributes, prices[raw["asin"]]) for raw in record("items_shuffle_1000.json")]


@pytest.fixture(scope="session")
def recorded_shop(official_products: list[Product]) -> Callable[[dict[str, list[str]]], Shop]:
    """Return a maker of shops with the official products and recorded results of queries."""
    numbers = {product.asin: number for number, product in enumerate(official_products)}

    def make(results: dict[str, list[str]]) -> Shop:
        return ShelfShop(official_products, lambda query: [numbers[asin] for asin in results[query]])

    return make


@pytest.fixture(scope="session")
def any_goal() -> Goal:
    return Goal("B000000000", "garden", "lamps", "A lamp", "Home", "Find me a lamp", ("bright",), 10.0, ())


@pytest.fixture(scope="session")
def odd_shop() -> Shop:
    """Thirty products; the first has every odd option. A query finds as many products as it has letters."""
    plain = Product(
        asin="B000000000",
        title="A lamp",
        description="It shines.",
        bullets=("bright ", "", "cheap"),
        price_text="$7.5",
        price=7.5,
        options=(("color", ("red", "blue")),),
        category="garden",
        query="lamps",
        product_category="Home",
        attributes=("bright",),
        instruction=None,
        instruction_attributes=(),
    )
    options = (
        ("size", ("one size", "large", "next >", "attributes")),
        ("fit", ("large", "[large]", "a] b", "a\nb", "", "buy now", "search", '5" x 7"', "café", "color")),
        ("color", ("red", "blue")),
    )
    products = [replace(plain, asin=f"B{number:09}", title=f"A lamp of {number} watts") for number in range(30)]
    products[0] = replace(products[0], options=options)
    return ShelfShop(products, lambda query: list(range(min(len(query), len(products)))))


def _product(raw: dict[str, Any], attributes: dict[str, Any], price: float) -> Product:
    prices = [float(text.split()[0].replace(",", "")) for text in raw["pricing"].split("$")[1:]][:2]
    bullets = raw.get("small_description", "")
    return Product(
        asin=raw["asin"],
        title=raw["name"],
        description=raw["full_description"],
        bullets=tuple(bullets) if isinstance(bullets, list) else (bullets,),
        price_text=" to ".join(f"${price}" for price in prices or [100.0]),
        price=price,
        options=tuple(
            (name.lower(), tuple(value["value"].strip().replace("/", " | ").lower() for value in values))
            for name, values in (raw["customization_options"] or {}).items()
            if values
        ),
        category=raw["category"],
        query=raw["query"].lower().strip(),
        product_category=raw["product_category"],
        attributes=tuple(attributes.get(raw["asin"], {}).get("attributes", ())),
        instruction=None,
        instruction_attributes=(),
    )
