"""Transfers from a server on the loopback: complete, interrupted, changed, without resuming, and a web page."""

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback import Server, serve

from prism_bench import remote_file
from prism_bench.errors import InputError
from prism_bench.remote_file import ATTEMPTS, RemoteFile, fetch, transfer_progress

CONTENT = random.Random(0).randbytes(5000)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_file, "PAUSE", 0)


@pytest.fixture
def server() -> Iterator[Server]:
    with serve({"data/file.bin": CONTENT}) as server:
        yield server


def fetched(server: Server, folder: Path, content: bytes = CONTENT, path: str = "data/file.bin") -> bytes:
    file = RemoteFile("file.bin", f"{server.url}/{path}", hashlib.sha256(content).hexdigest())
    with transfer_progress() as progress:
        whole = fetch(file, folder, progress)
    assert [path.name for path in folder.iterdir()] == ["file.bin"]
    assert whole == folder / "file.bin"
    return whole.read_bytes()


def test_a_file_arrives(server: Server, tmp_path: Path) -> None:
    assert fetched(server, tmp_path) == CONTENT
    assert server.asked == [("data/file.bin", None)]


def test_a_broken_connection_is_taken_up_where_it_broke(server: Server, tmp_path: Path) -> None:
    server.cuts = {"data/file.bin": [1000, 500]}
    assert fetched(server, tmp_path) == CONTENT
    assert [wanted for _, wanted in server.asked] == [None, "bytes=1000-", "bytes=1500-"]


def test_a_second_run_goes_on_where_the_first_gave_up(server: Server, tmp_path: Path) -> None:
    server.cuts = {"data/file.bin": [50] * ATTEMPTS}
    kept = 50 * ATTEMPTS
    with pytest.raises(InputError, match=f"ended .* bytes early; {kept} bytes are kept, run the same command again"):
        fetched(server, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file.bin.part"]
    server.asked.clear()
    assert fetched(server, tmp_path) == CONTENT
    assert server.asked == [("data/file.bin", f"bytes={kept}-")]


def test_a_server_that_cannot_resume_sends_the_file_again(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.cuts = {"data/file.bin": [1000]}
    assert fetched(server, tmp_path) == CONTENT


def test_a_part_that_was_complete_is_used(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    assert fetched(server, tmp_path) == CONTENT
    assert server.asked == [("data/file.bin", f"bytes={len(CONTENT)}-")]


def test_a_part_of_a_longer_file_is_thrown_away(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT + b"more")
    assert fetched(server, tmp_path) == CONTENT


def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.status = [503, 502]
    assert fetched(server, tmp_path) == CONTENT


def test_a_file_with_another_sum_is_removed(server: Server, tmp_path: Path) -> None:
    expected = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(InputError, match=f"but {expected} was expected; the file was removed.*--sha256 file.bin="):
        fetched(server, tmp_path, b"other")
    assert list(tmp_path.iterdir()) == []


def test_a_part_with_other_bytes_is_found_out_by_its_sum(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(b"x" * 100)
    with pytest.raises(InputError, match="was expected"):
        fetched(server, tmp_path)
    assert fetched(server, tmp_path) == CONTENT


def test_a_file_that_is_there_is_checked_and_kept(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin").write_bytes(CONTENT)
    assert fetched(server, tmp_path) == CONTENT
    (tmp_path / "file.bin").write_bytes(b"my own")
    with pytest.raises(InputError, match=r"is there already and has the SHA-256 sum .* remove it"):
        fetched(server, tmp_path)
    assert (tmp_path / "file.bin").read_bytes() == b"my own"
    assert server.asked == []


def test_a_file_that_the_server_does_not_have_is_not_asked_for_again(server: Server, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"other.bin: the server answered 404"):
        fetched(server, tmp_path, path="other.bin")
    assert len(server.asked) == 1


def test_a_server_that_cannot_be_reached(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be reached .*; 0 bytes are kept"):
        fetched(Server({}, url="http://127.0.0.1:9"), tmp_path)


def test_a_web_page_is_not_taken_for_the_file(server: Server, tmp_path: Path) -> None:
    server.files["data/file.bin"] = b"<html><head><title>Quota\n exceeded</title></head></html>"
    server.types = {"data/file.bin": "text/html; charset=utf-8"}
    server.ranges = False
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:40])
    with pytest.raises(InputError, match=r"answered with a web page \(Quota exceeded\) instead of the file"):
        fetched(server, tmp_path)
    assert (tmp_path / "file.bin.part").read_bytes() == CONTENT[:40]  # what was kept is as it was
    assert len(server.asked) == 1
