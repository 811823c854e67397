import json
import lzma
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from envs.webshop.goals import Goal
from envs.webshop.products import Product
from envs.webshop.reward import COLORS, normalise_color, option_matches, reward, same_text
from envs.webshop.tagger import noun_tagger

OFFICIAL = Path(__file__).resolve().parents[4] / "shared" / "data" / "webshop"
SHOE = "Mens D.O.N. Issue 2 Gca Basketball Sneakers Shoes Casual - Off White"


def read(name: str) -> Any:
    file = OFFICIAL / name
    if not file.exists():
        pytest.skip(f"needs the official products and traces; there is no {file}")
    with lzma.open(file, "rt") if file.suffix == ".xz" else file.open() as stream:
        return json.load(stream)


def product(**changes: Any) -> Product:
    return replace(
        Product(
            asin="B000000000",
            title=SHOE,
            description="",
            bullets=(),
            price_text="$35.00",
            price=35.0,
            options=(),
            category="fashion",
            query="query 1",
            product_category="a \u203a b \u203a c",
            attributes=("tea tree", "essential oil", "natural ingredients"),
            instruction=None,
            instruction_attributes=(),
        ),
        **changes,
    )


def goal(**changes: Any) -> Goal:
    return replace(
        Goal(
            asin="B000000000",
            category="fashion",
            query="query 1",
            name=SHOE,
            product_category="a \u203a b \u203a c",
            instruction="Find me shoes",
            attributes=("tea tree", "essential oils", "natural ingredients"),
            price_upper=40.0,
            options=(("color", "grey"), ("size", "XL")),
        ),
        **changes,
    )


CHOSEN = {"color": "grey", "size": "XL"}
ONE_OF_THREE = product(
    attributes=(),
    bullets=("This shampoo smells like lemons",),
    description="Best shampoo on the market, made with natural ingredients",
)
THREE_OPTIONS = (("color", "grey"), ("size", "XL"), ("amount", "pack of 12"))
LEAD = "BRST AC Power Cord Outlet Socket Cable Plug Lead for Panasonic SC-HT830V DVD/VCR Combo Home Theater System"
CORD = "Saireed UL Listed 2 Prong Power Cord for JBL Bar 3.1 Bar 2.1 Channel 4K Ultra HD Soundbar"


@pytest.mark.parametrize(
    ("bought", "wanted", "total"),
    [
        (product(), goal(), 1.0),
        (ONE_OF_THREE, goal(), 2 / 3),  # one attribute of three, two options, the price
        (ONE_OF_THREE, goal(options=THREE_OPTIONS), 4 / 7),
        (
            replace(ONE_OF_THREE, title=LEAD, query="query 2", product_category="a \u203a d \u203a e"),
            goal(options=THREE_OPTIONS, name=CORD),
            2 / 7,  # 0.2857
        ),
    ],
)
def test_golden_values_of_upstreams_own_tests(bought: Product, wanted: Goal, total: float) -> None:
    """The cases of ``test_get_reward`` in upstream's ``tests/web-agent-site/engine/test_goal.py``, with our tagger."""
    assert reward(bought, wanted, CHOSEN, noun_tagger("rules")).total == pytest.approx(total, abs=1e-9)


def test_every_recorded_computation_of_the_official_code() -> None:
    """The 2,500 recorded rewards, each with ten parts; a missing part is None."""
    raw = {item["asin"]: item for item in read("items_shuffle_1000.json")}
    attributes = {asin: item.get("attributes", []) for asin, item in read("items_ins_v2_1000.json").items()}
    tagger = noun_tagger("tokens")
    records = read("official_traces.json.xz")["rewards"]
    assert len(records) == 2500
    for entry in records:
        item, asked = raw[entry["asin"]], entry["goal"]
        bullets = item["small_description"]
        bought = product(
            title=item["name"],
            description=item["full_description"],
            bullets=tuple(bullets) if isinstance(bullets, list) else (bullets,),
            price=entry["price"],
            query=item["query"].lower().strip(),
            product_category=item["product_category"],
            attributes=tuple(attributes.get(entry["asin"], ())),
        )
        wanted = goal(
            query=asked["query"],
            name=asked["name"],
            product_category=asked["product_category"],
            attributes=tuple(asked["attributes"]),
            price_upper=asked["price_upper"],
            options=tuple(asked["goal_options"].items()),
        )
        found = reward(bought, wanted, entry["options"], tagger)
        assert found.total == pytest.approx(entry["reward"], abs=1e-9)
        parts = {name: getattr(found, name) for name in found.__slots__ if name != "total"}
        expected = dict.fromkeys(parts) | entry["info"]
        assert parts == pytest.approx(expected, abs=1e-9), entry


WORDS = ("small", "smal", "large", "black", "é", "ß", "İ", "Ⅷ", "-x-", "2", "'", "\u2019")
TEXT = st.text(max_size=20) | st.lists(st.sampled_from(WORDS)).map(" ".join)


