"""Downloads from a server on the loopback: complete, interrupted, changed, and hostile."""

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback import Server, serve

from envs.alfworld import download as module
from envs.alfworld.download import Archive, download, main
from envs.alfworld.official import OfficialGames
from prism_bench import remote_file
from prism_bench.errors import InputError
from prism_bench.remote_file import ATTEMPTS

TASK = "json_2.1.1/train/pick_and_place_simple-Mug-None-Desk-302"
GAME = json.dumps({"pddl_domain": "", "grammar": "", "pddl_problem": "x" * 5000, "solvable": True})
TRAJECTORY = json.dumps({"task_type": "pick_and_place_simple"})


def zipped(files: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return buffer.getvalue()


GAMES_ZIP = zipped(
    {f"{TASK}/trial_1/game.tw-pddl": GAME, f"{TASK}/trial_2/game.tw-pddl": GAME, "json_2.1.1/README": "not needed"}
)
TRAJECTORIES_ZIP = zipped(
    {
        **{f"{TASK}/trial_{number}/traj_data.json": TRAJECTORY for number in (1, 2, 3)},
        "json_2.1.1/train/no_game-Mug-None-Desk-302/trial_4/traj_data.json": TRAJECTORY,
    }
)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(remote_file, "PAUSE", 0)
    with serve({"0.4.0/games.zip": GAMES_ZIP, "0.2.2/trajectories.zip": TRAJECTORIES_ZIP}) as server:
        yield server


def archives_of(server: Server) -> list[Archive]:
    return [Archive(path, hashlib.sha256(content).hexdigest()) for path, content in server.files.items()]


def fetch(server: Server, data: Path) -> Path:
    return download(data, archives_of(server), server.url)


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


COMPLETE = sorted(f"{TASK}/trial_{number}/{name}" for number in (1, 2) for name in ("game.tw-pddl", "traj_data.json"))


def test_the_games_are_there_and_nothing_else(server: Server, tmp_path: Path) -> None:
    assert fetch(server, tmp_path / "new" / "folder") == tmp_path / "new" / "folder" / "json_2.1.1"
    assert files_in(tmp_path / "new" / "folder") == COMPLETE
    assert not (tmp_path / "new/folder/json_2.1.1/train/no_game-Mug-None-Desk-302").exists()
    assert len(OfficialGames(tmp_path / "new" / "folder", "train").task_ids) == 2
    assert server.asked == [("0.4.0/games.zip", None), ("0.2.2/trajectories.zip", None)]


def test_a_second_run_goes_on_where_the_first_gave_up(server: Server, tmp_path: Path) -> None:
    server.cuts = {"0.2.2/trajectories.zip": [50] * ATTEMPTS}
    kept = 50 * ATTEMPTS
    with pytest.raises(InputError, match=f"ended .* bytes early; {kept} bytes are kept, run the same command again"):
        fetch(server, tmp_path)
    assert files_in(tmp_path) == ["games.zip", "trajectories.zip.part"]
    server.asked.clear()
    fetch(server, tmp_path)
    assert server.asked == [("0.2.2/trajectories.zip", f"bytes={kept}-")]
    assert files_in(tmp_path) == COMPLETE


def test_a_file_with_another_sum_is_removed(server: Server, tmp_path: Path) -> None:
    archives = archives_of(server)
    server.files["0.4.0/games.zip"] = zipped({f"{TASK}/trial_1/game.tw-pddl": "{}"})
    with pytest.raises(InputError, match=f"but {archives[0].sha256} was expected; the file was removed"):
        download(tmp_path, archives, server.url)
    assert files_in(tmp_path) == []


@pytest.mark.parametrize(
    "name", ["../evil", "json_2.1.1/../../evil", "/evil", "elsewhere/game.tw-pddl", "json_2.1.1\\..\\e"]
)
def test_an_archive_that_would_write_elsewhere_is_refused(server: Server, tmp_path: Path, name: str) -> None:
    server.files["0.2.2/trajectories.zip"] = zipped({f"{TASK}/trial_1/traj_data.json": TRAJECTORY, name: "x"})
    with pytest.raises(InputError, match=r"which lies outside json_2\.1\.1; nothing was unpacked"):
        fetch(server, tmp_path / "data")
    assert files_in(tmp_path) == ["data/games.zip", "data/trajectories.zip"]


def test_what_is_no_archive_is_refused(server: Server, tmp_path: Path) -> None:
    server.files["0.4.0/games.zip"] = b"<html>"
    with pytest.raises(InputError, match="is no intact zip archive"):
        fetch(server, tmp_path)
    assert not (tmp_path / "json_2.1.1").exists()


def test_games_that_are_there_are_left_alone(server: Server, tmp_path: Path) -> None:
    fetch(server, tmp_path)
    server.asked.clear()
    with pytest.raises(InputError, match="is there already; remove it or choose another folder"):
        fetch(server, tmp_path)
    assert not server.asked


def test_what_a_killed_run_left_does_not_get_in(server: Server, tmp_path: Path) -> None:
    stale = tmp_path / ".json_2.1.1.unpacking" / "json_2.1.1" / "train" / "stale"
    stale.mkdir(parents=True)
    fetch(server, tmp_path)
    assert files_in(tmp_path) == COMPLETE
    assert not (tmp_path / ".json_2.1.1.unpacking").exists()


def test_the_command(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    games, trajectories = archives_of(server)
    monkeypatch.setattr(module, "GAMES", {"2.1.2": Archive(games.path, "0" * 64)})
    monkeypatch.setattr(module, "TRAJECTORIES", trajectories)
    where = [str(tmp_path), "--releases", server.url]
    with pytest.raises(SystemExit) as refused:
        main(where)
    assert f"accept it with --sha256 games.zip={games.sha256}" in str(refused.value)
    main([*where, "--sha256", f"games.zip={games.sha256}"])
    assert f"env.source=official env.data={tmp_path}" in capsys.readouterr().out
    assert files_in(tmp_path) == COMPLETE
    with pytest.raises(SystemExit):
        main([*where, "--sha256", "games=1"])
    assert "--sha256 names games, which is none of games.zip, trajectories.zip" in capsys.readouterr().err


def test_the_folder_has_to_be_given(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)
    with pytest.raises(SystemExit):
        main([])
    assert "give the folder to download the games into" in capsys.readouterr().err
