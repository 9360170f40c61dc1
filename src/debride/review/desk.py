"""What a reader works at: the worklist with its database, and what is shown of each item."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from functools import cached_property
from threading import Lock
from typing import Any

import numpy as np
from PIL import Image

from debride.audit.decided import ReviewDb, Word
from debride.audit.shown.charts import COLOURS, GREY
from debride.audit.wrong_classes.near_duplicates import channels_last
from debride.data.pixels import arrays
from debride.review.answers import RefusedError
from debride.review.inside import inside, of_dataset
from debride.review.layers import CHANGED, Layers
from debride.review.opened import Review
from debride.review.volumes import Volumes
from debride.review.worklist_index import Filters, Worklist
from debride.types import GROUPS, DataError
from debride.version import __version__

Item = dict[str, Any]

THUMBNAIL = 256
"""Pixels of the longer side of the picture of an image with one class."""


class Desk:
    """All that the server of one reader asks. What reads or writes the database is called in ``thread`` alone."""

    def __init__(self, review: Review, *, kept: int | None = None) -> None:
        self.review = review
        self.volumes = Volumes(Layers(review) if kept is None else Layers(review, kept))
        self.thread = ThreadPoolExecutor(1, "desk")
        self._worklist: Worklist = self.thread.submit(self._open).result()
        self._ahead, self._newest, self._lock = ThreadPoolExecutor(1, "ahead"), 0, Lock()
        self.thread.submit(self._look_at_first)

    @property
    def channels(self) -> int:
        """How many files an image has."""
        return self.review.channels

    def close(self) -> None:
        """Ends what was begun, and closes the database."""
        with self._lock:
            self._newest += 1
        self._ahead.shutdown(cancel_futures=True)
        self.volumes.close()
        self.thread.submit(self._db.close).result()
        self.thread.shutdown()

    @cached_property
    def about(self) -> dict[str, Any]:
        """What the page is told first."""
        dataset, reader = self.review.dataset, self.review.reader
        groups: dict[str, set[str]] = {name: set() for name in GROUPS}
        for case in dataset.cases:
            for name, value in case.groups:
                groups.setdefault(name, set()).add(value)
        kinds: set[str] = {finding.kind for findings in self.review.findings.values() for finding in findings.values()}
        if self.review.classes is not None:
            kinds = {"relabel", "duplicate"}
        colours = (GREY if id == 0 else COLOURS[(id - 1) % len(COLOURS)] for id in range(len(dataset.classes)))
        named = enumerate(zip(dataset.classes, colours, strict=True))
        return {
            "name": dataset.root.name,
            "task": dataset.task,
            "ndim": dataset.ndim,
            "classes": [{"id": id, "name": name, "colour": colour} for id, (name, colour) in named],
            "regions": [name for name in self.review.sources if name],
            "kinds": sorted(kinds),
            "groups": {name: sorted(values) for name, values in groups.items() if values},
            "reader": reader.name,
            "round": reader.round,
            "blind": reader.blind,
            "adjudicate": reader.adjudicates,
            "chosen": bool(self.review.chosen),
            "channels": [str(number + 1) for number in range(self.channels)] if self.channels > 1 else None,
            "version": __version__,
        }

    def items(self, filters: Any, after: int, many: int) -> dict[str, Any]:
        """A page of the worklist."""
        page = self._worklist.page(filters, after, many)
        return {"items": [self._pictured(item) for item in page.items], "total": page.total, "next": page.next}

    def item(self, place: int) -> Item:
        """An item; KeyError where there is none."""
        return self._pictured(self._worklist.item(place))

    def item_among(self, place: int, filters: Any) -> Item:
        """An item with its neighbours."""
        return {**self.item(place), "neighbours": self._worklist.neighbours(place, filters)}

    def counts(self, filters: Any) -> dict[str, Any]:
        """What is done and left."""
        return dict(self._worklist.counts(filters))

    def agreement(self) -> dict[str, Any]:
        """How well readers agree, by pairs and kinds; of a database of its own, so that any thread may ask."""
        from debride.review.reader_agreement import agreements

        with ReviewDb(self.review.audit) as db:
            return {"pairs": [{**asdict(each), "agree": round(each.agree, 3)} for each in agreements(db)]}

    def decide(self, place: int, decision: Word, filters: Any, **words: str) -> dict[str, Any]:
        """Adds a decision; when this returns it is on the disk. RefusedError (400) for a word that does not fit the item."""
        try:
            self._worklist.decide(place, decision, **words)
        except DataError as error:
            if error.__cause__ is None:
                raise RefusedError(400, error.where, error.problem, error.remedy) from None
            raise
        following = self._worklist.next_undecided(place, filters)
        if following is not None:
            self._look_ahead(self._worklist.item(following))
        return {"item": self.item(place), "counts": self.counts(filters)}

    def refuse_changed(self, item: Item) -> None:
        """DataError where the label of an item is not the one that was audited: what was proposed may be wrong."""
        if self.review.classes is not None:
            case = self.review.cases.get(item["case"])
            given = None if case is None or case.target is None else self.review.dataset.classes[case.target]
            unchanged = given == self.review.classes.labels.get(item["case"])
        else:
            unchanged = self.volumes.layers.unchanged(self.volumes.layers.case(item["case"]))
        if not unchanged:
            raise DataError(f"case {item['case']}", CHANGED, "Run `debride audit` again, and review that.")

    def paint(self, item: Item, part: str, body: bytes) -> str:
        """Keeps an edit. RefusedError (400) for one that says nothing."""
        try:
            return self.volumes.edit(item, part, body)
        except DataError as error:
            if error.__cause__ is None:
                raise RefusedError(400, error.where, error.problem, error.remedy) from None
            raise

    def refuse_edit(self, item: Item, hash: str) -> None:
        """RefusedError (400) for the hash of something that was never painted in the case of an item."""
        try:
            self.volumes.layers.edit(self.volumes.layers.case(item["case"]), hash)
        except DataError:
            raise RefusedError(400, "the decision", "is an edit without what was painted", "Reload the page.") from None

    def picture(self, item: Item) -> bytes:
        """The picture of a finding as the audit drew it, or an image with one class. KeyError where there is none."""
        if self.review.classes is None:
            path = self._picture_path(item)
            if not path.is_file():
                raise KeyError(path.name)
            return inside(self.review.audit, path).read_bytes()
        case = self.review.cases[item["case"]]
        for path in case.image:
            of_dataset(self.review.dataset, path)
        if case.row is None:
            return _thumbnail(channels_last(case))
        file, name = case.image[0], str(case.array)
        (many, *shape), dtype = arrays.described(file, name)
        kept = self.volumes.layers.kept
        if many * math.prod(shape) * dtype.itemsize > kept.most:  # too large to be held: read up to this image
            one = ((case.row, case.row + 1), *((0, length) for length in shape))
            return _thumbnail(arrays.part(file, name, one)[0])
        rows = kept.get(("rows", file, name), lambda: arrays.array(file, name))
        return _thumbnail(rows[case.row])

    def _open(self) -> Worklist:
        reader = self.review.reader
        self._db = ReviewDb(self.review.audit)
        how: Mapping[str, Any] = {"round": reader.round, "adjudicates": reader.adjudicates, "blind": reader.blind}
        return Worklist(self._db, reader.name, **how, chosen=self.review.chosen)

    def _look_at_first(self) -> None:
        """Reads what the page shows first, while a browser starts."""
        first = self._worklist.neighbours(0, Filters())["next_undecided"]
        if first is not None:
            self._look_ahead(self._worklist.item(first))

    def _pictured(self, item: Item) -> Item:
        there = self.review.classes is not None or (item["number"] > 0 and self._picture_path(item).is_file())
        return {**item, "picture": there}

    def _picture_path(self, item: Item) -> Any:
        return self.review.folder(item["region"]) / "pictures" / f"{item['case']}-{item['number']}.png"

    def _look_ahead(self, item: Item) -> None:
        """Reads an item that will be asked for soon, unless another one is wanted before that begins."""
        if self.review.classes is not None:
            return
        with self._lock:
            self._newest += 1
            own = self._newest

        def look() -> None:
            if own != self._newest:
                return
            with suppress(DataError, KeyError, OSError):  # who asks for it is told
                self.volumes.part(item, "crop")

        self._ahead.submit(look)


def _thumbnail(pixels: Any) -> bytes:
    """An image (H, W) or (H, W, C) in 8 bits as PNG, small."""
    shown = pixels if pixels.ndim == 2 else pixels[..., :3] if pixels.shape[-1] >= 3 else pixels[..., 0]
    picture = Image.fromarray(np.ascontiguousarray(shown))
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
