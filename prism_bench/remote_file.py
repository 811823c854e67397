"""Downloads of files with a known SHA-256 sum, which resume where they were interrupted.

    with transfer_progress() as progress:
        path = fetch(RemoteFile("games.zip", "https://.../games.zip", sha256="25171f..."), folder, progress)

A file grows under the name ``<name>.part`` and gets its own name once its SHA-256 sum is right, so a file with its own
name is complete.

pooch 1.9 does not replace this module: it restarts an interrupted transfer from the first byte (of 5 GB), overwrites a
user's own file of that name, and reports a host's web page as a wrong sum. The code to resume and to refuse, which is
most of this module, would become a custom downloader for pooch, and about ten lines would be saved.
"""

import hashlib
import re
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from prism_bench.errors import InputError

ATTEMPTS = 5
PAUSE = 2.0  # seconds before the second attempt, doubled for each further one
_CHUNK = 1 << 20
_TIMEOUT = 60.0  # seconds without a byte
_TITLE = re.compile(rb"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)


class _InterruptedError(Exception):
    """The connection ended early; the bytes received are kept."""


@dataclass(frozen=True)
class RemoteFile:
    """One file: its local name, its address and its SHA-256 sum."""

    name: str
    url: str
    sha256: str


def transfer_progress() -> Progress:
    """Return progress bars for transfers, on standard error."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, console=Console(stderr=True))


def fetch(file: RemoteFile, folder: Path, progress: Progress) -> Path:
    """Return the verified file, downloaded into ``folder`` or found there.

    Args:
        file: the file to fetch.
        folder: an existing folder.
        progress: gets a bar for this file.

    Raises:
        InputError: the server does not answer or has another file, or another file of that name is there already.
        OSError: the disk is full or not writable.
    """
    whole, part = folder / file.name, folder / f"{file.name}.part"
    bar = progress.add_task(file.name, total=None)
    if whole.exists():
        if (digest := _sha256(whole)) != file.sha256:
            raise InputError(
                f"{whole} is there already and has the SHA-256 sum {digest} instead of {file.sha256}; remove it to "
                f"download it again, or accept it with --sha256 {file.name}={digest}"
            )
        progress.update(bar, completed=whole.stat().st_size, total=whole.stat().st_size)
        return whole
    for attempt in range(ATTEMPTS):
        try:
            _receive(file.url, part, progress, bar)
            break
        except _InterruptedError as reason:
            if attempt == ATTEMPTS - 1:
                raise InputError(
                    f"{file.url}: {reason}; {_length(part):,} bytes are kept, run the same command again to resume"
                ) from None
            time.sleep(PAUSE * 2**attempt)
    if (digest := _sha256(part)) != file.sha256:
        part.unlink()
        raise InputError(
            f"{file.url} has the SHA-256 sum {digest}, but {file.sha256} was expected; the file was removed. Run the "
            f"command again; if upstream did replace the file, accept it with --sha256 {file.name}={digest}"
        )
    return part.replace(whole)


def _receive(url: str, part: Path, progress: Progress, bar: TaskID) -> None:
    """Append the missing bytes to ``part``."""
    have = _length(part)
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
            _refuse_web_page(url, response)
            if response.status != 206:
                have = 0  # the server cannot resume
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
            part.unlink()  # longer than the file
            raise _InterruptedError("the bytes kept do not belong to this file and were removed") from None
        if error.code >= 500:
            raise _InterruptedError(f"the server answered {error.code} {error.reason}") from None
        raise InputError(f"{url}: the server answered {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise _InterruptedError(f"the server cannot be reached ({error.reason})") from None
    except (HTTPException, ConnectionError, TimeoutError) as error:
        raise _InterruptedError(f"the connection broke ({error})") from None
    if total is not None and _length(part) < total:
        raise _InterruptedError(f"the connection ended {total - _length(part):,} bytes early")


def _refuse_web_page(url: str, response: HTTPResponse) -> None:
    """Refuse the web page that a host shows in place of a file: a quota, a warning, a login."""
    if response.headers.get_content_type() == "text/html":
        title = _TITLE.search(response.read(_CHUNK))
        named = f" ({' '.join(title[1].decode(errors='replace').split())})" if title else ""
        raise InputError(
            f"{url}: the server answered with a web page{named} instead of the file; try later or a mirror"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
