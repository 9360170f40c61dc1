"""What a review's server listens on: this machine alone, and what is written is sent at once."""

from __future__ import annotations

import asyncio
import socket

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
