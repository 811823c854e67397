"""A headless Chromium for tests, driven through chromedriver by the WebDriver protocol, which is JSON over HTTP."""

import base64
import contextlib
import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROGRAMS = ("chromium", "chromedriver")
MISSING = [name for name in PROGRAMS if shutil.which(name) is None]
"""What is not installed; tests that need a browser are skipped then."""

OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"),
)


class Browser:
    """One window; :func:`browser` opens it."""

    def __init__(self, address: str, profile: Path) -> None:
        self._session = address
        chromium = {"binary": shutil.which("chromium"), "args": [*OPTIONS, f"--user-data-dir={profile}"]}
        wanted = {"browserName": "chrome", "goog:chromeOptions": chromium, "goog:loggingPrefs": {"browser": "ALL"}}
        self._session += f"/{self._ask('', {'capabilities': {'alwaysMatch': wanted}})['sessionId']}"

    def _ask(self, path: str, content: dict[str, Any] | None, method: str = "POST") -> Any:
        body = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(
            self._session + path, body, {"Content-Type": "application/json"}, method=method
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.loads(answer.read())["value"]

    def _command(self, name: str, **parameters: Any) -> Any:
        """Send a command of Chromium's own protocol."""
        return self._ask("/goog/cdp/execute", {"cmd": name, "params": parameters})

    def show(self, width: int, height: int = 900, dark: bool = False) -> None:
        """Change size and colour scheme of the window."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._command("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._command("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, file: Path) -> None:
        """Open a file and wait until its scripts say that they are ready."""
        self._ask("/url", {"url": file.resolve().as_uri()})
        ready = (
            "while (!('ready' in document.documentElement.dataset)) await new Promise((done) => setTimeout(done, 10))"
        )
        self.run(ready)

    def run(self, script: str, *arguments: Any) -> Any:
        """Run the body of an asynchronous function in the page and return what it returns."""
        code = f"const given = [...arguments], done = given.pop(); (async () => {{ {script} }})().then(done)"
        return self._ask("/execute/async", {"script": code, "args": list(arguments)})

    def press(self, *keys: str) -> None:
        """Press keys, one after the other, wherever the focus is."""
        pressed = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._ask("/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": pressed}]})

    def messages(self) -> list[str]:
        """Return what the console has shown since the last call: errors, warnings, refusals of the page's policy."""
        return [entry["message"] for entry in self._ask("/se/log", {"type": "browser"})]

    def picture(self, file: Path, whole: bool = True) -> None:
        """Write a picture of the page, or of what the window shows."""
        shown = self._command("Page.captureScreenshot", captureBeyondViewport=whole, **self._clip(whole))
        file.write_bytes(base64.b64decode(shown["data"]))

    def _clip(self, whole: bool) -> dict[str, Any]:
        size = self._command("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {**size, "scale": 1}} if whole else {}

    def close(self) -> None:
        """Close the window."""
        self._ask("", None, "DELETE")


@contextlib.contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """Start a browser with an empty profile, and end it afterwards."""
    driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True)
    try:
        assert driver.stdout is not None
        port = next(found[1] for line in driver.stdout if (found := re.search(r"successfully on port (\d+)", line)))
        opened = Browser(f"http://127.0.0.1:{port}/session", profile)
        try:
            yield opened
        finally:
            opened.close()
    finally:
        driver.terminate()
        driver.wait()
