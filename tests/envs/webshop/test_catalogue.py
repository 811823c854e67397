"""Compiled catalogues against the raw files that they were made from, and what several processes see of one."""

import io
import json
import math
import multiprocessing
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from envs.webshop import compiling, sources
from envs.webshop.catalogue import Catalogue, compile_catalogue, open_catalogue
from envs.webshop.generator import generate
from envs.webshop.goals import HumanInstruction, human_goal, read_human_instructions, shuffled, synthetic_count
from envs.webshop.goals import synthetic_goal as goal_of
from envs.webshop.indexing import build_index
from envs.webshop.json_stream import JsonStream
from envs.webshop.products import document, read_annotations, read_products
from envs.webshop.records import Records, RecordWriter
from envs.webshop.search import SearchIndex
from envs.webshop.sources import FULL, HUMAN, SMALL, catalogue_for, official_files
from prism_bench.errors import InputError

from .official_shop import FOLDER, official, official_instructions, official_products

PRODUCTS = 300


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the raw files of a small generated catalogue."""
    folder = tmp_path_factory.mktemp("generated") / "raw"
    generate(folder, PRODUCTS, 0)
    return folder


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
    assert len(catalogue) == len(products) == PRODUCTS
    assert [catalogue.product(number) for number in range(PRODUCTS)] == products
    assert [catalogue.find(product.asin) for product in products] == list(range(PRODUCTS))
    assert [catalogue.find(asin) for asin in ("", "nobody", "\udc80", products[0].asin + "X")] == [None] * 4
    for number in (-1, PRODUCTS):
        with pytest.raises(IndexError, match="numbered from 0 to 299"):
            catalogue.product(number)


def test_goals_are_made_and_shuffled_as_upstream_does(raw: Path, catalogue: Catalogue) -> None:
    products = [catalogue.product(number) for number in range(PRODUCTS)]
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
    with pytest.raises(ValueError, match="no 'synthetc' goals; choose from synthetic, human"):
        catalogue.goals("synthetc")


def test_search_is_that_of_the_index_over_the_documents(catalogue: Catalogue, tmp_path: Path) -> None:
    products = [catalogue.product(number) for number in range(PRODUCTS)]
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
    for number in range(PRODUCTS):
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


def _view(folder: Path, start: Any, results: Any) -> None:
    start.wait()
    catalogue = catalogue_for(products=50, cache=folder)
    goals = catalogue.goals("synthetic")
    results.put((os.getpid(), catalogue.identity, [goals[index].instruction for index in range(20)]))


def test_processes_that_start_together_see_the_same(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start, results = context.Event(), context.Queue()
    processes = [context.Process(target=_view, args=(tmp_path, start, results)) for _ in range(2)]
    for process in processes:
        process.start()
    start.set()
    views = [results.get(timeout=300) for _ in processes]
    for process in processes:
        process.join()
    assert views[0][0] != views[1][0] and views[0][1:] == views[1][1:]
    assert [path.name for path in tmp_path.glob("[!.]*")] == [catalogue_for(products=50, cache=tmp_path).folder.name]


def test_threads_that_start_together_compile_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[Path] = []

    def compile_and_count(*arguments: Any, **options: Any) -> None:
        compiled.append(arguments[3])
        compile_catalogue(*arguments, **options)

    monkeypatch.setattr(sources, "compile_catalogue", compile_and_count)
    start, found = threading.Barrier(8), list[Catalogue]()

    def open_one() -> None:
        start.wait()
        found.append(catalogue_for(products=50, cache=tmp_path))

    threads = [threading.Thread(target=open_one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and len({id(catalogue) for catalogue in found}) == 1
    assert compiled == [found[0].folder]


def test_a_bar_is_shown_for_many_products_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few, many = (Console(file=io.StringIO(), force_terminal=True) for _ in range(2))
    catalogue_for(products=20, cache=tmp_path, console=few)
    monkeypatch.setattr(sources, "MANY_PRODUCTS", 20)
    catalogue_for(products=21, cache=tmp_path, console=many)
    assert few.file.getvalue() == ""
    assert "generate" in many.file.getvalue() and "compile" in many.file.getvalue()


def test_the_cache_knows_when_its_files_changed(raw: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for name in (*FULL, HUMAN):
        (data / name).write_bytes((raw / name).read_bytes())
    first = catalogue_for("official", data, cache=tmp_path / "cache")
    assert catalogue_for("official", data, cache=tmp_path / "cache", products="all") is first
    assert catalogue_for("official", data, cache=tmp_path / "cache", goal_seed=1) is not first
    products = json.loads((data / FULL[0]).read_text())
    (data / FULL[0]).write_text(json.dumps(products[:10]))
    assert len(catalogue_for("official", data, cache=tmp_path / "cache")) == 10
    (data / HUMAN).unlink()
    assert len(catalogue_for("official", data, cache=tmp_path / "cache").goals("human")) == 0


def test_generated_catalogues_leave_no_raw_files_behind(tmp_path: Path) -> None:
    catalogue = catalogue_for(products=20, seed=3, cache=tmp_path)
    assert len(catalogue) == 20
    assert [path.name for path in tmp_path.glob("[!.]*")] == [catalogue.folder.name]
    assert not list(tmp_path.glob(".*/"))
    assert catalogue_for(products=20, seed=4, cache=tmp_path).product(0) != catalogue.product(0)


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    folder = catalogue_for(products=20, cache=tmp_path).folder
    folder.rename(tmp_path / f".{folder.name}.abcd")  # as if it had been killed while compiling
    folder = tmp_path / folder.name
    (tmp_path / f".{folder.name}.abcd" / "meta.json").unlink()
    catalogue_for(products=20, cache=tmp_path)
    assert folder.is_dir() and not list(tmp_path.glob(".*/"))


@pytest.mark.parametrize("name", [FULL[0], FULL[1], HUMAN])
def test_a_damaged_raw_file_leaves_nothing_behind(raw: Path, tmp_path: Path, name: str) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for each in (*FULL, HUMAN):
        content = (raw / each).read_bytes()
        (data / each).write_bytes(content[: len(content) // 2] if each == name else content)
    with pytest.raises(InputError, match=f"{name} ends in the middle of entry"):
        catalogue_for("official", data, cache=tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]


def test_refusals(raw: Path, catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="is there already; remove it"):
        compile_catalogue(raw / FULL[0], raw / FULL[1], None, catalogue.folder)
    with pytest.raises(InputError, match="holds no compiled catalogue"):
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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "amazon"}, "there is no WebShop source 'amazon'; choose generated or official"),
        ({"source": "official"}, "source=official needs data=DIR"),
        ({"data": "x"}, "data=DIR goes with source=official only"),
        ({"products": "all"}, "products=all goes with source=official only"),
        ({"products": 0}, "0 is no size of a catalogue"),
        ({"source": "official", "data": "x", "products": 7}, "products=7 is no official catalogue; choose 1000 or all"),
        ({"source": "official", "data": "x"}, f"x has no {SMALL[0]}; fetch .* python -m envs.webshop.download x"),
        ({"source": "official", "data": "x", "products": "all"}, rf"x has no {FULL[0]}; .*\.download --all x"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        catalogue_for(**options, cache=tmp_path)


def test_a_folder_with_both_official_catalogues_gives_the_small_one(tmp_path: Path) -> None:
    for name in (*SMALL, *FULL):
        (tmp_path / name).touch()
    assert official_files(tmp_path) == (tmp_path / SMALL[0], tmp_path / SMALL[1], None)
    (tmp_path / SMALL[0]).unlink()
    assert official_files(tmp_path) == (tmp_path / FULL[0], tmp_path / FULL[1], None)


def test_records_come_back_whatever_they_hold(tmp_path: Path) -> None:
    written: list[Any] = ["", "a\nb\u2028", {"é": [1.5, None]}, [], math.pi, "\0"]
    with RecordWriter(tmp_path / "some") as writer:
        for record in written:
            writer.append(record)
    records = Records(tmp_path / "some")
    assert [records[number] for number in range(len(records))] == written
    with RecordWriter(tmp_path / "none"):
        pass
    assert len(Records(tmp_path / "none")) == 0
    with pytest.raises(IndexError):
        Records(tmp_path / "none")[0]


def test_arrays_are_mapped_not_read(catalogue: Catalogue) -> None:
    arrays = {name: value for name, value in vars(catalogue).items() if isinstance(value, np.ndarray)}
    assert len(arrays) == 5 and all(isinstance(value, np.memmap) for value in arrays.values())
    assert isinstance(vars(catalogue)["_records"]._bytes, np.memmap)


def test_every_official_human_instruction_has_a_number_of_its_own() -> None:
    for humans in official_instructions().values():
        assert all(isinstance(human, HumanInstruction) for human in humans)
        assert len({human.number for human in humans}) == len(humans)
