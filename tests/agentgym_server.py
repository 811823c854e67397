"""A server that plays a text environment by AgentGym's protocol, as its server of ALFWorld does; a test may trouble it.

python tests/agentgym_server.py PORT SETTINGS    the environment ``gymnasium.make(**SETTINGS)``, SETTINGS being JSON
"""

import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import gymnasium


@dataclass
class Server:
    """What a server has, and how it behaves.

    ``trouble`` is asked before every answer with the path and the number of calls of that path so far; what it returns
    takes the place of the answer: bytes, a status, ``None`` to break off the connection, ``hang`` to be silent.
    """

    make: Callable[[], gymnasium.Env[str, str]]
    url: str = ""
    environments: dict[int, Any] = field(default_factory=dict)
    created: int = 0
    closed: list[int] = field(default_factory=list)
    calls: dict[str, int] = field(default_factory=dict)
    connections: list[socket.socket] = field(default_factory=list)
    trouble: Callable[[str, int], Any] = lambda path, count: ...
    going_on: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, path: str, payload: dict[str, Any]) -> Any:
        if path == "/":
            return "This is environment AlfWorld."
        if path == "/create":
            self.created += 1
            self.environments[self.created] = self.make()
            return {"id": self.created}
        environment = self.environments.get(payload["id"])
        if environment is None:
            return {"error": f"The id {payload['id']} is not valid."}
        if path == "/reset":
            task = environment.unwrapped.task_ids[payload["game"]]
            assert payload["world_type"] == "Text"
            observation, info = environment.reset(options={"task_id": task})
            kind = f"{info['task_type']}-Mug-None-Desk-301/trial_1"
            return {
                "id": payload["id"],
                "observation": observation,
                "available_actions": info["admissible_actions"],
                "task_type": kind,
            }
        if path == "/step":
            observation, _, terminated, truncated, info = environment.step(payload["action"])
            return {
                "observation": observation,
                "reward": info["score"],
                "available_actions": info["admissible_actions"],
                "done": terminated or truncated,
            }
        if path == "/close":
            self.closed.append(payload["id"])
            self.environments.pop(payload["id"]).close()
            return {"closed": True}
        return {"detail": "Not Found"}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __init__(self, server: Server, *args: Any) -> None:
        self.state = server
        super().__init__(*args)

    def setup(self) -> None:
        super().setup()
        self.state.connections.append(self.connection)

    def do_POST(self) -> None:
        payload = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        with self.state.lock:
            count = self.state.calls[self.path] = self.state.calls.get(self.path, 0) + 1
            instead = self.state.trouble(self.path, count)
            answer = self.state.answer(self.path, payload) if instead is ... else instead
        if instead == "hang":
            self.state.going_on.wait(60)
        if instead is None or instead == "hang":
            self.close_connection = True
            return
        status = instead if isinstance(instead, int) else 200
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        if 300 <= status < 400:
            self.send_header("Location", "http://127.0.0.1:1/login")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@contextmanager
def serve(make: Callable[[], gymnasium.Env[str, str]], port: int = 0) -> Iterator[Server]:
    """Yield a server that runs until the block ends."""
    state = Server(make)
    with ThreadingHTTPServer(("127.0.0.1", port), partial(Handler, state)) as http:
        http.daemon_threads = True
        http.block_on_close = False
        thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        state.url = f"http://127.0.0.1:{http.server_port}"
        yield state
        state.going_on.set()
        http.shutdown()
        for connection in state.connections:
            with suppress(OSError):  # it has ended
                connection.shutdown(socket.SHUT_RDWR)
    thread.join()


if __name__ == "__main__":
    settings = json.loads(sys.argv[2])
    with serve(lambda: gymnasium.make(**settings), int(sys.argv[1])) as running:
        print(running.url, flush=True)
        while True:
            time.sleep(0.1)
            if sys.stdin.read(1) == "":  # whoever started it is gone
                break
        print(json.dumps({"created": running.created, "closed": len(running.closed)}), flush=True)
