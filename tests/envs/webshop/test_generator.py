"""Generated catalogues: the official schema, the same bytes for the same seed, goals that can be told apart and met."""

import collections
import hashlib
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.webshop.generator import (
    HUMAN_FILE,
    INSTRUCTIONS_FILE,
    MOST_PRODUCTS,
    PRODUCTS_FILE,
    generate,
)
from envs.webshop.goals import Goal, read_human_instructions, synthetic_count, synthetic_goal
from envs.webshop.indexing import build_index
from envs.webshop.json_stream import JsonStream
from envs.webshop.pages import ITEM_BUTTONS, NEXT, SEARCH
from envs.webshop.products import Product, document, read_annotations, read_products
from envs.webshop.reward import option_matches, reward, same_text
from envs.webshop.search import SearchIndex
from envs.webshop.tagger import noun_tagger
from envs.webshop.vocabulary import Kind, vocabulary
from prism_bench.errors import InputError

FILES = (PRODUCTS_FILE, INSTRUCTIONS_FILE, HUMAN_FILE)
KINDS = {kind.query: kind for kind in vocabulary().kinds}

# Read off the official files.
PRODUCT_KEYS = (
    *("name", "full_description", "pricing", "images", "product_category", "average_rating", "small_description"),
    *("customization_options", "asin", "category", "query", "page"),
)
ANNOTATION_KEYS = ({"attributes"}, {"attributes", "instruction", "instruction_attributes"})
HUMAN_KEYS = {
    *("asin", "instruction", "attributes", "options", "instruction_attributes", "instruction_options"),
    *("assignment_id", "worker_id"),
}
CATEGORIES = {"beauty", "electronics", "fashion", "garden", "grocery"}


def written(folder: Path) -> dict[str, Any]:
    return {name: json.loads((folder / name).read_bytes()) for name in FILES}


def lines_of(file: Path) -> list[str]:
    """The entries of a file as written, without what closes and separates them."""
    return [line.removesuffix(",") for line in file.read_text("ascii").splitlines()[1:-1]]


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
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generated") / "shop"
    generate(folder, 1000, 0)
    return folder


@pytest.fixture(scope="module")
def raw(folder: Path) -> dict[str, Any]:
    return written(folder)


@pytest.fixture(scope="module")
def products(folder: Path) -> list[Product]:
    return loaded(folder)


def test_the_official_files_have_the_keys_that_generated_ones_are_held_to(record: Callable[[str], Any]) -> None:
    for product in record("items_shuffle_1000.json"):
        assert tuple(key for key in product if key != "model") == PRODUCT_KEYS
    assert all(set(entry) in ANNOTATION_KEYS for entry in record("items_ins_v2_1000.json").values())
    written_by_people = itertools.chain.from_iterable(record("items_human_ins.json").values())
    assert all(set(entry) == HUMAN_KEYS for entry in written_by_people)
    assert {product["category"] for product in record("items_shuffle_1000.json")} == CATEGORIES


def test_files_have_the_keys_and_types_of_the_official_ones(folder: Path, raw: dict[str, Any]) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    for product in raw[PRODUCTS_FILE]:
        assert tuple(product) == PRODUCT_KEYS
        assert re.fullmatch(r"|\$\d+\.\d\d( - \$\d+\.\d\d)?", product["pricing"])
        assert product["average_rating"] == "" or 1 <= product["average_rating"] <= 5
        assert all(isinstance(text, str) for text in product["images"] + product["small_description"])
        assert product["customization_options"] == "" or product["customization_options"].keys()
        assert len(product["product_category"].split(" \u203a ")) >= 3
    assert list(raw[INSTRUCTIONS_FILE]) == [product["asin"] for product in raw[PRODUCTS_FILE]]
    assert all(set(entry) in ANNOTATION_KEYS for entry in raw[INSTRUCTIONS_FILE].values())
    for asin, entries in raw[HUMAN_FILE].items():
        assert all(set(entry) == HUMAN_KEYS and entry["asin"] == asin for entry in entries)
    assert len(lines_of(folder / PRODUCTS_FILE)) == 1000  # one product a line


def test_the_loader_reads_what_was_written(folder: Path, raw: dict[str, Any], products: list[Product]) -> None:
    for product, entry in zip(products, raw[PRODUCTS_FILE], strict=True):
        options = entry["customization_options"] or {}
        assert (product.asin, product.title, product.query) == (entry["asin"], entry["name"], entry["query"])
        assert product.options == tuple(
            (name.lower(), tuple(value["value"] for value in values)) for name, values in options.items()
        )
        assert product.attributes == tuple(raw[INSTRUCTIONS_FILE][product.asin]["attributes"])
        assert product.price <= 400
    human = read_human_instructions(JsonStream(folder / HUMAN_FILE))
    assert human.keys() == raw[HUMAN_FILE].keys()
    assert 30 <= len(human) <= 70
    by_asin = {product.asin: product for product in products}
    for asin, instructions in human.items():
        offered = [value for _, values in by_asin[asin].options for value in values]
        for instruction in instructions:
            assert set(instruction.attributes) <= set(by_asin[asin].attributes)
            assert set(instruction.options) <= set(offered)
            asked_for = (by_asin[asin].query, *instruction.attributes, *instruction.options)
            assert all(text in instruction.instruction for text in asked_for)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**70), fewer=st.integers(1, 1100), more=st.integers(0, 1100))
