"""Downloads the official games from the releases of https://github.com/alfworld/alfworld.

    prism-bench download alfworld DIR

writes ``DIR/json_2.1.1/{train,valid_seen,valid_unseen}`` for ``env.source=official env.data=DIR``: about 110 MB to
transfer, several times that on disk.

The addresses are those of upstream's script ``alfworld-download`` (package 0.4.2; 0.3.5 for the older wording); files
that only its simulator needs are not fetched. Upstream publishes no checksums. The SHA-256 sums below are from public
repositories of people who had downloaded the files: five records agree on the trajectories; of each archive of games
there is one. A file with another sum is not unpacked, unless the sum is accepted with ``--sha256``.

An interrupted download resumes when the command is run again. The games appear as a whole or not at all: they are
unpacked in a temporary folder, which is then renamed.
"""

import argparse
import os
import shutil
import sys
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from rich.progress import Progress

from envs.alfworld.official import GAME_FILE, LAYOUT, TRAJECTORY_FILE
from prism_bench.errors import InputError
from prism_bench.remote_file import RemoteFile, fetch, transfer_progress

RELEASES = "https://github.com/alfworld/alfworld/releases/download"


@dataclass(frozen=True)
class Archive:
    """One file of a release: its path and its SHA-256 sum."""

    path: str  # below RELEASES
    sha256: str

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.path.rpartition("/")[2]

    def under(self, releases: str) -> RemoteFile:
        """Return the file as it lies under the address of the releases, upstream's or a mirror's."""
        return RemoteFile(self.name, f"{releases}/{self.path}", self.sha256)


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


def download(
    data: Path,
    archives: Sequence[Archive],
    releases: str = RELEASES,
) -> Path:
    """Fetch ``archives`` (games first, then trajectories) and unpack them; return ``data/json_2.1.1``.

    Args:
        data: the folder that gets ``json_2.1.1``.
        archives: the files to fetch, in the order of unpacking.
        releases: the address under which the archives lie, such as a mirror's.

    Raises:
        InputError: ``json_2.1.1`` is there already, the server does not answer or has another file, or an archive is
            damaged or holds other files. No part of the games is left behind.
        OSError: the disk is full or not writable.
    """
    target = data / LAYOUT
    if target.exists():
        raise InputError(f"{target} is there already; remove it or choose another folder to download again")
    data.mkdir(parents=True, exist_ok=True)
    with transfer_progress() as progress:
        files = [fetch(archive.under(releases), data, progress) for archive in archives]
        staging = data / f".{LAYOUT}.unpacking"
        shutil.rmtree(staging, ignore_errors=True)  # left by a killed run
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


def _unpack(file: Path, folder: Path, progress: Progress) -> None:
    """Unpack game and trajectory files into ``folder``."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            for member in members:
                path = PurePosixPath(member.filename)
                if path.is_absolute() or ".." in path.parts or path.parts[:1] != (LAYOUT,) or "\\" in member.filename:
                    raise InputError(
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
        raise InputError(f"{file} is no intact zip archive ({error}); remove it and run the command again") from None


def _drop_trials_without_game(folder: Path) -> None:
    """Remove trials for which upstream has no game."""
    for trajectory in list(folder.glob(f"*/*/*/{TRAJECTORY_FILE}")):
        if not trajectory.with_name(GAME_FILE).exists():
            trajectory.unlink()
            for parent in (trajectory.parent, trajectory.parent.parent):
                with suppress(OSError):  # the task has other trials
                    parent.rmdir()


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
        parser.error("give the folder to download the games into")
    sums = dict(entry.partition("=")[::2] for entry in options.sha256)
    archives = [GAMES[options.version], TRAJECTORIES]
    if unknown := sums.keys() - {archive.name for archive in archives}:
        parser.error(f"--sha256 names {min(unknown)}, which is none of {', '.join(a.name for a in archives)}")
    archives = [replace(archive, sha256=sums.get(archive.name, archive.sha256)) for archive in archives]
    try:
        target = download(options.data.expanduser(), archives, options.releases)
    except (InputError, OSError) as error:
        sys.exit(f"download: {error}")
    print(f"the games are in {target}; use them with env.source=official env.data={target.parent}")


if __name__ == "__main__":
    main()
