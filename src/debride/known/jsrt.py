"""JSRT (Shiraishi et al., AJR 2000) with the outlines of SCR (van Ginneken et al., Medical Image Analysis 2006).

Radiographs are raw numbers without a header, ``JPCLN001.IMG``: 2048 x 2048 of 16 bits, the high byte first, 12 of them used.
Masks are GIF of 1024 x 1024, ``scratch/fold1/masks/left lung/JPCLN001.gif``, one for each structure.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from debride.data.pixels.images import write_values
from debride.execute import Work
from debride.execute.work import Do
from debride.known.archive import Archive
from debride.known.as_nnunet import WRONG, done_by, opened, paths_of
from debride.known.known_set import Value
from debride.known.members import Member, members_of, spoken_of
from debride.known.picture_pairs import write_about
from debride.types import DataError, Geometry, Split

CLASSES = ("background", "lung", "heart", "clavicle")
PAINTED = (("left lung", 1), ("right lung", 1), ("heart", 2), ("left clavicle", 3), ("right clavicle", 3))
"""The structures in the order in which they are painted: a clavicle lies over its lung."""

LARGEST = 12 * 4096 * 4096
"""More bytes than a file of either set has."""

_IMAGE = re.compile(r"(?:.*/)?(?P<case>JPC(?:LN|NN)\d{3})\.IMG", re.IGNORECASE)
_MASK = re.compile(r"(?:.*/)?fold(?P<fold>[12])/masks/(?P<part>[a-z ]+)/(?P<case>JPC(?:LN|NN)\d{3})\.gif", re.IGNORECASE)


def convert(archives: Sequence[Archive], out: Path, options: Mapping[str, Value], *, jobs: int = 1) -> None:
    """Write each radiograph, averaged to the grid of its masks, as PNG of 16 bits, and its mask of classes.

    ``inverted`` writes 4095 - value. ``test_fold`` makes one of the two folds of SCR the test cases (0: no split).
    """
    test_fold = int(options["test_fold"])
    images = {found["case"].upper(): member for member in members_of(archives) if (found := _IMAGE.fullmatch(member.name))}
    masks: dict[str, dict[str, Member]] = {}
    folds: dict[str, int] = {}
    for member in members_of(archives):
        if found := _MASK.fullmatch(member.name):
            case = found["case"].upper()
            masks.setdefault(case, {})[found["part"].lower()] = member
            folds[case] = int(found["fold"])
    if not images or not masks:
        what = "radiographs (JPCLN001.IMG)" if not images else "masks (fold1/masks/heart/JPCLN001.gif)"
        remedy = "Give both sets: the radiographs of JSRT and the masks of SCR."
        raise DataError(", ".join(archive.called for archive in archives), f"holds no {what}", remedy)
    items: list[dict[str, Any]] = []
    for case, image in sorted(images.items()):
        if missing := [part for part, _ in PAINTED if part not in masks.get(case, {})]:
            problem = f"has no mask of {missing[0]}"
            raise DataError(spoken_of(archives, image), problem, "Give both folds of SCR, and all structures of each.")
        parts = {part: asdict(member) for part, member in masks[case].items()}
        items.append({"id": case, "image": asdict(image), "masks": parts})
    for folder in ("images", "masks"):
        (out / folder).mkdir()
    setup = {"archives": paths_of(archives), "out": str(out), "inverted": bool(options["inverted"])}
    done_by(Work(averaging, setup), items, jobs)
    split: dict[bool, Split] = {True: "test", False: "train"}
    cases = [(item["id"], split[folds[item["id"]] == test_fold] if test_fold else None) for item in items]
    write_about(archives, out, CLASSES, cases)


def averaging(setup: Any) -> Do:
    """Writes a radiograph and its mask."""
    archives, out = opened(setup), Path(setup["out"])

    def average(item: Any) -> None:
        image = Member(**item["image"])
        pixels = _radiograph(archives, image)
        label: npt.NDArray[np.uint8] | None = None
        for part, value in PAINTED:
            member = Member(**item["masks"][part])
            drawn = _drawn(archives, member)
            if label is None:
                label = np.zeros(drawn.shape, np.uint8)
            if drawn.shape != label.shape:
                raise DataError(spoken_of(archives, member), f"has {drawn.shape} pixels, and others {label.shape}", WRONG)
            label[drawn] = value
        assert label is not None
        step = len(pixels) // len(label)
        if label.shape != (len(label), len(label)) or step * len(label) != len(pixels):
            problem = f"has {pixels.shape} pixels, which are no whole multiple of the {label.shape} of its masks"
            raise DataError(spoken_of(archives, image), problem, WRONG)
        mean = pixels.reshape(len(label), step, len(label), step).mean(axis=(1, 3)).round().astype(np.uint16)
        write_values(out / "images" / f"{item['id']}.png", np.uint16(4095) - mean if setup["inverted"] else mean, Geometry())
        write_values(out / "masks" / f"{item['id']}.png", label, Geometry())

    return average


def _radiograph(archives: Sequence[Archive], member: Member) -> npt.NDArray[np.uint16]:
    """The numbers (H, W) of a raw file."""
    content = archives[member.archive].read(member.name, LARGEST)
    side = isqrt(len(content) // 2)
    if not side or 2 * side * side != len(content):
        raise DataError(spoken_of(archives, member), f"has {len(content)} bytes, which are no square of 16 bits", WRONG)
    pixels = np.frombuffer(content, ">u2").reshape(side, side)
    if pixels.max() > 4095:
        raise DataError(spoken_of(archives, member), f"holds {pixels.max()}, above the 4095 of 12 bits", WRONG)
    return pixels.astype(np.uint16)


def _drawn(archives: Sequence[Archive], member: Member) -> npt.NDArray[np.bool_]:
    """Where a mask is white."""
    content = archives[member.archive].read(member.name, LARGEST)
    try:
        with Image.open(io.BytesIO(content), formats=("GIF",)) as picture:
            if picture.width * picture.height > LARGEST // 12:
                raise DataError(spoken_of(archives, member), f"claims {picture.size} pixels", WRONG)
            grey = np.asarray(picture.convert("L"))
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(spoken_of(archives, member), f"cannot be read as GIF ({error})", WRONG) from None
    if not set(np.unique(grey).tolist()) <= {0, 255}:
        raise DataError(spoken_of(archives, member), "has other greys than black and white", WRONG)
    return np.asarray(grey > 0)
