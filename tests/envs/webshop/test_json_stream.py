"""The streaming reader against ``json.loads``: the same entries, and one sentence for every file that it refuses."""

import hashlib
import json
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from envs.webshop import json_stream
from envs.webshop.json_stream import JsonStream
from prism_bench.errors import InputError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
SPACES = st.sampled_from((None, 1, "\t"))


@pytest.fixture(params=[1, 7, 1 << 20])
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Bytes read at once: with few, every kind of token is split somewhere."""
    monkeypatch.setattr(json_stream, "_CHUNK", request.param)
    return int(request.param)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("streams")


def entries(path: Path, data: bytes) -> list[Any]:
    path.write_bytes(data)
    return [value for _, value in JsonStream(path).entries()]


def members(path: Path, data: bytes) -> list[tuple[str, Any]]:
    path.write_bytes(data)
    return [(name, value) for _, name, value in JsonStream(path).members()]


def is_one_sentence(error: pytest.ExceptionInfo[InputError], path: Path) -> bool:
    text = str(error.value)
    return str(path) in text and "\n" not in text and len(text) < 300 + len(str(path))


@pytest.mark.usefixtures("chunk")
class TestChunks:
    @given(values=st.lists(VALUES, max_size=5), indent=SPACES, escape=st.booleans())
    @settings(max_examples=30)
    def test_an_array_has_the_entries_that_json_finds(
        self, folder: Path, values: list[Any], indent: Any, escape: bool
    ) -> None:
        data = json.dumps(values, indent=indent, ensure_ascii=escape).encode("utf-8", "surrogatepass")
        path = folder / "array.json"
        try:
            expected = json.loads(data)
        except UnicodeDecodeError:  # lone surrogates, unescaped
            with pytest.raises(InputError, match="is not UTF-8"):
                entries(path, data)
        else:
            assert entries(path, data) == expected

    @given(values=st.dictionaries(st.text(st.characters(codec="utf-8")), VALUES, max_size=5), indent=SPACES)
    @settings(max_examples=30)
    def test_an_object_has_the_members_that_json_finds(self, folder: Path, values: dict[str, Any], indent: Any) -> None:
        assert members(folder / "object.json", json.dumps(values, indent=indent).encode()) == list(values.items())

    @given(values=st.lists(VALUES, min_size=1, max_size=3), data=st.data())
    @settings(max_examples=30)
    def test_a_file_that_is_cut_off_is_refused(self, folder: Path, values: list[Any], data: st.DataObject) -> None:
        whole, path = json.dumps(values).encode(), folder / "cut.json"
        with pytest.raises(InputError) as error:
            entries(path, whole[: data.draw(st.integers(0, len(whole) - 1))])
        assert is_one_sentence(error, path)

    @given(st.text('[]{},:"\\ 1e.-tnu\né\ud800', max_size=12).map(lambda text: text.encode("utf-8", "surrogatepass")))
    @settings(max_examples=100)
    def test_whatever_json_refuses_is_refused_in_one_sentence(self, folder: Path, data: bytes) -> None:
        path = folder / "odd.json"
        try:
            expected = json.loads(data.decode())
        except ValueError:
            expected = None
        if isinstance(expected, list):
            assert entries(path, data) == expected
        else:
            with pytest.raises(InputError) as error:
                entries(path, data)
            assert is_one_sentence(error, path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"is no JSON array: it does not begin with \["),
        ("<html>", r"is no JSON array: it does not begin with \["),
        ('{"a": 1}', r"is no JSON array: it does not begin with \["),
        ("[1,\n 2\n 3]", "line 3, entry 2 is damaged: ',' or ']' is expected"),
        ('[1,\n {"a":\n oops, "b": 2222222222222222}]', "line 3, entry 2 is damaged: Expecting value"),
        ("[1, 2] 3", "entry 2 is damaged: the file goes on after its closing ]"),
        ("[1, 2,", r"ends in the middle of entry 3 \(line 1\): the file is truncated"),
        ('[1,\n"open', r"ends in the middle of entry 2 \(line 2\): the file is truncated"),
        ("[" * 100_000, "is damaged: it is nested too deeply"),
        ("[" + "9" * 5000 + "]", "is damaged: Exceeds the limit"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        entries(tmp_path / "bad.json", text.encode())
    assert is_one_sentence(error, tmp_path / "bad.json")


def test_a_name_must_be_text_and_have_a_value(tmp_path: Path) -> None:
    for text, message in (
        ("{1: 2}", "1 stands where a name"),
        ('{"a" 2}', "':' is expected"),
        ('{"a"', "is truncated"),
    ):
        with pytest.raises(InputError, match=message):
            members(tmp_path / "bad.json", text.encode())


def test_bytes_that_are_no_text_are_found(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not UTF-8 text: near byte 4, invalid start byte"):
        entries(tmp_path / "bad.json", b'["ab\xff"]')


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json cannot be read: No such file"):
        list(JsonStream(tmp_path / "none.json").entries())


def test_an_entry_without_end_is_not_read_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "ENTRY_LIMIT", 1000)
    monkeypatch.setattr(json_stream, "_CHUNK", 64)
    assert entries(tmp_path / "long.json", b'["' + b"x" * 500 + b'", 1]') == ["x" * 500, 1]
    with pytest.raises(InputError, match=r"entry 1 is damaged: it is longer than 1,000 characters"):
        entries(tmp_path / "long.json", b'["' + b"x" * 5000 + b'"]')


def test_places_sum_and_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "_CHUNK", 5)
    path, data = tmp_path / "a.json", b'[\n1,\n{"a":\n 2}, 3]\n'
    path.write_bytes(data)
    seen: list[tuple[int, int]] = []
    stream = JsonStream(path, lambda done, total: seen.append((done, total)))
    assert [place.removeprefix(str(path)) for place, _ in stream.entries()] == [
        ", line 2, entry 1",
        ", line 3, entry 2",
        ", line 4, entry 3",
    ]
    assert stream.sha256 == hashlib.sha256(data).hexdigest()
    assert seen[-1] == (len(data), len(data)) and len(seen) > 2
