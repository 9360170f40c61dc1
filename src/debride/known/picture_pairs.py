"""Pictures and their masks of archives as an image folder, pair by pair."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from debride.data.pixels.images import read_header, read_values, write_values
from debride.execute import Work
from debride.execute.work import Do
from debride.files import write_json
from debride.known.archive import Archive
from debride.known.as_nnunet import WRONG, done_by, opened, paths_of
from debride.known.members import Member, fetch, members_of, of, spoken_of
from debride.temporaries import temporary_folder
from debride.types import DataError, Geometry, Split
from debride.words import some

TERMS = re.compile(r"(licen[cs]e|attribution|copyright|readme)(\.\w+)?", re.IGNORECASE)
"""Files of an archive that say its terms, which are carried along."""


@dataclass(frozen=True)
class Pair:
    """A picture, its mask, and its split (None: that is left to be drawn)."""

    id: str
    image: Member
    mask: Member
    split: Split | None = None


def pairs_of(
    archives: Sequence[Archive],
    image: re.Pattern[str],
    mask: re.Pattern[str],
    split: Callable[[Member], Split | None] = lambda _: None,
    *,
    unlabelled: bool = False,
) -> list[Pair]:
    """The pairs whose paths match the patterns wholly, joined by their group ``case``, in the order of that.

    Pictures without a mask are left out where ``unlabelled`` says so. DataError for one that is missing or there twice.
    """
    images, masks = _by_case(archives, image), _by_case(archives, mask)
    if not images or not masks:
        what = "pictures" if not images else "masks"
        remedy = "Give all files of the set, as they were published, or the folders that they were unpacked to."
        raise DataError(", ".join(archive.called for archive in archives), f"holds no {what} of the set", remedy)
    if bare := sorted(masks.keys() - images.keys()):
        raise DataError(spoken_of(archives, masks[bare[0]]), f"is a mask without its picture{_others(bare)}", WRONG)
    if (bare := sorted(images.keys() - masks.keys())) and not unlabelled:
        problem = f"is a picture without its mask{_others(bare)}"
        raise DataError(spoken_of(archives, images[bare[0]]), problem, "Give the masks of all parts whose pictures you give.")
    return [Pair(case, images[case], masks[case], split(images[case])) for case in sorted(masks)]


def write_pairs(archives: Sequence[Archive], pairs: Sequence[Pair], out: Path, classes: Sequence[str], jobs: int) -> None:
    """Write pictures as they are, and masks of black and white as PNG with 0 and 1, into images/ and masks/ of ``out``.

    Beside them lie dataset.json, splits.json where the pairs name splits, and what says the archives' terms.
    Raises DataError for a file that is damaged, a mask of another size than its picture, and one of other values.
    """
    for folder in ("images", "masks"):
        (out / folder).mkdir()
    done_by(Work(painting, {"archives": paths_of(archives), "out": str(out)}), [asdict(pair) for pair in pairs], jobs)
    write_about(archives, out, classes, [(pair.id, pair.split) for pair in pairs])


def write_about(
    archives: Sequence[Archive], out: Path, classes: Sequence[str], cases: Iterable[tuple[str, Split | None]]
) -> None:
    """Write dataset.json and splits.json, and carry the terms of the archives along."""
    write_json(out / "dataset.json", {"classes": list(classes)})
    lists: dict[str, list[str]] = {}
    for id, split in cases:
        if split is not None:
            lists.setdefault(split, []).append(id)
    if lists:
        write_json(out / "splits.json", lists)
    for member in members_of(archives):
        target = out / member.path.name
        if TERMS.fullmatch(member.path.name) and not target.exists():
            target.write_bytes(archives[member.archive].read(member.name, 1 << 20))


def painting(setup: Any) -> Do:
    """Writes a pair."""
    archives, out = opened(setup), Path(setup["out"])

    def paint(item: Any) -> None:
        id, picture, drawn = item["id"], Member(**item["image"]), Member(**item["mask"])
        image = fetch(archives, picture, out / "images" / f"{id}{picture.path.suffix.lower()}")
        with of(spoken_of(archives, picture)):
            shape = read_header(image).shape
        with temporary_folder(out / id) as work:
            own = fetch(archives, drawn, work / f"mask{drawn.path.suffix.lower()}")
            with of(spoken_of(archives, drawn)):
                values, _ = read_values(own)
        if values.shape != shape:
            problem = f"has {_size(values.shape)} pixels, and its picture {picture.path.name} {_size(shape)}"
            raise DataError(spoken_of(archives, drawn), problem, WRONG)
        present = np.unique(values).tolist()
        if not set(present) <= {0, 255} and not set(present) <= {0, 1}:
            problem = f"has the values {some([str(value) for value in present])}, and not black and white alone"
            raise DataError(spoken_of(archives, drawn), problem, WRONG)
        write_values(out / "masks" / f"{id}.png", (values > 0).astype(np.uint8), Geometry())

    return paint


def _by_case(archives: Sequence[Archive], pattern: re.Pattern[str]) -> dict[str, Member]:
    found: dict[str, Member] = {}
    for member in members_of(archives):
        if matched := pattern.fullmatch(member.name):
            before = found.setdefault(matched["case"], member)
            if before != member:
                problem = f"stands for {matched['case']}, and so does {spoken_of(archives, before)}"
                raise DataError(spoken_of(archives, member), problem, "Give every file once, and not its folder beside it.")
    return found


def _others(names: Sequence[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def _size(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
