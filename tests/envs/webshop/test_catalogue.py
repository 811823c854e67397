"""Compiled catalogues against the raw files that they were made from."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from envs.webshop import compiling
from envs.webshop.catalogue import Catalogue, open_catalogue
from envs.webshop.compiling import compile_catalogue
from envs.webshop.goals import HumanInstruction, human_goal, read_human_instructions, shuffled, synthetic_count
from envs.webshop.goals import synthetic_goal as goal_of
from envs.webshop.indexing import build_index
from envs.webshop.json_stream import JsonStream
from envs.webshop.products import document, read_annotations, read_products
from envs.webshop.search import SearchIndex
from envs.webshop.sources import FULL, HUMAN, SMALL, catalogue_for
from prism_bench.errors import InputError

from .official_shop import FOLDER, official, official_instructions, official_products


@pytest.fixture(scope="module")
def compiled(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Catalogue]:
    """Return a function from seeds to the compiled small catalogue."""

    def compile_with(**seeds: int) -> Catalogue:
        folder = tmp_path_factory.mktemp("compiled") / "catalogue"
        compile_catalogue(raw / FULL[0], raw / FULL[1], raw / HUMAN, folder, **seeds)
        return open_catalogue(folder)

    return compile_with


@pytest.fixture(scope="module")
def catalogue(compiled: Callable[..., Catalogue]) -> Catalogue:
    return compiled()


def test_products_are_those_of_the_raw_files(raw: Path, catalogue: Catalogue) -> None:
    annotations = read_annotations(JsonStream(raw / FULL[1]))
    products = list(read_products(JsonStream(raw / FULL[0]), annotations))
    assert len(catalogue) == len(products) == 300
    assert [catalogue.product(number) for number in range(300)] == products
    for number in (-1, 300):
        with pytest.raises(IndexError, match="numbered from 0 to 299"):
            catalogue.product(number)


def test_goals_are_made_and_shuffled_as_upstream_does(raw: Path, catalogue: Catalogue) -> None:
    products = [catalogue.product(number) for number in range(300)]
    made = [goal_of(product, number, 0) for product in products for number in range(synthetic_count(product))]
    assert list(catalogue.goals("synthetic")) == [made[goal] for goal in shuffled(len(made))]
    instructions = read_human_instructions(JsonStream(raw / HUMAN))
    made = [human_goal(product, human, 0) for product in products for human in instructions.get(product.asin, ())]
    assert len(made) > 5
    assert list(catalogue.goals("human")) == [made[goal] for goal in shuffled(len(made))]


def test_goals_are_a_sequence(catalogue: Catalogue) -> None:
    goals = catalogue.goals("synthetic")
    assert goals[-1] == goals[len(goals) - 1] and goals[3] is goals[3]
    assert list(goals[1:3]) == [goals[1], goals[2]]
    with pytest.raises(IndexError):
        goals[len(goals)]
    with pytest.raises(InputError, match="no 'synthetc' goals; choose from synthetic, human"):
        catalogue.goals("synthetc")


def test_search_is_that_of_the_index_over_the_documents(catalogue: Catalogue, tmp_path: Path) -> None:
    products = [catalogue.product(number) for number in range(300)]
    build_index(map(document, products), tmp_path / "index", identifiers=[product.asin for product in products])
    index = SearchIndex.open(tmp_path / "index")
    for product in products[:40]:
        assert catalogue.search(product.query) == index.search(product.query, 50)
        assert catalogue.search(product.title, 5) == index.search(product.title, 5)
        assert any(catalogue.product(number).title == product.title for number in catalogue.search(product.title, 5))


def test_seeds_change_what_they_are_for_and_nothing_else(compiled: Callable[..., Catalogue]) -> None:
    plain, prices, limits = compiled(), compiled(price_seed=1), compiled(goal_seed=1)
    assert len({plain.identity, prices.identity, limits.identity}) == 3
    assert compiled().identity == plain.identity
    assert (prices.seeds, limits.seeds) == ({"price": 1, "goal": 0}, {"price": 0, "goal": 1})
    moved = 0
    for number in range(300):
        product, other = plain.product(number), prices.product(number)
        assert plain.product(number) == limits.product(number)
        assert (product.price == other.price) == (" to " not in product.price_text)
        moved += product.price != other.price
    assert moved
    for kind in ("synthetic", "human"):
        pairs = list(zip(plain.goals(kind), limits.goals(kind), strict=True))
        assert all((a.asin, a.options, a.attributes) == (b.asin, b.options, b.attributes) for a, b in pairs)
        assert {a.price_upper == b.price_upper for a, b in pairs} == {True, False}


def test_no_training_goal_is_a_validation_or_test_goal(catalogue: Catalogue) -> None:
    goals = catalogue.goals("synthetic")
    seen = {(goal.asin, goal.options) for goal in goals}
    assert len(seen) == len(goals)


def test_the_official_catalogue(tmp_path: Path) -> None:
    official(SMALL[0])
    catalogue = catalogue_for("official", FOLDER, cache=tmp_path)
    assert [catalogue.product(number) for number in range(1000)] == list(official_products())
    assert len(catalogue.goals("synthetic")) == 6910
    with_instructions = [product.asin for product in official_products() if product.asin in official_instructions()]
    assert {goal.asin for goal in catalogue.goals("human")} == set(with_instructions)
    assert len(list(tmp_path.glob("[!.]*"))) == 1
    again = catalogue_for("official", FOLDER, cache=tmp_path, products=1000)
    assert again is catalogue and len(list(tmp_path.glob("[!.]*"))) == 1


def test_refusals(raw: Path, catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="is there already; remove it"):
        compile_catalogue(raw / FULL[0], raw / FULL[1], None, catalogue.folder)
    with pytest.raises(InputError, match="is no compiled catalogue; remove it"):
        open_catalogue(tmp_path)
    (tmp_path / "empty.json").write_text("[]")
    with pytest.raises(InputError, match=r"empty\.json holds no product"):
        compile_catalogue(tmp_path / "empty.json", raw / FULL[1], None, tmp_path / "folder")
    monkeypatch.setattr(compiling, "MOST_GOALS", 10)
    with pytest.raises(InputError, match="more than 10, which is too many"):
        compile_catalogue(raw / FULL[0], raw / FULL[1], None, tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["empty.json"]
    (tmp_path / "meta.json").write_text('{"format": 0}')
    with pytest.raises(InputError, match="compiled by another version"):
        open_catalogue(tmp_path)


def test_arrays_are_mapped_not_read(catalogue: Catalogue) -> None:
    arrays = {name: value for name, value in vars(catalogue).items() if isinstance(value, np.ndarray)}
    arrays |= vars(catalogue)["_goal_products"]
    assert len(arrays) == 3 and all(isinstance(value, np.memmap) for value in arrays.values())
    assert isinstance(vars(catalogue)["_records"]._bytes, np.memmap)


def test_every_official_human_instruction_has_a_number_of_its_own() -> None:
    for humans in official_instructions().values():
        assert all(isinstance(human, HumanInstruction) for human in humans)
        assert len({human.number for human in humans}) == len(humans)
