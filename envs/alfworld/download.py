"""Downloads the official games from the releases of https://github.com/alfworld/alfworld.

    python -m envs.alfworld.download DIR

makes ``DIR/json_2.1.1/{train,valid_seen,valid_unseen}`` (about 110 MB to transfer, several times that on disk), which
is what ``env.source=official env.data=DIR`` plays. DIR is a plain argument, because the command needs no other.

The addresses are those of upstream's script ``alfworld-download`` (package 0.4.2; 0.3.5 for the older wording); files
that only its simulator needs are not fetched. Upstream publishes no checksums. The SHA-256 sums below were written down
in public repositories by people who had downloaded the files: five records agree on the trajectories; of each archive
of games there is one. A file that does not match is not unpacked, unless its sum is accepted with ``--sha256``.

An interrupted download goes on where it stopped when the command is run again. The games appear as a whole or not at
all: they are unpacked beside their place and then renamed.
"""

import argparse
import hashlib
import os
import shutil
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from http.client import HTTPException
from pathlib import Path, PurePosixPath

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from envs.alfworld.official import GAME_FILE, LAYOUT, TRAJECTORY_FILE

RELEASES = "https://github.com/alfworld/alfworld/releases/download"


@dataclass(frozen=True)
class Archive:
    """One file of a release: where it is and what it must hash to."""

    path: str  # below RELEASES
    sha256: str

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.path.rpartition("/")[2]


TRAJECTORIES = Archive(
    "0.2.2/json_2.1.1_json.zip",
    "25171f16e20ad7b048c47275c45b0babf3aa1cbab29cec97387922350a9844bc",
)
GAMES: Mapping[str, Archive] = {
    "2.1.2": Archive(
        "0.4.0/json_2.1.2_tw-pddl.zip",
        "eea90499df27b9cb3147d1d1927264146d38194b575e25f70a82875545742dcb",
    ),
    "2.1.1": Archive(
        "0.2.2/json_2.1.1_tw-pddl.zip",
        "d376c4bbb097c068528a2a9805e358e4cd14bc75c4d68a24e5141aebd234ef67",
    ),
}

ATTEMPTS = 5
_CHUNK = 1 << 20
_TIMEOUT = 60.0  # seconds without a byte


class DownloadError(ValueError):
    """The games could not be fetched or unpacked; nothing half-done stands in their place."""


class _InterruptedError(Exception):
    """The connection ended early; what came is kept."""


