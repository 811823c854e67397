"""Search against recorded result pages of the official code and against a plain, slow BM25."""

import json
import math
import re
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from envs.webshop import indexing, search
from envs.webshop.analysis import analyse
from envs.webshop.indexing import ARRAYS, build_index, decoded_lengths, length_codes
from envs.webshop.search import SearchIndex
from prism_bench.errors import InputError
from tests.envs.webshop.official_shop import documents, recorded


def built(texts: list[str], folder: Path, identifiers: list[str] | None = None) -> SearchIndex:
    build_index(texts, folder, identifiers=identifiers)
    return SearchIndex.open(folder)


def stored_length(length: int) -> int:
    """Return a length as stored in one byte: above 24, the excess keeps its four leading binary digits."""
    digits = bin(length - 24)[2:] if length > 24 else ""
    return length if len(digits) <= 4 else 24 + int(digits[:4].ljust(len(digits), "0"), 2)


def slow_search(texts: list[str], query: str, limit: int, identifiers: list[str] | None = None) -> list[int]:
    """Score every document by the formula of Lucene's documentation, in its precision."""
    single = np.float32
    bags = [Counter(analyse(text)) for text in texts]
    filled = [bag for bag in bags if bag]
    average = single(sum(bag.total() for bag in filled) / max(len(filled), 1))
    scores = []
    for number, bag in enumerate(bags):
        length = single(stored_length(bag.total()))
        total = 0.0
        for term, repeats in Counter(analyse(query)).items():
            if bag[term]:
                holders = sum(term in other for other in filled)
                idf = single(math.log(1 + (len(filled) - holders + 0.5) / (holders + 0.5)))
                weight = single(repeats) * idf
                inverse = single(1) / (single(0.9) * ((single(1) - single(0.4)) + single(0.4) * length / average))
                total += float(weight - weight / (single(1) + single(bag[term]) * inverse))
        if total:
            scores.append((-float(single(total)), identifiers[number] if identifiers else "", number))
    return [number for _, _, number in sorted(scores)[:limit]]


def test_recorded_result_pages_come_out_the_same(tmp_path: Path) -> None:
    names = [line["id"] for line in documents()]
    index = built([line["contents"] for line in documents()], tmp_path, names)
    pages = 0
    for episode in recorded("official_episodes.json"):
        steps = episode["steps"]
        for step, answer in zip(steps, [*steps[1:], {}], strict=True):
            if query := re.fullmatch(r"search\[(.*)\]", step.get("action", "")):
                found = [names[number] for number in index.search(query[1])]
            if page := re.search(r"Page (\d+) \(Total results: (\d+)\)", answer.get("observation", "")):
                shown = [part for part in answer["observation"].split(" [SEP] ") if part in set(names)]
                first = 10 * (int(page[1]) - 1)
                assert (len(found), found[first : first + 10]) == (int(page[2]), shown)
                pages += 1
    assert pages == 2


@settings(max_examples=60)
@given(
    texts=st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=60).map(" ".join), max_size=25),
    query=st.lists(st.sampled_from("abcdefghx"), max_size=6).map(" ".join),
    limit=st.integers(0, 6),
    seed=st.none() | st.integers(0, 9),
    prune=st.sampled_from([0, 50_000]),
    block=st.sampled_from([1, 100, 2_000_000]),
)
@example(texts=["b c d", "b", "b b b", "", "b"], query="b b", limit=2, seed=None, prune=0, block=1)
def test_agrees_with_a_slow_search(
    texts: list[str], query: str, limit: int, seed: int | None, prune: int, block: int
) -> None:
    identifiers = None if seed is None else [f"B{(number * 7 + seed) % 31:02}" for number in range(len(texts))]
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(indexing, "_BLOCK", block)
        patch.setattr(search, "_PRUNE", prune)
        assert built(texts, Path(folder), identifiers).search(query, limit) == slow_search(
            texts, query, limit, identifiers
        )


def test_agrees_with_a_slow_search_on_official_documents(tmp_path: Path) -> None:
    texts = [line["contents"] for line in documents()][:150]
    index = built(texts, tmp_path)
    for text in texts[::15]:
        query = " ".join(text.split()[3:12])
        assert index.search(query) == slow_search(texts, query, 50)


