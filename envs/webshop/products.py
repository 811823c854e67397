"""Products of WebShop, read one by one from the official raw files.

    annotations = read_annotations(JsonStream(Path("items_ins_v2.json")))
    for product in read_products(JsonStream(Path("items_shuffle.json")), annotations, price_seed=0):
        ...

Source: ``web_agent_site/engine/engine.py`` of https://github.com/princeton-nlp/WebShop (``load_products``,
``generate_product_prices``) and, for :func:`document`, ``search_engine/convert_product_file_format.py``.

Deviations. A price within a range is drawn from a seed and the product's code instead of the process's random state.
Errors name file, line and entry of what raises in upstream's loader or index builder: a missing or odd title,
description, query, price or option, or no bullet points. Other damage is tolerated: images may be missing, a category
that is no text counts as empty, bullet points that are no text are left out. A lone surrogate becomes U+FFFD, since no
file can hold it.
"""

import hashlib
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from envs.webshop.json_stream import JsonStream
from prism_bench.errors import InputError

Options = tuple[tuple[str, tuple[str, ...]], ...]
"""Option names with their values, both lower-cased, in the order of the page: ``(("size", ("small", "large")),)``."""

NO_PRICE = 100.0
"""The price of a product that states none (upstream's number)."""

_LONGEST_ASIN = 10
_NO_NUMBER = re.compile(r"[^\d.]")


@dataclass(frozen=True, slots=True)
class Product:
    """One product as upstream's loader returns it.

    ``price`` is the number that rewards compare with a limit; if a page shows a range, it was drawn within it.
    ``attributes`` belong to the reward and are never shown. ``instruction`` and ``instruction_attributes`` are those of
    the synthetic goals; None and empty if the product has none.
    """

    asin: str
    title: str
    description: str
    bullets: tuple[str, ...]
    price_text: str
    price: float
    options: Options
    category: str
    query: str
    product_category: str
    attributes: tuple[str, ...]
    instruction: str | None
    instruction_attributes: tuple[str, ...]
    rating: str = "N.A."


@dataclass(frozen=True, slots=True)
class Annotation:
    """The entry of a product in ``items_ins_v2.json``; the default is upstream's for a product without an entry."""

    attributes: tuple[str, ...] = ("DUMMY_ATTR",)
    instruction: str | None = None
    instruction_attributes: tuple[str, ...] = ()


_NOT_ANNOTATED = Annotation()


def read_annotations(stream: JsonStream) -> dict[str, Annotation]:
    """Return the annotations by asin; equal attributes are one object, since a million products share a few thousand.

    Raises:
        InputError: the file is no JSON object of annotations.
    """
    return {asin: _annotation(value, f"{place} ({asin!r:.20})") for place, asin, value in stream.members()}


def read_products(stream: JsonStream, annotations: Mapping[str, Annotation], price_seed: int = 0) -> Iterator[Product]:
    """Yield the products in the order of the file, without those of an impossible or repeated asin.

    Raises:
        InputError: the file is no JSON array of products; the message names the entry.
    """
    seen = set()
    for place, raw in stream.entries():
        if not isinstance(raw, dict):
            raise InputError(f"{place} is no product but {raw!r:.40}")
        asin = text(raw, "asin", place)
        if not asin:
            raise InputError(f"{place} has an empty 'asin'")
        if asin != "nan" and len(asin) <= _LONGEST_ASIN and asin not in seen:
            seen.add(asin)
            yield _product(raw, asin, f"{place} ({asin})", annotations.get(asin, _NOT_ANNOTATED), price_seed)


def document(product: Product) -> str:
    """Return the indexed text: title, description, first bullet point and options, lower-cased."""
    options = ", and ".join(f"{name}: {', '.join(values)}" for name, values in product.options)
    first = product.bullets[0] if product.bullets else ""
    return " ".join((product.title, product.description, first, options)).lower()


def draw(*key: object) -> float:
    """Return a number in [0, 1) that depends on ``key`` only: not on the process, the order or the Python version."""
    digest = hashlib.blake2b(" ".join(map(str, key)).encode(), digest_size=8).digest()
    return (int.from_bytes(digest) >> 11) / (1 << 53)


