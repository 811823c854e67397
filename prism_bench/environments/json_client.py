"""A client of a server that plays environments and answers in JSON over HTTP.

Every failure is one of the exceptions that the contract names, with one sentence. Nothing but JSON is read, no more of
it than :data:`MOST_BYTES`, and no redirect is followed. Proxies and credentials of the operating system's environment
are not used.
"""

import json
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from http import HTTPStatus
from typing import Any

import httpx

from prism_bench.environments.contract import InvalidAnswerError
from prism_bench.environments.json_answer import JsonAnswer, shown
from prism_bench.errors import InputError

MOST_BYTES = 2**24
"""Size of the largest answer that is read."""

CLOSE_SECONDS = 1.0
"""Time that a server has for a farewell."""

_ABSENT = (HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT)


class JsonClient:
    """A connection to one server, kept from call to call.

    Args:
        url: address of the server, with any path below which its calls are.
        connect_seconds: the longest time until it takes the connection.
        seconds: the longest time without a byte of its answer, and for its answer as a whole.

    Raises:
        InputError: the address is none of http or https.
    """

    def __init__(self, url: str, connect_seconds: float, seconds: float) -> None:
        self.url = checked_url(url)
        self._seconds = seconds
        timeout = httpx.Timeout(seconds, connect=connect_seconds)
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", "Content-Type": "application/json"}
        self._client = httpx.Client(timeout=timeout, headers=headers, trust_env=False, follow_redirects=False)

    def get(self, path: str, **query: str | int) -> JsonAnswer:
        """Return the answer to ``GET``; exceptions as for :meth:`post`."""
        return self._call("GET", path, query=query)

    def post(self, path: str, payload: Mapping[str, Any]) -> JsonAnswer:
        """Return the answer to ``POST`` of a payload.

        Raises:
            ConnectionError: the server is gone, or was gone before it had answered.
            TimeoutError: it did not answer in time.
            InvalidAnswerError: the answer is an error, a redirect, too large, or no JSON.
        """
        return self._call("POST", path, payload)

    def farewell(self, path: str, payload: Mapping[str, Any]) -> None:
        """Post a payload whose answer does not matter, for :data:`CLOSE_SECONDS` at most."""
        with suppress(ConnectionError, TimeoutError, InvalidAnswerError):  # it is gone, or has no such call
            self._call("POST", path, payload, seconds=CLOSE_SECONDS)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _call(
        self,
        method: str,
        path: str,
        payload: Mapping[str, Any] | None = None,
        query: Mapping[str, str | int] | None = None,
        seconds: float | None = None,
    ) -> JsonAnswer:
        what, content = f"{method} {self.url}{path}", bytearray()
        url, body = f"{self.url}{path}", None if payload is None else json.dumps(payload).encode()
        request = self._client.build_request(method, url, params=query or None, content=body)
        if seconds is not None:
            request.extensions["timeout"] = httpx.Timeout(seconds).as_dict()
        seconds = self._seconds if seconds is None else seconds
        end = time.monotonic() + seconds
        try:
            with closing(self._client.send(request, stream=True)) as response:
                for chunk in response.iter_raw():
                    content += chunk
                    if len(content) > MOST_BYTES:
                        raise InvalidAnswerError(f"answered {what} with more than {MOST_BYTES:,} bytes")
                    if time.monotonic() > end:
                        raise TimeoutError(f"{what} took more than {seconds:g} seconds")
        except httpx.ConnectTimeout:
            raise ConnectionError(f"{what}: nobody took the connection in time") from None
        except httpx.TimeoutException:
            raise TimeoutError(f"{what} took more than {seconds:g} seconds") from None
        except httpx.TransportError as error:
            raise ConnectionError(f"{what}: {str(error) or type(error).__name__}") from None
        return _read(response, bytes(content), what)


def checked_url(url: str) -> str:
    """Return an address without a slash at its end.

    Raises:
        InputError: it is none of http or https, or has a user, a query or a fragment.
    """
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError, ValueError) as error:
        raise InputError(f"url={url!r:.100} is not possible; {error}") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise InputError(f"url={url!r:.100} is not possible; it should be http://HOST:PORT or https://HOST")
    if parsed.userinfo or parsed.query or parsed.fragment:
        raise InputError(f"url={parsed.scheme}://{parsed.host} should have no user, no query and no fragment")
    return url.rstrip("/")


def _read(response: httpx.Response, content: bytes, what: str) -> JsonAnswer:
    status = response.status_code
    named = f"{status} {response.reason_phrase}".strip()
    if status in _ABSENT:
        raise ConnectionError(f"{what}: {named}")
    if 300 <= status < 400:
        target = response.headers.get("location", "elsewhere")
        raise InvalidAnswerError(f"answered {what} with a redirect to {target:.200}; name the final address")
    if status != HTTPStatus.OK:
        raise InvalidAnswerError(f"answered {what} with {named}: {_shown(content)}")
    try:
        return JsonAnswer(json.loads(content, parse_constant=_refuse), what)
    except (ValueError, RecursionError):
        raise InvalidAnswerError(f"answered {what} with no JSON: {_shown(content)}") from None


def _refuse(constant: str) -> float:
    raise ValueError(constant)


def _shown(content: bytes) -> str:
    """Return the beginning of a page on one line."""
    return shown(" ".join(content[:1000].decode(errors="replace").split())) if content else "nothing"
