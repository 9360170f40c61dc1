"""What the readers of LIDC-IDRI outlined in a scan, from its XML, and the pixels inside (Armato et al., Medical Physics 2011).

A reading session is one reader's. A nodule of 3 mm and more has outlines, slice by slice; a smaller one is a single point, and
what is no nodule is a point too: both are left out. An outline runs along the first pixels outside of the nodule, and no pixel
of it is one of the nodule. So it is around a hole, where ``inclusion`` is FALSE, as one of the authors of the paper says
(github.com/notmatthancock/pylidc/pull/16).
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass
from math import gcd
from pathlib import Path

import numpy as np
import numpy.typing as npt

from debride.data.dicom.polygons import even_odd
from debride.types import DataError

WRONG = "Get the readings again: this file is not as it was published."

Mask = npt.NDArray[np.bool_]

Points = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Outline:
    """Pixels (N, 2), as x and y from 0, around a nodule or a hole on the slice with this SOP instance UID."""

    instance: str
    around_hole: bool
    points: Points


@dataclass(frozen=True)
class Readings:
    """The nodules that each reader of a series outlined."""

    series: str
    readers: tuple[tuple[tuple[Outline, ...], ...], ...]


def read_readings(content: bytes, said: str) -> Readings | None:
    """The readings of a CT series; None for XML that is no such thing, as the readings of chest X-rays.

    Raises DataError, naming what is ``said``, for XML that is damaged, or declares entities.
    """
    if b"<!" in content.replace(b"<!--", b"").replace(b"<![CDATA[", b"") or b"\0" in content:
        raise DataError(said, "declares what no reading needs", "Take it away: it may be made to harm.")
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataError(said, f"is damaged XML ({error})", WRONG) from None
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    if root.tag != "LidcReadMessage":
        return None
    series = _text(root, "ResponseHeader/SeriesInstanceUid", said)
    readers = tuple(_nodules(session, said) for session in root.findall("readingSession"))
    if not readers:
        raise DataError(said, "holds no reading session", WRONG)
    return Readings(series, readers)


def nodule_mask(
    outlines: tuple[Outline, ...], slices: Mapping[str, int], rows: int, columns: int, said: str
) -> dict[int, Mask]:
    """The pixels (H, W) of a nodule on each of its slices, by the number of the slice.

    ``slices`` are numbers by SOP instance UID. Raises DataError, naming what is ``said``, for outlines that lie elsewhere.
    """
    filled: dict[int, Mask] = {}
    holes: dict[int, Mask] = {}
    for outline in outlines:
        if outline.instance not in slices:
            raise DataError(said, "outlines a slice that its series does not have", "Get the series again, whole.")
        if len(outline.points) and ((outline.points < 0).any() or (outline.points >= (columns, rows)).any()):
            raise DataError(said, "outlines pixels outside of the slice", WRONG)
        into = holes if outline.around_hole else filled
        at = slices[outline.instance]
        mask = enclosed(outline.points, rows, columns, with_rim=outline.around_hole)
        into[at] = into.get(at, np.zeros((rows, columns), np.bool_)) | mask
    return {at: mask & ~holes[at] if at in holes else mask for at, mask in filled.items()}


def enclosed(points: Points, rows: int, columns: int, *, with_rim: bool = False) -> Mask:
    """The pixels (H, W) that an outline encloses, with or without those that it runs along."""
    mask = even_odd([points.astype(np.float64)], rows, columns)
    for (x, y), (next_x, next_y) in zip(points.tolist(), np.roll(points, -1, axis=0).tolist(), strict=True):
        steps = max(1, gcd(next_x - x, next_y - y))
        across, down = (next_x - x) // steps, (next_y - y) // steps
        for step in range(steps):
            mask[y + step * down, x + step * across] = with_rim
    return mask


def _nodules(session: ElementTree.Element, said: str) -> tuple[tuple[Outline, ...], ...]:
    """The nodules of a session that have an outline of more than one pixel."""
    found = (_outlines(nodule, said) for nodule in session.findall("unblindedReadNodule"))
    return tuple(outlines for outlines in found if any(len(outline.points) > 1 for outline in outlines))


def _outlines(nodule: ElementTree.Element, said: str) -> tuple[Outline, ...]:
    found = []
    for roi in nodule.findall("roi"):
        word = _text(roi, "inclusion", said).upper()
        if word not in ("TRUE", "FALSE"):
            raise DataError(said, f"has an outline with the inclusion {word[:20]!r}", WRONG)
        points = [(_number(edge, "xCoord", said), _number(edge, "yCoord", said)) for edge in roi.findall("edgeMap")]
        found.append(Outline(_text(roi, "imageSOP_UID", said), word == "FALSE", np.array(points, np.int64).reshape(-1, 2)))
    return tuple(found)


def _text(element: ElementTree.Element, name: str, said: str) -> str:
    text = (element.findtext(name) or "").strip()
    if not text:
        raise DataError(said, f"says no {Path(name).name}", WRONG)
    return text


def _number(element: ElementTree.Element, name: str, said: str) -> int:
    text = _text(element, name, said)
    if not text.isascii() or not text.isdecimal() or len(text) > 6:
        raise DataError(said, f"has the {name} {text[:20]!r}", WRONG)
    return int(text)
