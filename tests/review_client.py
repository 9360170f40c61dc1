"""A client of a review's server without a network: requests byte for byte, as no well-behaved client would send them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

TOKEN, PORT = "a-token", 8123

HOST = [("host", f"127.0.0.1:{PORT}")]


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Asks an ASGI application."""

    def __init__(self, app: Any) -> None:
        self.app = app

    def ask(
        self, method: str, raw: str, body: bytes = b"", headers: Sequence[tuple[str, str]] = (), host: bool = True
    ) -> Answer:
        """The answer to a request for a ``raw`` path with its query; ``headers`` beside that of the host."""
        path, _, query = raw.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode("latin-1"),
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in [*(HOST if host else []), *headers]],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", PORT),
        }
        sent: list[dict[str, Any]] = []
        pieces = [body[start : start + 65536] for start in range(0, len(body), 65536)] or [b""]

        async def receive() -> dict[str, Any]:
            piece = pieces.pop(0) if pieces else b""
            return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        asyncio.run(self.app(scope, receive, send))
        start, *rest = sent
        answered = [(name.decode().lower(), value.decode("latin-1")) for name, value in start["headers"]]
        assert len({name for name, _ in answered}) == len(answered)
        return Answer(start["status"], dict(answered), b"".join(message.get("body", b"") for message in rest))

    def get(self, path: str) -> Answer:
        """What stands at a path behind the token."""
        return self.ask("GET", f"/{TOKEN}/{path}")

    def post(self, path: str, told: Any) -> Answer:
        """The answer to JSON, or to pixels."""
        kind = "application/octet-stream" if isinstance(told, bytes) else "application/json"
        body = told if isinstance(told, bytes) else json.dumps(told).encode()
        return self.ask("POST", f"/{TOKEN}/{path}", body, [("content-type", kind)])
