"""A web server on the loopback; a test may change its files and behaviour."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Server:
    """Files and behaviour of the server: complete, broken off, unable to resume, busy, or a page instead of a file."""

    files: dict[str, bytes]
    url: str = ""
    ranges: bool = True
    cuts: dict[str, list[int]] = field(default_factory=dict)  # path -> bytes sent before each answer breaks off
    status: list[int] = field(default_factory=list)  # errors to answer first
    types: dict[str, str] = field(default_factory=dict)  # path -> content type
    headers: dict[str, dict[str, str]] = field(default_factory=dict)  # path -> further headers
    asked: list[tuple[str, str | None]] = field(default_factory=list)  # path and range of every request


@contextmanager
def serve(files: dict[str, bytes]) -> Iterator[Server]:
    """Yield a server of ``files``, by path below its address, that runs until the block ends."""
    state = Server(files)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.lstrip("/")
            path = path if path in state.files else path.partition("?")[0]
            wanted = self.headers["Range"]
            state.asked.append((path, wanted))
            if state.status or path not in state.files:
                self.send_error(state.status.pop(0) if state.status else 404)
                return
            content, start = state.files[path], 0
            if state.ranges and wanted:
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
                if start >= len(content):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(content)}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            if path in state.types:
                self.send_header("Content-Type", state.types[path])
            for name, value in state.headers.get(path, {}).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            stop = state.cuts[path].pop(0) if state.cuts.get(path) else None
            self.wfile.write(content[start:] if stop is None else content[start : start + stop])

        do_HEAD = do_GET

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{http.server_port}"
    yield state
    http.shutdown()
    http.server_close()
    thread.join()
