"""Goals against recorded first pages and goals of the official environment, and properties for any catalogue."""

import itertools
import json
import re
from collections import Counter, defaultdict
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from envs.webshop.goals import (
    LIMITS,
    NO_LIMIT,
    Goal,
    HumanInstruction,
    human_goal,
    price_limit,
    read_human_instructions,
    shuffled,
    synthetic_count,
    synthetic_goal,
)
from envs.webshop.json_stream import JsonStream
from envs.webshop.products import Product
from prism_bench.errors import InputError

from .official_shop import official_instructions, official_products, recorded

LIMIT = re.compile(r", and price lower than (\d+\.\d\d) dollars$")
HAT = Product("B1", "A Hat", "", (), "$9.0", 9.0, (), "fashion", "hats", "Hats", ("warm",), "Find me hats", ("warm",))


@cache
def official_goals(seed: int = 0) -> list[Goal]:
    """The synthetic goals of the official products, in upstream's order."""
    made = [(product, number) for product in official_products() for number in range(synthetic_count(product))]
    return [synthetic_goal(*made[goal], seed) for goal in shuffled(len(made))]


def test_the_official_thousand_products_make_6910_goals() -> None:
    assert len(official_goals()) == 6910


def test_the_hundred_recorded_first_pages_match_but_for_the_limit() -> None:
    pages = recorded("official_initial_observations.json")
    assert len(pages) == 100
    for page in pages:
        text = page["observation"].removeprefix("WebShop [SEP] Instruction: [SEP] ").removesuffix(" [SEP] Search")
        assert LIMIT.sub("", official_goals()[page["goal_index"]].instruction) == LIMIT.sub("", text)


def test_the_recorded_whole_episodes_have_our_goals() -> None:
    for episode in recorded("official_episodes.json"):
        index = int(re.sub(r"\D", "", episode["item"]))
        expected = f"Instruction: [SEP] {LIMIT.sub('', official_goals()[index].instruction)}, and price lower than"
        assert expected in episode["steps"][0]["observation"]


def test_recorded_goals_match_but_for_the_limit() -> None:
    traces = recorded("official_traces.json.xz")
    prices = traces["prices"]
    limits = defaultdict(set)
    for episode in traces["episodes"]:
        goal, upstream = official_goals()[episode["goal_index"]], episode["goal"]
        assert (goal.asin, goal.category, goal.query) == (upstream["asin"], upstream["category"], upstream["query"])
        assert (goal.name, goal.product_category) == (upstream["name"], upstream["product_category"])
        assert list(goal.attributes) == upstream["attributes"]
        assert list(goal.options) == list(upstream["goal_options"].items())
        assert LIMIT.sub("", goal.instruction) == LIMIT.sub("", upstream["instruction_text"])
        # Both limits are possible ones: the second to fourth multiple of ten above the price.
        for limit, price in ((upstream["price_upper"], prices[goal.asin]), (goal.price_upper, _price(goal.asin))):
            above = [value for value in LIMITS if value > price][1:4]
            assert limit in above if above else limit == NO_LIMIT
        limits[goal.asin].add(upstream["price_upper"])
    assert len(limits) < len(traces["episodes"]), "several goals of one product were recorded"
    assert all(len(drawn) == 1 for drawn in limits.values()), "upstream draws one limit a product, and so do we"


def _price(asin: str) -> float:
    return next(product.price for product in official_products() if product.asin == asin)


def test_all_synthetic_goals_of_a_product_have_one_limit_and_all_seeds_the_same_order() -> None:
    limits = defaultdict(set)
    for goal, other in zip(official_goals(), official_goals(1), strict=True):
        limits[goal.asin].add(goal.price_upper)
        assert (goal.asin, goal.options) == (other.asin, other.options)
        found = LIMIT.search(goal.instruction)
        assert (float(found[1]) if found else NO_LIMIT) == goal.price_upper
    assert all(len(drawn) == 1 for drawn in limits.values())
    assert official_goals() != official_goals(1)


