"""How a review's server answers: bodies that are read with a limit, and refusals as JSON that say what to do."""

from __future__ import annotations

import errno
import sqlite3
import sys
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from debride.mistakes import traceback_of
from debride.strict import parse_json
from debride.types import DataError

Endpoint = Callable[[Request], Awaitable[Response]]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)


class RefusedError(Exception):
    """An answer other than 200, in the words of a ``DataError``."""

    def __init__(self, status: int, where: str, problem: str, remedy: str) -> None:
        self.status, self.told = status, {"where": where, "problem": problem, "remedy": remedy}
        super().__init__(problem)


def answering(endpoint: Endpoint) -> Endpoint:
    """An endpoint whose errors are answers: data that cannot be used is a conflict (409), a place that is none is 404."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except RefusedError as refused:
            return JSONResponse(refused.told, refused.status)
        except DataError as error:
            told = {"where": error.where, "problem": error.problem, "remedy": error.remedy}
            asked = error.where.startswith("`")  # what the query says
            return JSONResponse(told, 507 if is_disk(error) else 400 if asked else 409)
        except (KeyError, OverflowError):  # or a place with more digits than the database counts
            told = {"where": "the worklist", "problem": "has no such item or layer", "remedy": "Reload the page."}
            return JSONResponse(told, 404)
        except Exception as error:  # the server goes on
            sys.stderr.write(traceback_of(error))
            remedy = "Please report it with what the terminal shows."
            told = {"where": "debride", "problem": f"made a mistake of its own ({type(error).__name__})", "remedy": remedy}
            return JSONResponse(told, 500)

    return answer


def is_disk(error: BaseException | None) -> bool:
    """Whether an error, or what it came from, is of a disk that takes no more."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        if isinstance(error, sqlite3.OperationalError):
            return True
        error = error.__cause__
    return False


async def read_body(request: Request, most: int) -> bytes:
    """The body of a request; 413 where it is larger than ``most`` bytes, of which no more are taken."""
    held = bytearray()
    async for piece in request.stream():
        held += piece
        if len(held) > most:
            raise RefusedError(413, "the request", f"is larger than {most} bytes", "Reload the page.")
    return bytes(held)


async def read_object(request: Request, most: int) -> dict[str, Any]:
    """The JSON object of a request's body."""
    if not request.headers["content-type"].lower().startswith("application/json"):
        raise RefusedError(415, "the request", "is no JSON", "Reload the page.")
    try:
        value = parse_json((await read_body(request, most)).decode(), "the request")
    except (DataError, UnicodeDecodeError) as error:
        raise RefusedError(400, "the request", getattr(error, "problem", "is not UTF-8"), "Reload the page.") from None
    if not isinstance(value, dict):
        raise RefusedError(400, "the request", "is no JSON object", "Reload the page.")
    return value


async def read_pixels(request: Request, size: int) -> bytes:
    """So many bytes of a request's body, which may be compressed by gzip; 400 for fewer, 413 for more."""
    if not request.headers["content-type"].lower().startswith("application/octet-stream"):
        raise RefusedError(415, "the request", "holds no pixels", "Reload the page.")
    coding = request.headers.get("content-encoding", "")
    if coding not in ("", "identity", "gzip"):
        raise RefusedError(415, "the request", f"is coded as {coding[:20]}", "Reload the page.")
    body = await read_body(request, size + 65536)
    if coding == "gzip":
        stream = zlib.decompressobj(31)
        try:
            body = stream.decompress(body, size + 1)
        except zlib.error:
            raise RefusedError(400, "the edit", "is damaged on its way", "Save it again.") from None
        if len(body) <= size and (not stream.eof or stream.unused_data):
            raise RefusedError(400, "the edit", "was cut off on its way", "Save it again.")
    if len(body) != size:
        problem = f"has {'more' if len(body) > size else len(body)} bytes, what was shown has {size} pixels"
        raise RefusedError(413 if len(body) > size else 400, "the edit", problem, "Reload the page.")
    return body
