"""What the page of a review asks, and what it is answered: a function for each address behind the token."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from debride.audit.decided import WORDS, Word
from debride.audit.shown.template import page
from debride.review.answers import RefusedError, answering, read_object, read_pixels
from debride.review.desk import Desk
from debride.review.volumes import PARTS
from debride.review.worklist_index import read_filters
from debride.types import DataError

T = TypeVar("T")

ROOM = "debride.review.page"
"""The package with the page, its scripts and styles."""

TYPES = {".css": "text/css", ".js": "text/javascript", ".txt": "text/plain"}

LARGEST = 65536
"""Bytes of a decision."""

LONGEST_COMMENT, LONGEST_SENT = 10_000, 100
"""Letters of a comment, and of what tells a wish from others."""

MOST = 500
"""Items of a page at most."""


def routes(desk: Desk) -> Starlette:
    """The application of a review, without what guards it."""
    there = _Answers(desk)
    item = "/api/items/{place:int}"
    wanted = [
        ("/", there.page, "GET"),
        ("/static/{name:path}", there.static, "GET"),
        ("/api/about", there.about, "GET"),
        ("/api/items", there.items, "GET"),
        ("/api/counts", there.counts, "GET"),
        ("/api/agreement", there.agreement, "GET"),
        (item, there.item, "GET"),
        (f"{item}/picture.png", there.picture, "GET"),
        (f"{item}/part", there.part, "GET"),
        (item + "/layer/{what}", there.layer, "GET"),
        (f"{item}/decision", there.decision, "POST"),
        (f"{item}/edit", there.edit, "POST"),
    ]
    made = Starlette(routes=[Route(path, answering(answer), methods=[method]) for path, answer, method in wanted])
    made.router.redirect_slashes = False
    return made


class _Answers:
    """The endpoints. What the database says is asked in one thread, so that one thing is done at a time; what is decoded in a
    few others."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.static_files = _static_files()
        self.eyes = ThreadPoolExecutor(3, "look")

    async def page(self, request: Request) -> Response:
        return HTMLResponse(page("review.html", ROOM, about=self.desk.about))

    async def static(self, request: Request) -> Response:
        file = self.static_files.get(name := request.path_params["name"])
        if file is None:
            raise KeyError(name)
        return Response(file.read_bytes(), media_type=TYPES[name[name.rindex(".") :]])

    async def about(self, request: Request) -> Response:
        return JSONResponse(self.desk.about)

    async def items(self, request: Request) -> Response:
        query = request.query_params
        after, many = _number(query, "after", 0, 1 << 60), _number(query, "many", 50, MOST)
        filters = _filters(query)
        return JSONResponse(await self._asked(self.desk.items, filters, after, max(many, 1)))

    async def counts(self, request: Request) -> Response:
        return JSONResponse(await self._asked(self.desk.counts, _filters(request.query_params)))

    async def item(self, request: Request) -> Response:
        filters = _filters(request.query_params)
        return JSONResponse(await self._asked(self.desk.item_among, request.path_params["place"], filters))

    async def agreement(self, request: Request) -> Response:
        if self.desk.review.reader.blind:
            raise RefusedError(403, "the agreement", "is hidden from who decides blind", "Review without `blind` to see it.")
        return JSONResponse(await self._looked(self.desk.agreement))

    async def picture(self, request: Request) -> Response:
        item = await self._item(request)
        return Response(await self._looked(self.desk.picture, item), media_type="image/png")

    async def part(self, request: Request) -> Response:
        item, (part, channel) = await self._item(request), self._wanted(request)
        told = await self._looked(self.desk.volumes.part, item, part, channel)
        return JSONResponse(told.told())

    async def layer(self, request: Request) -> Response:
        item, (part, channel) = await self._item(request), self._wanted(request)
        body = await self._looked(self.desk.volumes.layer, item, request.path_params["what"], part, channel)
        return Response(body, media_type="application/octet-stream")

    async def decision(self, request: Request) -> Response:
        told = await read_object(request, LARGEST)
        strange = sorted(told.keys() - {"decision", "comment", "sent", "label"})
        if strange or told.get("decision") not in WORDS:
            raise RefusedError(400, "the decision", f"has {strange[0]!r}" if strange else "is none", "Reload the page.")
        label = _text(told, "label", LONGEST_COMMENT)
        if told["decision"] == "edited":
            item = await self._item(request)
            if self.desk.review.classes is None:  # what was painted before stands again, or has another comment
                await self._looked(self.desk.refuse_edit, item, label)
            else:
                self._refuse_class(label, item)
        words = {"comment": _text(told, "comment", LONGEST_COMMENT), "sent": _sent(told), "label": label}
        return await self._decided(request, told["decision"], words)

    async def edit(self, request: Request) -> Response:
        item, (part, _) = await self._item(request), self._wanted(request)
        query = request.query_params
        words = {"comment": _text(query, "comment", LONGEST_COMMENT), "sent": _sent(query)}
        if self.desk.review.classes is not None:
            raise RefusedError(400, "the edit", "is of an image with one class", "Reload the page.")
        body = await read_pixels(request, await self._looked(self.desk.volumes.size, item, part))
        await self._looked(self.desk.refuse_changed, item)
        label = await self._looked(self.desk.paint, item, part, body)
        return await self._decided(request, "edited", {**words, "label": label})

    def _refuse_class(self, label: str, item: dict[str, Any]) -> None:
        """RefusedError (400) for another class of an image that is none, or is the one given."""
        record = self.desk.review.classes
        assert record is not None
        if label not in record.classes:
            raise RefusedError(400, "the decision", f"has the class {label!r}, which there is not", "Reload the page.")
        if label == item["given"]:
            raise RefusedError(400, "the decision", f"has the class {label!r}, which is given", "Reject or verify it.")

    async def _decided(self, request: Request, decision: Word, words: Mapping[str, str]) -> Response:
        """Adds a decision, and answers when it is on the disk."""
        item, filters = await self._item(request), _filters(request.query_params)
        await self._looked(self.desk.refuse_changed, item)
        decide = partial(self.desk.decide, item["place"], decision, filters, **words)
        return JSONResponse(await self._asked(decide))

    async def _item(self, request: Request) -> dict[str, Any]:
        return await self._asked(self.desk.item, request.path_params["place"])

    def _wanted(self, request: Request) -> tuple[str, int]:
        """The part and the channel that a query names."""
        part = request.query_params.get("part", "crop")
        channel = _number(request.query_params, "channel", 0, self.desk.channels - 1)
        if part not in PARTS or self.desk.review.classes is not None:
            raise KeyError(part)
        return part, channel

    async def _asked(self, function: Callable[..., T], *arguments: Any) -> T:
        """What the desk says, in its own thread."""
        return await asyncio.get_running_loop().run_in_executor(self.desk.thread, partial(function, *arguments))

    async def _looked(self, function: Callable[..., T], *arguments: Any) -> T:
        """What is decoded, in a thread of those that look."""
        return await asyncio.get_running_loop().run_in_executor(self.eyes, partial(function, *arguments))