def test_human_goals_carry_the_official_sentences() -> None:
    sentences = recorded("human_goals.json.xz")
    assert len(sentences) == 12_087
    known = Counter(map(_plain, sentences))
    products = [product for product in official_products() if product.asin in official_instructions()]
    assert len(products) == 13
    goals = [human_goal(product, human, 0) for product in products for human in official_instructions()[product.asin]]
    assert len(goals) >= 13
    for goal in goals:
        assert known[_plain(goal.instruction)], goal.instruction
        assert all(isinstance(option, str) for option in goal.options) and goal.attributes
    # Of what the file holds for other products, too, nearly all is among the official sentences.
    texts = [_plain(human.instruction) for humans in official_instructions().values() for human in humans]
    assert sum(bool(known[text]) for text in texts) >= 0.99 * len(texts)


def _plain(sentence: str) -> str:
    """Return a sentence in the form of ``human_goals.json``: without limit, full stops and apostrophes."""
    return re.sub(r"[^\w]+", "", LIMIT.sub("", sentence))


@given(st.lists(st.lists(st.text("ab", max_size=2), max_size=3), max_size=3))
def test_combinations_come_as_itertools_yields_them(values: list[list[str]]) -> None:
    options = tuple((f"option {9 - number}", tuple(entry)) for number, entry in enumerate(values))
    product = replace(HAT, options=options)
    names = sorted(name for name, _ in options)
    expected = [
        tuple(zip(names, combination, strict=True))
        for combination in itertools.product(*(dict(options)[name] for name in names))
    ]
    assert synthetic_count(product) == len(expected)
    assert [synthetic_goal(product, number, 0).options for number in range(len(expected))] == expected


def test_sentences() -> None:
    assert synthetic_goal(HAT, 0, 0).instruction.startswith("Find me hats, and price lower than ")
    dear = replace(HAT, price=2000.0)
    assert synthetic_goal(dear, 0, 0).instruction == "Find me hats"
    coloured = replace(dear, options=(("size", ("small", "large")), ("color", ("red",))))
    assert synthetic_goal(coloured, 1, 0).instruction == "Find me hats with color: red, and size: large"
    human = HumanInstruction(0, "..i need a hat...", ("warm",), ("red",))
    goal = human_goal(coloured, human, 0)
    assert (goal.instruction, goal.options, goal.price_upper) == ("i need a hat", ("red",), NO_LIMIT)


def test_a_product_without_instruction_makes_no_synthetic_goal() -> None:
    assert synthetic_count(replace(HAT, instruction=None)) == 0
    assert synthetic_count(replace(HAT, instruction_attributes=())) == 0
    assert synthetic_count(HAT) == 1


@given(price=st.floats(0, 1200), seed=st.integers(0, 50))
def test_a_limit_is_the_larger_of_two_of_the_next_four(price: float, seed: int) -> None:
    above = [limit for limit in LIMITS if limit > price][:4]
    limit = price_limit(price, seed, "B1")
    assert limit in above[1:] if len(above) >= 2 else limit == NO_LIMIT


def test_limits_are_drawn_as_often_as_upstream_draws_them() -> None:
    drawn = Counter(price_limit(5.0, seed, "B1") for seed in range(6000))
    assert set(drawn) == {20.0, 30.0, 40.0}
    for limit, pairs in ((20.0, 1), (30.0, 2), (40.0, 3)):  # of the six pairs, those whose larger number it is
        assert abs(drawn[limit] / 6000 - pairs / 6) < 0.03


def test_every_human_goal_of_a_product_has_a_limit_of_its_own() -> None:
    humans = [HumanInstruction(number, "a hat", ("warm",), ()) for number in range(50)]
    assert len({human_goal(HAT, human, 0).price_upper for human in humans}) == 3


def test_human_instructions_as_read(tmp_path: Path) -> None:
    def read(value: Any) -> dict[str, tuple[HumanInstruction, ...]]:
        path = tmp_path / "human.json"
        path.write_text(json.dumps({"B1": value}))
        return read_human_instructions(JsonStream(path))

    entry = {"instruction": "a hat", "instruction_attributes": ["warm"], "instruction_options": ["red"]}
    unusable = entry | {"instruction_attributes": []}
    assert read([unusable, entry]) == {"B1": (HumanInstruction(1, "a hat", ("warm",), ("red",)),)}
    for value, message in (
        ({}, "has {} where a list"),
        ([1], "where a list of instructions is expected"),
        ([entry | {"instruction": None}], "'instruction' is None, not text"),
        ([entry | {"instruction_options": [1]}], "'instruction_options' is .*, not a list of texts"),
    ):
        with pytest.raises(InputError, match=f"human.json, line 1, entry 1.*{message}"):
            read(value)
