"""Products against those of upstream's loader for the same files, and against odd raw entries."""

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from envs.webshop.json_stream import JsonStream
from envs.webshop.products import Annotation, Product, document, draw, read_annotations, read_products
from prism_bench.errors import InputError

from .official_shop import documents, official_products, recorded

RAW = {
    "asin": "B000000001",
    "name": "A Red Hat",
    "full_description": "Warm.",
    "small_description": ["Wool", "Made by hand"],
    "pricing": "$9.99",
    "customization_options": {"Size": [{"value": " Small/Medium "}], "Scent": None},
    "category": "fashion",
    "query": " Hats ",
    "product_category": "Clothing | Hats",
    "images": [],
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("raw") / "items.json"


def read(path: Path, *raw: Any, annotations: dict[str, Annotation] | None = None, seed: int = 0) -> list[Product]:
    path.write_text(json.dumps(raw))
    return list(read_products(JsonStream(path), annotations or {}, seed))


def test_official_products_are_those_of_upstream() -> None:
    assert len(official_products()) == len(documents()) == 1000
    for product, stored in zip(official_products(), documents(), strict=True):
        upstream = stored["product"]
        assert product.asin == stored["id"]
        assert product.title == upstream["Title"] == upstream["name"]
        assert product.description == upstream["Description"]
        assert list(product.bullets) == upstream["BulletPoints"]
        assert product.price_text == upstream["Price"]
        assert {name: list(values) for name, values in product.options} == upstream["options"]
        assert [name for name, _ in product.options] == list(upstream["options"])
        assert list(product.attributes) == upstream["Attributes"]
        assert product.rating == upstream["Rating"]
        for field in ("category", "query", "product_category"):
            assert getattr(product, field) == upstream[field]


def test_the_indexed_text_is_upstreams_byte_for_byte() -> None:
    assert [document(product) for product in official_products()] == [stored["contents"] for stored in documents()]


def test_prices_are_upstreams_where_nothing_is_drawn_and_within_the_range_elsewhere() -> None:
    upstream = recorded("official_traces.json.xz")["prices"]
    ranges = {stored["id"]: stored["product"]["pricing"] for stored in documents()}
    drawn = 0
    for product in official_products():
        if len(ranges[product.asin]) == 1:
            assert product.price == upstream[product.asin] == ranges[product.asin][0]
        else:
            low, high = sorted(ranges[product.asin])  # one range runs downwards
            assert low <= product.price <= high and low <= upstream[product.asin] <= high
            drawn += product.price != low
    assert drawn == 93  # of the 1,000


def test_drawn_prices_depend_on_seed_and_code_only() -> None:
    zero, one = official_products(0), official_products(1)
    differing = {first.asin for first, second in zip(zero, one, strict=True) if first.price != second.price}
    assert differing == {product.asin for product in zero if " to " in product.price_text}


def test_a_draw_is_uniform_and_the_same_in_every_process() -> None:
    draws = [draw("price", 0, number) for number in range(4000)]
    assert all(0 <= number < 1 for number in draws)
    assert abs(statistics.mean(draws) - 0.5) < 0.02
    assert abs(statistics.pvariance(draws) - 1 / 12) < 0.005
    code = "from envs.webshop.products import draw; print(repr(draw('price', 0, 'B000000001')))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert float(other) == draw("price", 0, "B000000001")


def test_a_product_as_read(path: Path) -> None:
    annotations = {"B000000001": Annotation(("warm",), "Find me hats", ("warm",))}
    assert read(path, RAW, annotations=annotations) == [
        Product(
            asin="B000000001",
            title="A Red Hat",
            description="Warm.",
            bullets=("Wool", "Made by hand"),
            price_text="$9.99",
            price=9.99,
            options=(("size", ("small | medium",)),),
            category="fashion",
            query="hats",
            product_category="Clothing | Hats",
            attributes=("warm",),
            instruction="Find me hats",
            instruction_attributes=("warm",),
        )
    ]
    [bare] = read(path, RAW)
    assert (bare.attributes, bare.instruction, bare.instruction_attributes) == (("DUMMY_ATTR",), None, ())


def test_impossible_and_repeated_codes_are_left_out(path: Path) -> None:
    found = read(path, RAW | {"asin": "nan"}, RAW | {"asin": "B0000000012"}, RAW, RAW | {"name": "again"})
    assert [product.title for product in found] == ["A Red Hat"]


@pytest.mark.parametrize(
    ("pricing", "text", "price"),
    [
        (None, "$100.0", 100.0),
        ("", "$100.0", 100.0),
        ("$1,049.99", "$1049.99", 1049.99),
        ("from $7 only", "$7.0", 7.0),
        ("$12.50$12.50$99", "$12.5 to $12.5", 12.5),
    ],
)
def test_price_texts(path: Path, pricing: str | None, text: str, price: float) -> None:
    [product] = read(path, RAW | {"pricing": pricing})
    assert (product.price_text, product.price) == (text, price)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"asin": None}, "'asin' is None, not text"),
        ({"asin": ""}, "has an empty 'asin'"),
        ({"name": 5}, r"\(B000000001\): 'name' is 5, not text"),
        ({"full_description": None}, "'full_description' is None, not text"),
        ({"small_description": None}, "'small_description' is None, not text"),
        ({"query": ["a"]}, "'query' is .*, not text"),
        ({"pricing": "Call us"}, "the price 'Call us' has no form like"),
        ({"pricing": "$"}, "has no form like"),
        ({"pricing": "$1.2.3"}, "has no form like"),
        ({"pricing": "$" + "9" * 400}, "has no form like"),
        ({"pricing": 9.99}, "the price 9.99 has no form like"),
        ({"customization_options": "red"}, "'customization_options' is 'red', not an object"),
        ({"customization_options": {"size": "red"}}, "the option 'size' is 'red', not a list"),
        ({"customization_options": {"size": ["red"]}}, "the option 'size' holds 'red', which is no object"),
        ({"customization_options": {"size": [{"value": 3}]}}, "option 'size': 'value' is 3, not text"),
        ({"customization_options": {"size": [{}]}}, "option 'size': 'value' is missing"),
    ],
)
def test_what_upstream_would_stop_at_is_refused_by_file_line_and_entry(
    path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=f"items.json, line 1, entry 2.*{message}"):
        read(path, RAW | {"asin": "B000000000"}, RAW | change)


