"""What stands before every answer of a review's server: nothing is answered without the token, or to a page from elsewhere.

A page of another origin may make a browser send requests here, and by a name of its own that it has point to this machine
(DNS rebinding) even read the answers. It does not know the token. ``Host`` must be this machine's own name and port, and
``Origin`` and ``Sec-Fetch-Site``, which no page can forge, must be those of our own page wherever a browser gives them.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What the page may do. ``data:`` pictures are NiiVue's own letters and shades; it needs no worker, no wasm and no network."""

HEADERS = {
    "content-security-policy": POLICY,
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "x-frame-options": "DENY",
}
"""Of every answer, a refusal too."""

BODY_TYPES = ("application/json", "application/octet-stream")
"""What may be sent. No form of HTML can, and no script of another origin without a question that is never answered."""

_PLAIN = re.compile(r"/[A-Za-z0-9_.\-/]{0,200}\Z")
"""The letters of our paths, and how many: nothing is ever escaped in them."""


class Guarded:
    """An ASGI application behind a ``token``, the first word of every path, on a ``port`` of this machine."""

    def __init__(self, app: App, token: str, port: int) -> None:
        self.app, self._token = app, token.encode()
        self._hosts = (f"127.0.0.1:{port}", f"localhost:{port}")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers, or refuses; a connection that is to stay open, as of WebSocket, is closed."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            return
        status, path = self._judged(scope)
        if status:
            await _refuse(send, status, scope["method"])
            return

        async def guarded(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                own = [(name, value) for name, value in message.get("headers", ()) if name.decode().lower() not in HEADERS]
                message = {**message, "headers": [*own, *_headers()]}
            await send(message)

        await self.app({**scope, "path": path, "raw_path": path.encode(), "root_path": ""}, receive, guarded)

    def _judged(self, scope: Scope) -> tuple[int, str]:
        """Why a request is refused, 0 if it is not, and its path behind the token."""
        headers = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]]
        host, origin, site, kind = (_only(headers, name) for name in ("host", "origin", "sec-fetch-site", "content-type"))
        raw = scope.get("raw_path")
        token, slash, rest = (raw if raw is not None else scope["path"].encode())[1:].partition(b"/")
        known = hmac.compare_digest(token, self._token)
        path = "/" + rest.decode("latin-1")
        if host not in self._hosts or not known or not slash:
            return 404, ""
        if not _PLAIN.match(path) or "//" in path or ".." in path:
            return 404, ""
        method = scope["method"]
        if method not in ("GET", "HEAD", "POST"):
            return 405, ""
        opened = method == "GET" and path == "/" and _only(headers, "sec-fetch-mode") == "navigate"
        if origin not in ("", f"http://{host}") or (site not in ("", "same-origin", "none") and not opened):
            return 403, ""
        if _only(headers, "upgrade"):
            return 403, ""
        if method == "POST" and kind.partition(";")[0].strip().lower() not in BODY_TYPES:
            return 415, ""
        return 0, path


def _only(headers: list[tuple[str, str]], name: str) -> str:
    """The value of a header; one that stands twice has none that anybody would accept."""
    found = [value.strip() for each, value in headers if each == name]
    return (found[0] or "\0") if len(found) == 1 else "\0" if found else ""


def _headers() -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in HEADERS.items()]


async def _refuse(send: Send, status: int, method: str) -> None:
    """An answer that says nothing."""
    body = b"" if method == "HEAD" else str(status).encode()
    length = [(b"content-length", str(len(body)).encode()), (b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": status, "headers": [*_headers(), *length]})
    await send({"type": "http.response.body", "body": body})
