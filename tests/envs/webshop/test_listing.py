"""Texts of generated products: attributes and options that can be told apart, and goals that can be reached."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from envs.webshop.generator import (
    INSTRUCTIONS_FILE,
    PRODUCTS_FILE,
    generate,
)
from envs.webshop.goals import Goal, synthetic_count, synthetic_goal
from envs.webshop.indexing import build_index
from envs.webshop.json_stream import JsonStream
from envs.webshop.pages import ITEM_BUTTONS, NEXT, SEARCH
from envs.webshop.products import Product, document, read_annotations, read_products
from envs.webshop.reward import option_matches, reward, same_text
from envs.webshop.search import SearchIndex
from envs.webshop.tagger import noun_tagger
from envs.webshop.vocabulary import Kind, vocabulary

KINDS = {kind.query: kind for kind in vocabulary().kinds}


def loaded(folder: Path) -> list[Product]:
    annotations = read_annotations(JsonStream(folder / INSTRUCTIONS_FILE))
    return list(read_products(JsonStream(folder / PRODUCTS_FILE), annotations))


def goals_of(product: Product) -> Iterator[Goal]:
    return (synthetic_goal(product, combination, 0) for combination in range(synthetic_count(product)))


def offers(product: Product, goal: Goal) -> bool:
    """Return whether the options and the price that a page shows satisfy the goal."""
    fits = all(value in dict(product.options).get(name, ()) for name, value in goal.options)
    return fits and product.price <= goal.price_upper


def listed_attributes(kind: Kind) -> list[str]:
    return [attribute.text for alternatives in kind.attributes for attribute in alternatives]


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory) -> list[Product]:
    folder = tmp_path_factory.mktemp("generated") / "shop"
    generate(folder, 1000, 0)
    return loaded(folder)


def test_brands_and_models_have_names_of_their_own() -> None:
    words = vocabulary()
    assert len({words.brand(number) for number in range(words.brands)}) == words.brands
    assert len({words.model(number) for number in range(20_000)}) == 20_000


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_what_a_kind_may_have_can_be_told_apart(kind: Kind) -> None:
    attributes = listed_attributes(kind)
    assert 15 <= len(attributes) <= 30
    for first, second in itertools.permutations(attributes, 2):
        assert not same_text(first, second)
    for option in kind.options:
        name = option.name.lower()
        for wanted, chosen in itertools.product(option.values, repeat=2):
            assert option_matches([(name, wanted)], [chosen]) == (wanted == chosen), (wanted, chosen)
    values = [value for option in kind.options for value in option.values]
    assert len(values) == len(set(values))
    assert len({option.name for option in kind.options}) == len(kind.options)
    assert all(re.search("[a-z]", value) and value == value.lower() and len(value.split()) <= 2 for value in values)
    assert not set(values) & {button.lower() for button in (*ITEM_BUTTONS, SEARCH, NEXT)}
    assert len(kind.dollars) >= 5


def test_texts_hold_every_attribute_of_a_product_and_no_other(products: list[Product]) -> None:
    not_indexed = 0
    for product in products:
        kind = KINDS[product.query]
        texts = " | ".join((product.title, product.description, *product.bullets)).lower()
        assert {text for text in listed_attributes(kind) if text in texts} == set(product.attributes)
        assert kind.noun in product.title
        assert product.attributes[0] in product.title
        found_by_search = {attribute for attribute in product.attributes if attribute in document(product)}
        assert len(found_by_search) >= len(product.attributes) - 1
        not_indexed += len(found_by_search) < len(product.attributes)
        assert 4 <= len(product.attributes) <= 6
        assert set(product.instruction_attributes) <= set(product.attributes)
        assert len(product.instruction_attributes) <= 3
        assert all(2 <= len(values) <= 6 for _, values in product.options)
    assert 300 < not_indexed < 700


def test_instructions_read_like_official_ones(products: list[Product]) -> None:
    for product in products:
        if product.instruction is None:
            continue
        match = re.fullmatch(rf"Find me (.*?) ?{product.query}(?: with (.*?))?(?: for (.*))?", product.instruction)
        assert match is not None
        listed = [text for part in match.groups() if part for text in part.split(", ")]
        assert tuple(listed) == product.instruction_attributes


def test_a_goal_is_met_by_its_product_and_nearly_by_others(products: list[Product]) -> None:
    tagger = noun_tagger("rules")
    exactly, nearly = [], []
    for product in products[:60]:
        goals = list(goals_of(product))
        assert all(reward(product, goal, dict(goal.options), tagger).total == 1 for goal in goals)
        for goal in goals[:1]:
            rewards = []
            for other in products:
                chosen = {name: value for name, value in goal.options if value in dict(other.options).get(name, ())}
                rewards.append(reward(other, goal, chosen, tagger).total)
                if other.query == product.query:
                    assert reward(other, goal, {}, tagger).r_type == 1
            exactly.append(rewards.count(1))
            nearly.append(sum(0.5 <= worth < 1 for worth in rewards))
    assert sorted(exactly)[len(exactly) // 2] <= 3
    assert sorted(nearly)[len(nearly) // 2] >= 5


def test_searching_for_the_words_of_a_goal_finds_it(products: list[Product], tmp_path: Path) -> None:
    build_index(map(document, products), tmp_path / "index")
    index = SearchIndex.open(tmp_path / "index")
    tagger = noun_tagger("rules")
    worth = []
    for goal in (goal for product in products[::5] for goal in itertools.islice(goals_of(product), 2)):
        words = goal.instruction.removeprefix("Find me ").partition(", and price lower than")[0]
        page = [products[number] for number in index.search(words, 10)]
        bought = next((product for product in page if offers(product, goal)), None)
        worth.append(0 if bought is None else reward(bought, goal, dict(goal.options), tagger).total)
    assert len(worth) > 300
    assert worth.count(1) >= 0.93 * len(worth)