def _static_files() -> dict[str, Traversable]:
    """The files that the page may ask for, by their path in its folder."""
    room = files(ROOM)
    found = {"report.css": files("debride.audit.shown") / "report.css"}
    for prefix, folder in (("", room), ("vendor/", room / "vendor")):
        found |= {prefix + file.name: file for file in folder.iterdir() if file.is_file()} if folder.is_dir() else {}
    return {name: file for name, file in found.items() if name[name.rfind(".") :] in TYPES}


def _filters(query: Mapping[str, str]) -> Any:
    try:
        return read_filters(query)
    except DataError as error:
        raise RefusedError(400, error.where, error.problem, error.remedy) from None


def _number(query: Mapping[str, str], name: str, default: int, most: int) -> int:
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdecimal()) or len(text) > 18 or int(text) > most:
        raise RefusedError(400, f"`{name}`", f"is {text[:20]!r}", f"Give a whole number from 0 to {most}.")
    return int(text)


def _text(told: Mapping[str, Any], name: str, most: int) -> str:
    value = told.get(name, "")
    if not isinstance(value, str) or len(value) > most or "\0" in value:
        raise RefusedError(400, f"the {name}", "is no text, or too long", f"Give at most {most} letters.")
    return value


def _sent(told: Mapping[str, Any]) -> str:
    sent = _text(told, "sent", LONGEST_SENT)
    if not sent:
        raise RefusedError(400, "the decision", "has nothing that tells it from others (`sent`)", "Reload the page.")
    return sent
