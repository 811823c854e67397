"""The command against a server on the loopback; the transfer itself is tested in tests/prism_bench."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from loopback import Server, serve

from envs.webshop import download as module
from envs.webshop.download import SOURCES, download, main
from envs.webshop.sources import FULL, HUMAN, SMALL, official_files
from prism_bench import remote_file
from prism_bench.errors import InputError
from prism_bench.remote_file import ATTEMPTS

from .official_shop import official

FILES = {name: f'["{name}"]'.encode() * 100 for name in (*SMALL, *FULL, HUMAN)}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(remote_file, "PAUSE", 0)
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
    monkeypatch.setattr(module, "SOURCES", {name: replace(SOURCES[name], sha256=sums[name]) for name in SOURCES})
    with serve(dict(FILES)) as server:
        yield server


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_small_catalogue_is_the_default(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(tmp_path / "new"), "--mirror", server.url + "/"])
    assert names(tmp_path / "new") == sorted((*SMALL, HUMAN))
    assert all((tmp_path / "new" / name).read_bytes() == FILES[name] for name in (*SMALL, HUMAN))
    assert f"env.source=official env.data={tmp_path / 'new'}" in capsys.readouterr().out


def test_all_products_on_request_and_both_in_one_folder(server: Server, tmp_path: Path) -> None:
    main([str(tmp_path), "--mirror", server.url])
    main([str(tmp_path), "--mirror", server.url, "--all"])
    assert names(tmp_path) == sorted(FILES)
    assert [path for path, _ in server.asked].count(HUMAN) == 1  # what is there is not fetched again
    assert official_files(tmp_path).products.name == SMALL[0]
    assert official_files(tmp_path, "all").products.name == FULL[0]


def test_an_interrupted_run_is_taken_up(server: Server, tmp_path: Path) -> None:
    server.cuts = {SMALL[1]: [40] * ATTEMPTS}
    sources = [module.SOURCES[name] for name in (*SMALL, HUMAN)]
    with pytest.raises(InputError, match="run the same command again to resume"):
        download(tmp_path, sources, server.url)
    assert names(tmp_path) == sorted((SMALL[0], f"{SMALL[1]}.part"))
    main([str(tmp_path), "--mirror", server.url])
    assert names(tmp_path) == sorted((*SMALL, HUMAN))
    assert (SMALL[1], f"bytes={40 * ATTEMPTS}-") in server.asked


def test_upstreams_own_files_lie_under_their_ids(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DRIVE", f"{server.url}/drive?id=")
    server.files = {f"drive?id={source.drive}": FILES[name] for name, source in SOURCES.items()}
    main([str(tmp_path), "--mirror", "drive"])
    assert names(tmp_path) == sorted((*SMALL, HUMAN))


def test_the_page_that_drive_shows_instead_of_a_file_is_refused(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DRIVE", f"{server.url}/drive?id=")
    path = f"drive?id={SOURCES[SMALL[0]].drive}"
    server.files = {path: b"<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head></html>"}
    server.types = {path: "text/html; charset=utf-8"}
    with pytest.raises(SystemExit, match=r"download: .* a web page \(Google Drive - Virus scan warning\) instead"):
        main([str(tmp_path), "--mirror", "drive"])
    assert names(tmp_path) == []


def test_another_file_is_removed_unless_its_sum_is_accepted(server: Server, tmp_path: Path) -> None:
    server.files[HUMAN] = FILES[HUMAN][:-20]  # cut off where the server itself has no more
    accept = f"{HUMAN}={hashlib.sha256(server.files[HUMAN]).hexdigest()}"
    with pytest.raises(SystemExit, match=f"was expected; the file was removed.*--sha256 {accept}"):
        main([str(tmp_path), "--mirror", server.url])
    assert names(tmp_path) == sorted(SMALL)
    main([str(tmp_path), "--mirror", server.url, "--sha256", accept])
    assert names(tmp_path) == sorted((*SMALL, HUMAN))


def test_a_file_of_ones_own_is_left_alone(server: Server, tmp_path: Path) -> None:
    (tmp_path / SMALL[0]).write_bytes(b"my own")
    with pytest.raises(SystemExit, match="is there already and has the SHA-256 sum"):
        main([str(tmp_path), "--mirror", server.url])
    assert (tmp_path / SMALL[0]).read_bytes() == b"my own"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give the folder to download the catalogue into"),
        (
            ["x", "--sha256", f"{FULL[0]}=1"],
            f"--sha256 names {FULL[0]}, which is none of {SMALL[0]}, {SMALL[1]}, {HUMAN}",
        ),
    ],
)
def test_bad_arguments(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WEBSHOP_DATA", raising=False)
    with pytest.raises(SystemExit):
        main(arguments)
    assert message in capsys.readouterr().err


def test_the_official_attributes_have_the_sum_that_was_written_down() -> None:
    """The only file of the test data that equals upstream's byte for byte."""
    content = official(SMALL[1]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == SOURCES[SMALL[1]].sha256