@pytest.mark.parametrize("pilots", [8_000, 100])
def test_ruling_documents_out_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pilots: int) -> None:
    random = np.random.default_rng(0)
    words = np.array([f"w{rank}x" for rank in random.zipf(1.3, 60_000) % 3000])
    texts = [" ".join(row) for row in words.reshape(-1, 20)]
    texts += texts[:1000]  # equal documents: ties at the last place listed
    index = built(texts, tmp_path)
    queries = [" ".join(random.choice(words, random.integers(1, 10))) for _ in range(100)]
    monkeypatch.setattr(search, "_PRUNE", math.inf)
    complete = [index.search(query, 10) for query in queries]
    monkeypatch.setattr(search, "_PRUNE", 0)
    monkeypatch.setattr(search, "_PILOTS", pilots)
    looked_up = []
    look_up = SearchIndex._look_up
    monkeypatch.setattr(SearchIndex, "_look_up", lambda *args: looked_up.append(1) or look_up(*args))
    assert [index.search(query, 10) for query in queries] == complete
    assert len(looked_up) > 100  # it did rule out


def test_lengths_in_one_byte() -> None:
    lengths = np.unique(np.concatenate([np.arange(5000), 2 ** np.arange(31) - 1, 2 ** np.arange(31) + 24, [2**31 - 1]]))
    codes = length_codes(lengths)
    assert decoded_lengths()[codes].tolist() == [np.float32(stored_length(length)) for length in lengths.tolist()]
    exact = decoded_lengths()[:150].astype(np.int64)
    assert np.array_equal(length_codes(exact), np.arange(150))
    assert codes[-1] == 255
    assert np.all(np.diff(codes.astype(int)) >= 0)


def test_terms_of_one_hash_are_kept_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "term_hash", lambda term: len(term))
    monkeypatch.setattr(search, "term_hash", lambda term: len(term))
    index = built(["red", "tan", "blue", "tan red"], tmp_path)
    assert [index.search(query) for query in ("red", "tan", "blue", "sky", "greenish")] == [[0, 3], [1, 3], [2], [], []]


def test_nothing_to_find(tmp_path: Path) -> None:
    index = built(["a red lamp", "", "the"], tmp_path)
    assert [index.search(query) for query in ("", "the", "desk", "[]%", "\ud800")] == [[]] * 5
    assert built([], tmp_path / "empty").search("lamp") == []


def test_a_query_of_all_words_is_answered(tmp_path: Path) -> None:
    texts = [" ".join(f"w{document * word % 5003}x" for word in range(40)) for document in range(2000)]
    index = built(texts, tmp_path)
    assert index.search(" ".join(texts), 1)


def test_an_index_of_several_runs_leaves_no_run_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"red lamp {number}" for number in range(5)]
    whole = built(texts, tmp_path / "whole")
    monkeypatch.setattr(indexing, "_BLOCK", 6)
    parts = built(texts, tmp_path / "parts")
    assert {file.name for file in (tmp_path / "parts").iterdir()} == {f"{name}.npy" for name in ARRAYS} | {"index.json"}
    for query in ("red", "lamp 3", "4 2"):
        assert parts.search(query) == whole.search(query)


def test_identifiers_must_fit(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 identifiers for 2 documents"):
        build_index(["a", "b"], tmp_path, identifiers=["x"])


@pytest.mark.parametrize("name", [*(f"{name}.npy" for name in ARRAYS), "index.json"])
@pytest.mark.parametrize("damage", ["missing", "cut", "garbled", "foreign"])
def test_a_damaged_index_is_refused(tmp_path: Path, name: str, damage: str) -> None:
    built(["a red lamp", "a blue desk"], tmp_path / "index")
    file = tmp_path / "index" / name
    if damage == "missing":
        file.unlink()
    elif damage == "foreign" and name == "index.json":
        file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 0}))
    elif damage == "foreign":
        np.save(file, np.zeros(17))
    else:
        file.write_bytes(file.read_bytes()[:-1] if damage == "cut" else b"\0" * 200)
    with pytest.raises(InputError, match=rf"{name}.*remove .* to compile the catalogue again$"):
        SearchIndex.open(tmp_path / "index")