def text(raw: Mapping[str, Any], name: str, place: str) -> str:
    """Return the text ``raw[name]``.

    Raises:
        InputError: it is missing or no text.
    """
    value = raw.get(name)
    if not isinstance(value, str):
        raise InputError(f"{place}: {name!r} is {'missing' if name not in raw else f'{value!r:.40}, not text'}")
    return _writable(value)


def texts(raw: Mapping[str, Any], name: str, place: str) -> tuple[str, ...]:
    """Return the list of texts ``raw[name]``, empty if it is null or missing.

    Raises:
        InputError: it is something else.
    """
    values = raw.get(name) or ()
    if not isinstance(values, list | tuple) or not all(isinstance(value, str) for value in values):
        raise InputError(f"{place}: {name!r} is {values!r:.60}, not a list of texts")
    return tuple(map(_writable, values))


def _annotation(raw: Any, place: str) -> Annotation:
    if not isinstance(raw, dict):
        raise InputError(f"{place}: {raw!r:.40} stands where attributes are expected")
    return Annotation(
        _shared(texts(raw, "attributes", place)) if "attributes" in raw else _NOT_ANNOTATED.attributes,
        text(raw, "instruction", place) if raw.get("instruction") is not None else None,
        _shared(texts(raw, "instruction_attributes", place)),
    )


def _product(raw: Mapping[str, Any], asin: str, place: str, annotation: Annotation, price_seed: int) -> Product:
    prices = _prices(raw.get("pricing"), place)
    low, high = prices[0], prices[-1]
    return Product(
        asin=asin,
        title=text(raw, "name", place),
        description=text(raw, "full_description", place),
        bullets=_bullets(raw, place),
        price_text=" to ".join(f"${price}" for price in prices),
        price=low if len(prices) == 1 else low + (high - low) * draw("price", price_seed, asin),
        options=_options(raw.get("customization_options"), place),
        category=_category(raw, "category"),
        query=text(raw, "query", place).lower().strip(),
        product_category=_category(raw, "product_category"),
        attributes=annotation.attributes,
        instruction=annotation.instruction,
        instruction_attributes=annotation.instruction_attributes,
    )


def _prices(pricing: object, place: str) -> tuple[float, ...]:
    """Return the one or two numbers of a price text such as ``$1,049.99`` or ``$10.99$18.99``."""
    if not pricing:
        return (NO_PRICE,)
    try:
        if not isinstance(pricing, str):
            raise ValueError
        prices = tuple(float(_NO_NUMBER.sub("", part)) for part in pricing.split("$")[1:])
        if not prices or float("inf") in prices:
            raise ValueError
    except ValueError:
        raise InputError(f"{place}: the price {pricing!r:.40} has no form like '$9.99' or '$9.99 $14.99'") from None
    return prices[:2]


def _bullets(raw: Mapping[str, Any], place: str) -> tuple[str, ...]:
    bullets = raw.get("small_description")
    if isinstance(bullets, list):
        return tuple(_writable(bullet) for bullet in bullets if isinstance(bullet, str))
    return (text(raw, "small_description", place),)


def _options(raw: object, place: str) -> Options:
    if not raw:
        return ()
    if not isinstance(raw, dict):
        raise InputError(f"{place}: 'customization_options' is {raw!r:.40}, not an object of option names")
    options = {}
    for name, contents in raw.items():
        if contents is None:
            continue
        if contents and not isinstance(contents, list):
            raise InputError(f"{place}: the option {name!r:.40} is {contents!r:.40}, not a list of values")
        if odd := [content for content in contents or () if not isinstance(content, dict)]:
            raise InputError(
                f"{place}: the option {name!r:.40} holds {odd[0]!r:.40}, which is no object with a 'value'"
            )
        values = (text(content, "value", f"{place}, option {name!r:.40}") for content in contents or ())
        options[_writable(name).lower()] = tuple(value.strip().replace("/", " | ").lower() for value in values)
    return tuple(options.items())


def _category(raw: Mapping[str, Any], name: str) -> str:
    value = raw.get(name)
    return _writable(value) if isinstance(value, str) else ""


def _writable(value: str) -> str:
    """Return the text with lone surrogates replaced."""
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


def _shared(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(sys.intern, values))
