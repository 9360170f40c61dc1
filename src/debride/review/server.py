"""The server of a review: on this machine alone, behind a token, until it is told to stop."""

from __future__ import annotations

import os
import secrets
import socket
import sys
import tempfile
import threading
import time
import webbrowser
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from debride.review.opened import Review
from debride.types import DataError

if TYPE_CHECKING:
    from debride.review.desk import Desk

HOST = "127.0.0.1"

THINKS = 3600
"""Seconds that a connection stays open while a reader looks: on one that was closed a decision would have to be sent again."""

WAKES = 0.2
"""Seconds after which the main thread looks whether it is told to stop."""


def refuse_without_extra() -> None:
    """DataError where what serves the page is not installed."""
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        problem = f"needs {error.name or 'starlette'}, which is not installed"
        raise DataError("a review in the browser", problem, "Install it by `pip install debride[review]`.") from error


def app(desk: Desk, token: str, port: int) -> Any:
    """The ASGI application of a review behind a ``token``, for a server on a ``port``."""
    from debride.review.guarded import Guarded
    from debride.review.routes import routes

    return Guarded(routes(desk), token, port)


@contextmanager
def serving(review: Review, port: int | None = None) -> Iterator[str]:
    """The address of a review while the block lasts; ``port`` None is a free one. Nothing but this machine reaches it.

    Raises DataError where the port is taken, and for an audit that cannot be reviewed.
    """
    import uvicorn

    from debride.review.desk import Desk

    with _bound(port) as bound:
        own = bound.getsockname()[1]
        token = secrets.token_urlsafe(32)
        desk = Desk(review)
        config = uvicorn.Config(
            app(desk, token, own),
            **{"log_level": "error", "access_log": False, "server_header": False, "date_header": False},
            **{"lifespan": "off", "ws": "none", "http": "h11", "proxy_headers": False, "timeout_graceful_shutdown": 2},
            timeout_keep_alive=THINKS,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, name="serve", daemon=True)
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive(), "uvicorn serves a socket that is bound"
                time.sleep(0.01)
            yield f"http://{HOST}:{own}/{token}/"
        finally:
            server.should_exit = True
            thread.join(5)
            desk.close()


def serve(review: Review, *, port: int | None = None, browser: bool = True) -> None:
    """Serves a review until Ctrl-C or another signal ends it. Prints the address, and opens it in the ``browser``."""
    with ExitStack() as ends:
        address = ends.enter_context(serving(review, port))
        sys.stdout.write(f"{address}\nThis address is for you alone. Ctrl-C ends the review; what was decided is kept.\n")
        sys.stdout.flush()
        if browser and has_screen():
            way = ends.enter_context(way_to(address, review.audit))
            threading.Thread(target=webbrowser.open, args=[way.as_uri()], daemon=True).start()
        while True:
            time.sleep(WAKES)


@contextmanager
def way_to(address: str, folder: Path) -> Iterator[Path]:
    """A page that leads to an ``address``, which its owner alone can read; it lies in a ``folder`` while the block lasts.

    A browser is started with it in place of the address: what a program is started with is seen by all users of a machine.
    """
    file, name = tempfile.mkstemp(".html", "open-review-", folder.resolve())  # of mode 0600
    try:
        with os.fdopen(file, "w", encoding="utf-8") as page:
            page.write('<!doctype html><meta name="referrer" content="no-referrer">\n')
            page.write(f'<meta http-equiv="refresh" content="0; url={address}"><title>Review</title>\n')
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def has_screen() -> bool:
    """Whether a browser would have a window. Without a screen there may be one in text, which would take over the terminal."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


@contextmanager
def _bound(port: int | None) -> Iterator[socket.socket]:
    """A socket that listens on this machine alone."""
    if port is not None and not 0 < port < 65536:
        raise DataError("`port`", f"is {port}", "Give a whole number from 1 to 65535, or leave it out.")
    # asyncio sends at once what is written (TCP_NODELAY) where a socket names its protocol; else each answer waits for 40 ms
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((HOST, port or 0))
            bound.listen(64)
        except OSError as error:
            problem = f"is {port}, which cannot be had ({error.strerror})"
            raise DataError("`port`", problem, "Leave it out for a free one, or end what uses it.") from error
        yield bound
