"""Catalogues are compiled once, by whichever process needs them first, and again when their files change."""

import io
import json
import multiprocessing
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from envs.webshop import sources
from envs.webshop.catalogue import Catalogue
from envs.webshop.compiling import compile_catalogue
from envs.webshop.sources import FULL, HUMAN, SMALL, catalogue_for, official_files
from prism_bench.errors import InputError


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
    shown = io.StringIO()
    monkeypatch.setattr(sources, "Console", lambda stderr: Console(file=shown, force_terminal=True))
    catalogue_for(products=20, cache=tmp_path)
    assert shown.getvalue() == ""
    monkeypatch.setattr(sources, "MANY_PRODUCTS", 20)
    catalogue_for(products=21, cache=tmp_path)
    assert "generate" in shown.getvalue() and "compile" in shown.getvalue()


def test_the_cache_knows_when_its_files_changed(raw: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for name in (*FULL, HUMAN):
        (data / name).write_bytes((raw / name).read_bytes())
    first = catalogue_for("official", data, cache=tmp_path / "cache")
    assert catalogue_for("official", data, cache=tmp_path / "cache", products="all") is first
    assert catalogue_for("official", data, cache=tmp_path / "cache", goal_seed=1) is not first
    text, found = (data / FULL[0]).read_text(), (data / FULL[0]).stat()
    products = json.loads(text)
    (data / FULL[0]).write_text(text.replace(products[0]["asin"], "B000000000"))
    os.utime(data / FULL[0], ns=(found.st_atime_ns, found.st_mtime_ns))
    same_size_and_time = catalogue_for("official", data, cache=tmp_path / "cache")
    assert (data / FULL[0]).stat().st_size == found.st_size and same_size_and_time is not first
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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "amazon"}, "there is no WebShop source 'amazon'; choose generated or official"),
        ({"source": "official"}, "source=official needs data=DIR"),
        ({"data": "x"}, "data=DIR goes with source=official only"),
        ({"products": "all"}, "products=all goes with source=official only"),
        ({"products": 0}, "0 is no size of a catalogue"),
        ({"source": "official", "data": "x", "products": 7}, "products=7 is no official catalogue; choose 1000 or all"),
        ({"source": "official", "data": "x"}, f"x has no {SMALL[0]}; fetch .* prism-bench download webshop x"),
        ({"source": "official", "data": "x", "products": "all"}, rf"x has no {FULL[0]}; .* --all x"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        catalogue_for(**options, cache=tmp_path)


def test_a_folder_with_both_official_catalogues_gives_the_small_one(tmp_path: Path) -> None:
    for name in (*SMALL, *FULL):
        (tmp_path / name).touch()
    assert official_files(tmp_path) == (tmp_path / SMALL[0], tmp_path / SMALL[1], None)
    (tmp_path / SMALL[0]).unlink()
    assert official_files(tmp_path) == (tmp_path / FULL[0], tmp_path / FULL[1], None)
