"""Generated catalogues: the official schema, and the same bytes for the same seed."""

import collections
import hashlib
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
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
from envs.webshop.goals import read_human_instructions, synthetic_count
from envs.webshop.json_stream import JsonStream
from envs.webshop.products import Product, document, read_annotations, read_products
from prism_bench.errors import InputError

FILES = (PRODUCTS_FILE, INSTRUCTIONS_FILE, HUMAN_FILE)

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
    """Return the entries of a file as written, without brackets and commas."""
    return [line.removesuffix(",") for line in file.read_text("ascii").splitlines()[1:-1]]


def loaded(folder: Path) -> list[Product]:
    annotations = read_annotations(JsonStream(folder / INSTRUCTIONS_FILE))
    return list(read_products(JsonStream(folder / PRODUCTS_FILE), annotations))


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


@pytest.mark.slow
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


@pytest.mark.slow
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