@pytest.mark.parametrize("name", ["asin", "name", "full_description", "small_description", "query"])
def test_a_field_that_is_missing_is_named(path: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"entry 1.*: '{name}' is missing"):
        read(path, {key: value for key, value in RAW.items() if key != name})


def test_where_upstream_goes_on_we_do(path: Path) -> None:
    raw = {key: value for key, value in RAW.items() if key not in ("images", "customization_options", "category")}
    [product] = read(path, raw | {"small_description": [None, "Wool"], "product_category": None})
    assert (product.bullets, product.options, product.category, product.product_category) == (("Wool",), (), "", "")
    assert document(product) == "a red hat warm. wool "
    [product] = read(path, RAW | {"small_description": "", "customization_options": {"size": []}})
    assert (product.bullets, product.options) == (("",), (("size", ()),))


def test_half_a_surrogate_pair_can_be_written(path: Path) -> None:
    [product] = read(path, RAW | {"name": "bad \ud800 good \U0001f600"})
    assert product.title == "bad � good \U0001f600"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(("value", "a")), inner, max_size=2),
    max_leaves=5,
)


@given(raw=st.fixed_dictionaries({}, optional=dict.fromkeys(RAW, JSON)), complete=st.booleans())
@settings(max_examples=300)
def test_any_entry_is_a_product_or_refused_in_one_sentence(path: Path, raw: dict[str, Any], complete: bool) -> None:
    try:
        found = read(path, RAW | raw if complete else raw)
    except InputError as error:
        assert f"{path}, line 1, entry 1" in str(error) and "\n" not in str(error) and len(str(error)) < 400
    else:
        for product in found:
            assert document(product).encode() and product.price >= 0 and json.dumps(product.options)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ([], "stands where attributes are expected"),
        ({"attributes": "warm"}, "'attributes' is 'warm', not a list of texts"),
        ({"attributes": [1]}, "not a list of texts"),
        ({"attributes": [], "instruction": 1}, "'instruction' is 1, not text"),
        ({"attributes": [], "instruction_attributes": {"a": 1}}, "not a list of texts"),
    ],
)
def test_odd_attributes_are_refused(path: Path, entry: Any, message: str) -> None:
    path.write_text(json.dumps({"B1": {"attributes": []}, "B2": entry}))
    with pytest.raises(InputError, match=rf"items.json, line 1, entry 2 \('B2'\): .*{message}"):
        read_annotations(JsonStream(path))


def test_attributes_as_read(path: Path) -> None:
    path.write_text(
        json.dumps({"B1": {"attributes": []}, "B2": {}, "B3": {"attributes": ["warm"], "instruction": "x"}})
    )
    assert read_annotations(JsonStream(path)) == {
        "B1": Annotation(()),
        "B2": Annotation(("DUMMY_ATTR",)),
        "B3": Annotation(("warm",), "x", ()),
    }