def test_a_product_does_not_depend_on_how_many_there_are(
    tmp_path_factory: pytest.TempPathFactory, seed: int, fewer: int, more: int
) -> None:
    small, large = (tmp_path_factory.mktemp("sizes") / name for name in ("small", "large"))
    generate(small, fewer, seed)
    generate(large, fewer + more, seed)
    for name in (PRODUCTS_FILE, INSTRUCTIONS_FILE):
        assert lines_of(small / name) == lines_of(large / name)[:fewer]
    first = written(small)
    asins = {product["asin"] for product in first[PRODUCTS_FILE]}
    assert first[HUMAN_FILE] == {k: v for k, v in written(large)[HUMAN_FILE].items() if k in asins}


def test_bytes_depend_on_the_seed_alone(folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "envs.webshop.generator", tmp_path / "again", "--products", "1000", "--seed", "0"]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONHASHSEED": "77"}, capture_output=True)
    assert all((folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes() for name in FILES)
    generate(tmp_path / "other", 1000, 1)
    assert not {product.title for product in loaded(folder)} >= {
        product.title for product in loaded(tmp_path / "other")
    }
    assert not {product.asin for product in loaded(folder)} & {product.asin for product in loaded(tmp_path / "other")}


def test_the_default_catalogue_is_the_one_that_results_were_measured_on(folder: Path) -> None:
    digest = hashlib.sha256(b"".join((folder / name).read_bytes() for name in FILES)).hexdigest()
    assert digest[:16] == "ea2dd1f325ed53c2"


def test_a_large_catalogue_has_codes_of_its_own_and_grows_in_brands(tmp_path: Path) -> None:
    generate(tmp_path / "shop", 20_000, 3)
    products = loaded(tmp_path / "shop")
    assert len({product.asin for product in products}) == len(products) == 20_000
    assert all(re.fullmatch(r"B0[0-9A-Z]{8}", product.asin) for product in products)
    assert len({product.title for product in products}) > 18_000
    brands = [product.title.split()[0] for product in products]
    assert len(set(brands[-1000:])) > 1.1 * len(set(brands[:1000]))
    frequencies = sorted(collections.Counter(brands).values(), reverse=True)
    assert frequencies[0] > 5 * frequencies[len(frequencies) // 2]


def test_brands_and_models_have_names_of_their_own() -> None:
    words = vocabulary()
    assert len({words.brand(number) for number in range(words.brands)}) == words.brands
    assert len({words.model(number) for number in range(20_000)}) == 20_000


@pytest.mark.parametrize("seed", range(3))
def test_a_thousand_products_make_enough_goals_of_few_words(tmp_path: Path, seed: int) -> None:
    generate(tmp_path / "shop", 1000, seed)
    products = loaded(tmp_path / "shop")
    assert sum(product.instruction is not None for product in products) > 800
    assert 7500 <= sum(map(synthetic_count, products)) <= 10_000  # the first 1,500 are kept for evaluation
    assert max(map(synthetic_count, products)) <= 108
    texts = [
        text
        for product in products
        for text in (product.title, product.description, *product.bullets, product.instruction or "", document(product))
    ]
    assert len({word for text in texts for word in re.findall(r"[a-z']+", text.lower())}) <= 900
    lengths = [len(product.title.split()) for product in products]
    assert max(lengths) <= 10
    assert sum(5 <= length <= 8 for length in lengths) > 900


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


@pytest.mark.parametrize(
    ("products", "seed", "message"),
    [(0, 0, "products=0"), (MOST_PRODUCTS + 1, 0, f"ask for 1 to {MOST_PRODUCTS}"), (1, -1, "seed=-1")],
)
def test_numbers_out_of_range_are_refused(tmp_path: Path, products: int, seed: int, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        generate(tmp_path / "shop", products, seed)
    assert not list(tmp_path.iterdir())


def test_only_a_new_or_an_empty_folder_is_written_to(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    generate(tmp_path / "empty", 1, 0)
    assert len(loaded(tmp_path / "empty")) == 1
    before = written(tmp_path / "empty")
    with pytest.raises(InputError, match="is no empty folder"):
        generate(tmp_path / "empty", 2, 0)
    assert written(tmp_path / "empty") == before
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="is no empty folder"):
        generate(tmp_path / "file", 2, 0)
    command = [sys.executable, "-m", "envs.webshop.generator", str(tmp_path)]
    said = subprocess.run(command, capture_output=True, text=True)
    assert said.returncode == 1
    assert said.stderr == f"{tmp_path} exists and is no empty folder; give a new one or remove it\n"


def test_an_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    told = []

    def stop(done: int) -> None:
        told.append(done)
        if len(told) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path / "shop", 5000, 0, stop)
    assert not list(tmp_path.iterdir())
    assert told == sorted(set(told))
