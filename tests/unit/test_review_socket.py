"""What a review's server listens on, and what tells a browser of it: this machine and this user alone."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from types import SimpleNamespace
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest

from debride.review import server


def test_answers_are_sent_at_once() -> None:
    """With asyncio, as uvicorn serves: without TCP_NODELAY each answer waits until the browser has confirmed its head."""
    found: list[int] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.append(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    async def connect() -> None:
        with server._bound(None) as bound:
            address = bound.getsockname()
            assert address[0] == "127.0.0.1"
            async with await asyncio.start_server(connected, sock=bound):
                reader, writer = await asyncio.open_connection(*address)
                await reader.read()
                writer.close()

    asyncio.run(connect())
    assert len(found) == 1 and found[0]


def test_what_a_browser_is_started_with_tells_other_users_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line of a program is seen by everybody on a machine, and the address holds the secret."""
    opened: Queue[tuple[str, int, str]] = Queue()

    def look(url: str) -> None:
        path = Path(url2pathname(urlsplit(url).path))
        opened.put((url, path.stat().st_mode, path.read_text(encoding="utf-8")))

    class ToldError(Exception):
        pass

    def until_opened(_: float) -> None:
        if not opened.empty():
            raise ToldError

    @contextmanager
    def serving(*_: object) -> Iterator[str]:
        yield "http://127.0.0.1:1/secret/"

    monkeypatch.setattr(server.webbrowser, "open", look)
    monkeypatch.setattr(server, "has_screen", lambda: True)
    monkeypatch.setattr(server, "serving", serving)
    monkeypatch.setattr(server.time, "sleep", until_opened)
    with pytest.raises(ToldError):
        server.serve(SimpleNamespace(audit=tmp_path))  # type: ignore[arg-type]
    url, mode, page = opened.get()
    assert "secret" not in url and "url=http://127.0.0.1:1/secret/" in page
    assert os.name == "nt" or stat.S_IMODE(mode) == 0o600
    assert not list(tmp_path.iterdir())