def download(
    data: Path,
    archives: Sequence[Archive],
    releases: str = RELEASES,
    console: Console | None = None,
    pause: float = 2.0,
) -> Path:
    """Fetch ``archives`` (games first, then trajectories) and unpack them; return ``data/json_2.1.1``.

    Args:
        data: the folder that gets ``json_2.1.1``.
        archives: what to fetch, in the order of unpacking.
        releases: the address under which the archives lie, such as a mirror's.
        console: where progress is shown; None: on standard error.
        pause: seconds before the second attempt, doubled for each further one.

    Raises:
        DownloadError: ``json_2.1.1`` is there already, the server does not answer or has another file, or an archive is
            damaged or holds what does not belong there.
        OSError: the disk is full or not writable.
    """
    target = data / LAYOUT
    if target.exists():
        raise DownloadError(f"{target} is there already; remove it or choose another folder to download again")
    data.mkdir(parents=True, exist_ok=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console or Console(stderr=True)) as progress:
        files = [_fetch(archive, f"{releases}/{archive.path}", data, progress, pause) for archive in archives]
        staging = data / f".{LAYOUT}.unpacking"
        shutil.rmtree(staging, ignore_errors=True)  # what a killed run left
        try:
            for file in files:
                _unpack(file, staging, progress)
            _drop_trials_without_game(staging / LAYOUT)
            (staging / LAYOUT).rename(target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    for file in files:
        file.unlink()
    return target


def _fetch(archive: Archive, url: str, folder: Path, progress: Progress, pause: float) -> Path:
    """Return the verified archive, downloaded into ``folder`` or found there."""
    whole, part = folder / archive.name, folder / f"{archive.name}.part"
    bar = progress.add_task(archive.name, total=None)
    for attempt in range(ATTEMPTS if not whole.exists() else 0):
        try:
            _receive(url, part, progress, bar)
            part.replace(whole)
            break
        except _InterruptedError as reason:
            if attempt == ATTEMPTS - 1:
                raise DownloadError(
                    f"{url}: {reason}; {_length(part):,} bytes are kept, run the same command again to go on"
                ) from None
            time.sleep(pause * 2**attempt)
    with whole.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != archive.sha256:
        whole.unlink()
        raise DownloadError(
            f"{url} has the SHA-256 sum {digest}, but {archive.sha256} was expected; the file was removed. Run the "
            f"command again; if upstream did replace the file, accept it with --sha256 {archive.name}={digest}"
        )
    return whole


def _receive(url: str, part: Path, progress: Progress, bar: TaskID) -> None:
    """Append to ``part`` what it lacks."""
    have = _length(part)
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
            if response.status != 206:
                have = 0  # this server sends files from their beginning only
            length = response.headers.get("Content-Length")
            total = have + int(length) if length else None
            progress.update(bar, completed=have, total=total)
            with part.open("r+b" if have else "wb") as file:
                file.seek(have)
                while chunk := response.read(_CHUNK):
                    file.write(chunk)
                    progress.advance(bar, len(chunk))
    except urllib.error.HTTPError as error:
        if error.code == 416 and error.headers.get("Content-Range") == f"bytes */{have}":
            return  # nothing is missing
        if error.code == 416:
            part.unlink()  # it belongs to another file
            raise _InterruptedError("what was kept does not belong to this file and was removed") from None
        if error.code >= 500:
            raise _InterruptedError(f"the server answered {error.code} {error.reason}") from None
        raise DownloadError(f"{url}: the server answered {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise _InterruptedError(f"the server cannot be reached ({error.reason})") from None
    except (HTTPException, ConnectionError, TimeoutError) as error:
        raise _InterruptedError(f"the connection broke ({error})") from None
    if total is not None and _length(part) < total:
        raise _InterruptedError(f"the connection ended {total - _length(part):,} bytes early")


def _unpack(file: Path, folder: Path, progress: Progress) -> None:
    """Unpack game and trajectory files into ``folder``."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            for member in members:
                path = PurePosixPath(member.filename)
                if path.is_absolute() or ".." in path.parts or path.parts[:1] != (LAYOUT,) or "\\" in member.filename:
                    raise DownloadError(
                        f"{file} holds {member.filename!r}, which lies outside {LAYOUT}; nothing was unpacked"
                    )
            wanted = [
                member for member in members if PurePosixPath(member.filename).name in (GAME_FILE, TRAJECTORY_FILE)
            ]
            bar = progress.add_task(f"unpacking {file.name}", total=sum(member.file_size for member in wanted))
            for member in wanted:
                archive.extract(member, folder)
                progress.advance(bar, member.file_size)
    except zipfile.BadZipFile as error:
        raise DownloadError(f"{file} is no intact zip archive ({error}); remove it and run the command again") from None


def _drop_trials_without_game(folder: Path) -> None:
    """Remove trials for which upstream has no game: nothing can play them."""
    for trajectory in list(folder.glob(f"*/*/*/{TRAJECTORY_FILE}")):
        if not trajectory.with_name(GAME_FILE).exists():
            trajectory.unlink()
            for parent in (trajectory.parent, trajectory.parent.parent):
                with suppress(OSError):  # the task has other trials
                    parent.rmdir()


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Download on the command line."""
    parser = argparse.ArgumentParser(description="Download the official ALFWorld games.")
    parser.add_argument("data", type=Path, nargs="?", default=os.environ.get("ALFWORLD_DATA"))
    parser.add_argument("--version", choices=GAMES, default="2.1.2", help="2.1.1 has the older wording `put X in/on Y`")
    parser.add_argument("--releases", default=RELEASES, metavar="URL", help="a mirror of upstream's releases")
    parser.add_argument(
        "--sha256", action="append", default=[], metavar="FILE=SUM", help="accept this sum for a file of the release"
    )
    options = parser.parse_args(arguments)
    if options.data is None:
        parser.error("give the folder that shall hold the games")
    sums = dict(entry.partition("=")[::2] for entry in options.sha256)
    archives = [GAMES[options.version], TRAJECTORIES]
    if unknown := sums.keys() - {archive.name for archive in archives}:
        parser.error(f"--sha256 names {min(unknown)}, which is none of {', '.join(a.name for a in archives)}")
    archives = [replace(archive, sha256=sums.get(archive.name, archive.sha256)) for archive in archives]
    try:
        target = download(options.data.expanduser(), archives, options.releases)
    except (DownloadError, OSError) as error:
        sys.exit(f"download: {error}")
    print(f"the games are in {target}; play them with env.source=official env.data={target.parent}")


if __name__ == "__main__":
    main()
