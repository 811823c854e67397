"""What a shopper wants: goals made from products, frozen.

Source: ``web_agent_site/engine/goal.py`` of https://github.com/princeton-nlp/WebShop (``get_synthetic_goals``,
``get_human_goals``).
"""

from dataclasses import dataclass

NO_LIMIT = 1_000_000.0
"""The price limit of a goal that names none (upstream's number)."""


@dataclass(frozen=True, slots=True)
class Goal:
    """One goal. ``options`` are (name, value) pairs of a synthetic goal, or plain strings of a human one.

    ``name`` is the title of the product that the goal was made from; with ``query``, ``product_category`` and
    ``attributes`` it belongs to the reward and is never shown. ``instruction`` is the whole sentence a player reads.
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
