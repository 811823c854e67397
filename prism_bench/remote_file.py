"""Files from the web: fetched whole, checked, and taken up where they broke off.

    with transfer_progress() as progress:
        path = fetch(RemoteFile("games.zip", "https://.../games.zip", sha256="25171f..."), folder, progress)

A file grows under the name ``<name>.part`` and gets its own name once its SHA-256 sum is right, so that a file of that
name is the one that was asked for. An interrupted transfer goes on where it stopped when it is asked for again.
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
_CHUNK = 1 << 20
_TIMEOUT = 60.0  # seconds without a byte
_TITLE = re.compile(rb"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)


class DownloadError(InputError):
    """A file could not be fetched; nothing half-done stands in its place."""


class _InterruptedError(Exception):
    """The connection ended early; what came is kept."""


@dataclass(frozen=True)
class RemoteFile:
    """One file: what it is called here, where it is and what it must hash to."""

    name: str
    url: str
    sha256: str


def transfer_progress(console: Console | None = None) -> Progress:
    """Return bars for transfers, on ``console`` or on standard error."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, console=console or Console(stderr=True))


def fetch(file: RemoteFile, folder: Path, progress: Progress, pause: float = 2.0) -> Path:
    """Return the verified file, downloaded into ``folder`` or found there.

    Args:
        file: what to fetch.
        folder: where it goes; it must exist.
        progress: gets a bar for this file.
        pause: seconds before the second attempt, doubled for each further one.

    Raises:
        DownloadError: the server does not answer or has another file, or another file of that name is there already.
        OSError: the disk is full or not writable.
    """
    whole, part = folder / file.name, folder / f"{file.name}.part"
    bar = progress.add_task(file.name, total=None)
    if whole.exists():
        if (digest := _sha256(whole)) != file.sha256:
            raise DownloadError(
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
                raise DownloadError(
                    f"{file.url}: {reason}; {_length(part):,} bytes are kept, run the same command again to go on"
                ) from None
            time.sleep(pause * 2**attempt)
    if (digest := _sha256(part)) != file.sha256:
        part.unlink()
        raise DownloadError(
            f"{file.url} has the SHA-256 sum {digest}, but {file.sha256} was expected; the file was removed. Run the "
            f"command again; if upstream did replace the file, accept it with --sha256 {file.name}={digest}"
        )
    return part.replace(whole)


def _receive(url: str, part: Path, progress: Progress, bar: TaskID) -> None:
    """Append to ``part`` what it lacks."""
    have = _length(part)
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
            _refuse_web_page(url, response)
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


def _refuse_web_page(url: str, response: HTTPResponse) -> None:
    """Refuse the page that a file host shows instead of a file: a quota, a warning, a login."""
    if response.headers.get_content_type() == "text/html":
        title = _TITLE.search(response.read(_CHUNK))
        named = f" ({' '.join(title[1].decode(errors='replace').split())})" if title else ""
        raise DownloadError(
            f"{url}: the server answered with a web page{named} instead of the file; try later or a mirror"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
