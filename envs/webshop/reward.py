"""The reward of a purchase: a factor for the product type, times the share of attributes, options and price that match.

Source: ``web_agent_site/engine/goal.py`` (``get_reward``) and ``normalize.py`` (``normalize_color``) of
https://github.com/princeton-nlp/WebShop. Two differences, neither of which changes a number: the tagger of titles is an
argument instead of one spaCy model, and text is compared by rapidfuzz, which ``thefuzz`` calls.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from rapidfuzz.fuzz import token_set_ratio
from rapidfuzz.utils import default_process

from envs.webshop.goals import Goal
from envs.webshop.products import Product
from envs.webshop.tagger import Tagger

_COLOR_LIST = """
    alabaster apricot aqua ash asphalt azure banana beige black blue blush bordeaux bronze brown burgundy camel camo
    caramel champagne charcoal cheetah chestnut chocolate christmas coffee cognac copper coral cranberry cream crystal
    dark denim eggplant elephant espresso fuchsia gold granite grape graphite grass gray green grey heather indigo ivory
    ivy khaki lavender lemon leopard light lilac lime magenta maroon mauve merlot midnight mint mocha multicolor
    mushroom mustard natural navy nude olive orange peach pewter pink plum purple rainbow red rose royal rust sand
    sapphire seashell silver skull slate steel stone stonewash sunflower tan taupe teal tiger turquoise violet walnut
    wheat white wine yellow
"""
COLORS = tuple(_COLOR_LIST.split())
"""Colour words, in the order of precedence."""

_SAME_TEXT = 85  # scores above it, rounded to a whole number, count as the same text
_CATEGORY_MARK = "\u203a"  # a single right-pointing angle quotation mark between the steps of a category path
_DROPPED = dict.fromkeys(range(128, 256))  # thefuzz drops these characters, and these alone


@dataclass(frozen=True, slots=True)
class Reward:
    """A reward and its parts, named as upstream names them: ``r_`` is a share in 0 to 1, ``w_`` its weight.

    ``total`` is ``r_type * (w_att * r_att + w_option * r_option + w_price * r_price)``. ``r_option`` and ``w_option``
    are None for a goal without options. The environment needs ``total`` only; the tests compare each part with
    upstream's records, so that an error in one part cannot hide behind another.
    """

    total: float
    r_type: float
    r_att: float
    w_att: float
    query_match: bool
    category_match: bool
    title_score: float
    r_option: float | None
    w_option: float | None
    r_price: bool
    w_price: float


def reward(product: Product, goal: Goal, options: Mapping[str, str], tagger: Tagger) -> Reward:
    """Return the reward for buying ``product`` with the selected ``options`` (name to value) for ``goal``.

    Raises:
        ValueError: the goal has no attributes; upstream makes no such goal, and its formula divides by their number.
    """
    if not goal.attributes:
        raise ValueError(f"the goal made from {goal.asin} has no attributes, so that no purchase can be rewarded")
    r_type, query_match, category_match, title_score = _type_reward(product, goal, tagger)
    attributes = _attribute_matches(product, goal)
    chosen = option_matches(goal.options, options.values())
    fits = product.price <= goal.price_upper
    parts = len(goal.attributes) + len(goal.options) + 1
    return Reward(
        total=(attributes + chosen + fits) / parts * r_type,
        r_type=r_type,
        r_att=attributes / len(goal.attributes),
        w_att=len(goal.attributes) / parts,
        query_match=query_match,
        category_match=category_match,
        title_score=title_score,
        r_option=chosen / len(goal.options) if goal.options else None,
        w_option=len(goal.options) / parts if goal.options else None,
        r_price=fits,
        w_price=1 / parts,
    )


def same_text(first: str, second: str) -> bool:
    """Return whether ``thefuzz.fuzz.token_set_ratio(first, second) > 85``."""
    ratio = token_set_ratio(_processed(first), _processed(second), score_cutoff=_SAME_TEXT)
    return round(ratio) > _SAME_TEXT


def normalise_color(text: str) -> str:
    """Return the first of :data:`COLORS` that ``text`` contains anywhere (``tan`` for ``standard``), or ``text``."""
    return next((color for color in COLORS if color in text), text)


def option_matches(wanted: Iterable[tuple[str, str] | str], chosen: Iterable[str]) -> int:
    """Return the number of wanted options that one of the ``chosen`` values satisfies.

    A wanted pair of name and value is compared as upstream does: as a colour if its name or its value *is* one, and
    otherwise as Python prints the pair, name included.
    """
    sought = [normalise_color(option) if isinstance(option, str) else _pair_text(option) for option in wanted]
    offered = [normalise_color(value) for value in chosen]
    return sum(any(same_text(value, text) for value in offered) for text in sought)


def _pair_text(option: tuple[str, str]) -> str:
    return next((color for color in COLORS if color in option), str(option))


def _type_reward(product: Product, goal: Goal, tagger: Tagger) -> tuple[float, bool, bool, float]:
    """Return ``(r_type, query_match, category_match, title_score)``."""
    query_match = product.query == goal.query
    category_match = len(_segments(product.product_category) & _segments(goal.product_category)) >= 2
    wanted = tagger(goal.name)
    title_score = len(set(tagger(product.title)) & set(wanted)) / len(wanted) if wanted else 0.2
    if title_score == 0:
        r_type = 0.0
    elif title_score < 0.1:
        r_type = 0.1
    else:
        r_type = 1.0 if query_match or category_match or title_score > 0.2 else 0.5
    return r_type, query_match, category_match, title_score


def _attribute_matches(product: Product, goal: Goal) -> int:
    """Return the number of the goal's attributes that are among the product's, or occur in its texts."""
    texts = (product.title.lower(), " ".join(product.bullets).lower(), product.description.lower())
    return sum(
        any(same_text(attribute, wanted) for attribute in product.attributes) or any(wanted in text for text in texts)
        for wanted in goal.attributes
    )


def _segments(category: str) -> frozenset[str]:
    return frozenset(segment.strip() for segment in category.split(_CATEGORY_MARK))


@lru_cache(maxsize=1 << 14)
def _processed(text: str) -> str:
    """Return ``thefuzz.utils.full_process(text, force_ascii=True)``."""
    return default_process(text.translate(_DROPPED))