@given(TEXT, TEXT)
@example("essential oil", "essential oils")
@example("", "")
@example("\xa0", "a")
def test_texts_are_compared_as_thefuzz_compares_them(first: str, second: str) -> None:
    fuzz = pytest.importorskip("thefuzz.fuzz", reason="needs thefuzz, the reference")
    assert same_text(first, second) == (fuzz.token_set_ratio(first, second) > 85)


@given(st.sampled_from(COLORS), st.sampled_from(COLORS), TEXT)
def test_of_several_colours_the_first_in_the_list_counts(first: str, second: str, text: str) -> None:
    found = normalise_color(f"{second}{text}{first}")
    assert found in COLORS
    assert COLORS.index(found) <= min(COLORS.index(first), COLORS.index(second))


@given(st.text("xyz0 "))
def test_text_without_a_colour_stays(text: str) -> None:
    assert normalise_color(text) == text


@pytest.mark.parametrize(
    ("wanted", "chosen", "matches"),
    [
        (("grey", "XL", "pack of 12"), ("pack of 12", "grey", "XL"), 3),
        (("grey", "XL", "pack of 12"), ("pack of 12", "blue", "XL"), 2),
        (("cool powder snow", "XL", "pack of 12"), ("pack of 12", "powder snow", "XL"), 3),
        ((), ("red",), 0),
        (("red", "blue"), (), 0),
        ((("size", "standard"),), ("standard",), 0),  # the chosen value holds "tan", the pair is no colour
        (("standard",), ("standard",), 1),  # both hold it
        ((("color", "dark teal"),), ("dark green",), 1),  # "dark" is all that is left of the chosen value
        ((("color", "teal"),), ("dark teal",), 0),  # "dark" comes before "teal"
        ((("size", "10"), ("width", "10")), ("10",), 2),  # one value satisfies both
        ((("size", "10"),), ("size",), 1),  # the name is part of the text
    ],
)
def test_options(wanted: tuple[tuple[str, str] | str, ...], chosen: tuple[str, ...], matches: int) -> None:
    assert option_matches(wanted, chosen) == matches


@pytest.mark.parametrize(
    ("title", "r_type"),
    [
        ("a b c d e f g h i j k", 1.0),
        ("a b", 0.5),  # 2 of 11
        ("a b c", 1.0),  # 3 of 11
        ("a", 0.1),  # 1 of 11
        ("z", 0.0),
    ],
)
@pytest.mark.parametrize("related", [{}, {"query": "query 1"}, {"product_category": "b \u203a x \u203a a"}])
def test_kinds_of_product(title: str, r_type: float, related: dict[str, str]) -> None:
    """A title with few common words lowers the reward even if query or category match."""
    bought = product(title=title, **({"query": "query 2", "product_category": "a \u203a x \u203a y"} | related))
    found = reward(bought, goal(name="a b c d e f g h i j k"), CHOSEN, noun_tagger("tokens"))
    assert found.r_type == (1.0 if related and r_type == 0.5 else r_type)


def test_a_goal_title_without_nouns_scores_a_fifth() -> None:
    assert reward(product(), goal(name="for the"), CHOSEN, noun_tagger("rules")).title_score == 0.2


def test_a_price_at_the_limit_fits() -> None:
    tagger = noun_tagger("tokens")
    assert reward(product(price=40.0), goal(), CHOSEN, tagger).r_price
    assert not reward(product(price=40.01), goal(), CHOSEN, tagger).r_price


def test_attributes_are_looked_for_in_every_text_of_the_page() -> None:
    for place in ({"title": f"TEA tree {SHOE}"}, {"bullets": ("a tea", "tree b")}, {"description": "Tea Tree"}):
        found = reward(product(attributes=(), **place), goal(attributes=("tea tree",)), CHOSEN, noun_tagger("tokens"))
        assert found.r_att == 1.0, place


def test_a_goal_without_attributes_is_refused() -> None:
    with pytest.raises(ValueError, match="B000000000 has no attributes"):
        reward(product(), goal(attributes=()), CHOSEN, noun_tagger("tokens"))


@given(
    st.lists(st.tuples(st.sampled_from(["color", "size"]), TEXT) | TEXT, max_size=3),
    st.dictionaries(TEXT, TEXT, max_size=3),
    st.lists(TEXT, min_size=1, max_size=3),
    TEXT,
)
def test_a_reward_is_the_weighted_sum_of_its_parts(
    options: list[tuple[str, str] | str], chosen: dict[str, str], attributes: list[str], title: str
) -> None:
    wanted = goal(options=tuple(options), attributes=tuple(attributes))
    found = reward(product(title=title), wanted, chosen, noun_tagger("rules"))
    weights = found.w_att + (found.w_option or 0) + found.w_price
    parts = found.w_att * found.r_att + (found.w_option or 0) * (found.r_option or 0) + found.w_price * found.r_price
    assert weights == pytest.approx(1)
    assert found.total == pytest.approx(found.r_type * parts)
    assert (found.r_option is None) == (not options)
