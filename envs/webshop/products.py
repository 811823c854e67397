"""Products of WebShop: the official raw schema, read one by one, and the record the environment works with.

Source: ``web_agent_site/engine/engine.py`` of https://github.com/princeton-nlp/WebShop (``load_products``).
"""

from dataclasses import dataclass

Options = tuple[tuple[str, tuple[str, ...]], ...]
"""Option names with their values, both lower-cased, in the order of the page: ``(("size", ("small", "large")),)``."""


@dataclass(frozen=True, slots=True)
class Product:
    """One product as upstream's loader leaves it.

    ``price`` is the one number that rewards compare with a limit: drawn once within the range where a page shows two.
    ``attributes`` belong to the reward and never stand on a page. ``instruction`` and ``instruction_attributes`` are
    those of the synthetic goals; None and empty where the product has none.
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
