"""Downloads the official catalogue of WebShop (https://github.com/princeton-nlp/WebShop).

    prism-bench download webshop DIR           # 1,000 products, upstream's default: 10 MB
    prism-bench download webshop DIR --all     # 1.18 million products: 5.7 GB

writes the files that ``env.source=official env.data=DIR`` compiles.

Upstream's script ``setup.sh`` fetches them from Google Drive, whose quota is often used up, and publishes no checksums.
The default is therefore a copy on the Hugging Face hub, at a fixed revision; ``--mirror drive`` takes upstream's own.
The SHA-256 sums below are from several public repositories of people who had downloaded the files from Drive or from
one of three mirrors. A file with another sum is removed, unless the sum is accepted with ``--sha256``.

An interrupted download resumes when the command is run again; files that are there are checked.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from envs.webshop.sources import FULL, HUMAN, SMALL
from prism_bench.errors import InputError
from prism_bench.remote_file import RemoteFile, fetch, transfer_progress

HUB = "https://huggingface.co/datasets/YWZBrandon/webshop-data/resolve/ce990fff5aee388db2706f07820c578ab68e0453"
DRIVE = "https://drive.usercontent.google.com/download?export=download&confirm=t&id="


@dataclass(frozen=True)
class Source:
    """One official file: its name, its id on upstream's Google Drive, and its SHA-256 sum."""

    name: str
    drive: str
    sha256: str

    def at(self, mirror: str) -> RemoteFile:
        """Return the file below a mirror's address, or on Google Drive if ``mirror`` is ``drive``."""
        return RemoteFile(self.name, DRIVE + self.drive if mirror == "drive" else f"{mirror}/{self.name}", self.sha256)


SOURCES = {
    source.name: source
    for source in (
        Source(
            SMALL[0],
            "1EgHdxQ_YxqIQlvvq5iKlCrkEKR6-j0Ib",
            "30a4765c3a327af72d9a9a95a6b2486d516f0fa1d3ecd83681901ce82a21b269",
        ),
        Source(
            SMALL[1],
            "1IduG0xl544V_A_jv3tHXC0kyFi7PnyBu",
            "f88a36314a397b53b3d9c3fa5878e5f7b26d35019a51ec83fbedeca61a948f6f",
        ),
        Source(
            FULL[0],
            "1A2whVgOO0euk5O13n2iYDM0bQRkkRduB",
            "2ef591d65df3af89e972ab72468eb82cbf124d876552d9f3678667edd620a6c8",
        ),
        Source(
            FULL[1],
            "1s2j6NgHljiZzQNL3veZaAiyW_qDEgBNi",
            "1d36af476bdb8f82a5da62bd8acdabe54cd8de2fa84010d37da5c4890feb447e",
        ),
        Source(
            HUMAN,
            "14Kb5SPBk_jfdLZ_CDBNitW98QLDlKR5O",
            "cf78667548a71786e1d9049c24b802e48e1084ad4bb021cae56ce1f6d96954a3",
        ),
    )
}


def download(data: Path, sources: Sequence[Source], mirror: str = HUB) -> None:
    """Fetch ``sources`` into ``data``.

    Args:
        data: the folder that gets the files.
        sources: the files to fetch.
        mirror: the address below which the files are found by name, or ``drive``.

    Raises:
        InputError: the server does not answer or has another file, or another file is there already.
        OSError: the disk is full or not writable.
    """
    data.mkdir(parents=True, exist_ok=True)
    with transfer_progress() as progress:
        for source in sources:
            fetch(source.at(mirror), data, progress)


def main(arguments: Sequence[str] | None = None) -> None:
    """Download on the command line."""
    parser = argparse.ArgumentParser(description="Download the official WebShop catalogue.")
    parser.add_argument("data", type=Path, nargs="?", default=os.environ.get("WEBSHOP_DATA"))
    parser.add_argument("--all", action="store_true", help="1.18 million products instead of 1,000")
    parser.add_argument("--mirror", default=HUB, metavar="URL", help="address of the files; drive: upstream's")
    parser.add_argument("--sha256", action="append", default=[], metavar="FILE=SUM", help="accept this sum for a file")
    options = parser.parse_args(arguments)
    if options.data is None:
        parser.error("give the folder to download the catalogue into")
    sums = dict(entry.partition("=")[::2] for entry in options.sha256)
    names = (*(FULL if options.all else SMALL), HUMAN)
    if unknown := sums.keys() - set(names):
        parser.error(f"--sha256 names {min(unknown)}, which is none of {', '.join(names)}")
    sources = [replace(SOURCES[name], sha256=sums.get(name, SOURCES[name].sha256)) for name in names]
    folder = options.data.expanduser()
    try:
        download(folder, sources, options.mirror.rstrip("/"))
    except (InputError, OSError) as error:
        sys.exit(f"download: {error}")
    print(f"the catalogue is in {folder}; use it with env.source=official env.data={folder}")


if __name__ == "__main__":
    main()
