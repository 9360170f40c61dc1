"""Images that occur twice under different labels: the same pixels, almost the same, or mirrored."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.cluster.hierarchy import DisjointSet

from debride.data.classes.eight_bits import working_size
from debride.data.pixels import arrays
from debride.data.pixels.images import read_image
from debride.data.plain import case_of, dataset_of, plain_case, plain_dataset
from debride.execute import Work, spread
from debride.execute.work import Do
from debride.types import Case, Dataset

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

SIDE = 16
"""Pixels of a fingerprint along each side."""

ALIKE = 0.995
"""Correlation of two fingerprints from which images count as almost the same."""

BLOCK = 2048
"""Images that are compared with all others at a time."""


@dataclass(frozen=True)
class Group:
    """Places of images that are alike in some way, in order; ``exact`` if all have the same pixels, as they are."""

    members: tuple[int, ...]
    exact: bool


def images_of(dataset: Dataset, cases: Sequence[Case], jobs: int = 1) -> Iterator[tuple[str, Floats]]:
    """Of each case a hash of its pixels and its fingerprint (``SIDE`` squared,), in the order of the cases."""
    if all(case.row is not None for case in cases):
        for image in _rows(cases):
            yield look_of(image)
        return
    items = map(plain_case, cases)
    with spread(Work(seeing_images, plain_dataset(dataset)), items, jobs=jobs, name=lambda item: str(item["id"])) as outcomes:
        for outcome in outcomes:
            content, numbers = outcome.value()
            yield content, np.array(numbers, np.float32)


def seeing_images(setup: Any) -> Do:
    """The hash and the fingerprint of the image of a case of a data set (``setup``)."""
    dataset_of(setup)  # whose kinds of files are read from now on

    def see(item: Any) -> Any:
        content, fingerprint = look_of(channels_last(case_of(item)))
        return content, fingerprint.tolist()

    return see


def channels_last(case: Case) -> Pixels:
    """The image (H, W) or (H, W, C) of a case in files, in 8 bits."""
    image = working_size(read_image(case.image)[0], case.image[0])
    return image[0] if len(image) == 1 else np.moveaxis(image, 0, -1)


def conflicting_groups(
    contents: Sequence[str], fingerprints: Floats, labels: Sequence[int], images: Sequence[str]
) -> list[Group]:
    """Groups of images that are alike and have different ``labels`` (N,), by hashes, and fingerprints (N, F). Those with the
    same name in ``images`` are one image that several people labelled, and no duplicates."""
    pairs = [(first, second) for first, second in _alike(fingerprints) if images[first] != images[second]]
    by_content: dict[str, list[int]] = {}
    for at, content in enumerate(contents):
        by_content.setdefault(content, []).append(at)
    groups: list[Group] = []
    grouped: set[tuple[int, int]] = set()
    for members in by_content.values():
        if len({images[at] for at in members}) > 1 and len({labels[at] for at in members}) > 1:
            groups.append(Group(tuple(members), True))
            grouped.update((first, second) for first in members for second in members if first < second)
    loose = DisjointSet()
    for first, second in pairs:
        if labels[first] != labels[second] and (first, second) not in grouped:
            loose.add(first)
            loose.add(second)
            loose.merge(first, second)
    return groups + [Group(members, False) for members in sorted(tuple(sorted(members)) for members in loose.subsets())]


def _alike(fingerprints: Floats) -> Iterator[tuple[int, int]]:
    """Pairs of places, the smaller first, whose fingerprints, or one and the other's mirror image, correlate."""
    square = fingerprints.reshape(-1, SIDE, SIDE)
    views = [square, square[:, :, ::-1], square[:, ::-1]]
    flat = [np.ascontiguousarray(view).reshape(len(square), -1) for view in views]
    for start in range(0, len(square), BLOCK):
        found = np.zeros((min(BLOCK, len(square) - start), len(square) - start), bool)
        for view in flat:
            found |= flat[0][start : start + BLOCK] @ view[start:].T >= ALIKE
        for row, column in zip(*np.nonzero(np.triu(found, 1)), strict=True):
            yield start + int(row), start + int(column)


def look_of(image: npt.NDArray[Any]) -> tuple[str, Floats]:
    """A hash of the pixels of an image (H, W) or (H, W, C), and its fingerprint (``SIDE`` squared,)."""
    pixels = np.ascontiguousarray(image)
    content = hashlib.blake2b(repr(pixels.shape).encode() + pixels.tobytes(), digest_size=16).hexdigest()
    grey = pixels if pixels.ndim == 2 else pixels[..., :3].mean(axis=-1)
    small = np.asarray(Image.fromarray(grey.astype(np.float32)).resize((SIDE, SIDE), Image.Resampling.BILINEAR), np.float32)
    centred = small - small.mean()
    length = float(np.linalg.norm(centred))
    return content, (centred / length if length > 1e-3 * SIDE else np.zeros_like(centred)).reshape(-1)


def _rows(cases: Sequence[Case]) -> Iterator[npt.NDArray[Any]]:
    """The images of cases that are rows of arrays, which are read one after the other."""
    wanted: dict[tuple[Any, Any], dict[int, int]] = {}
    for at, case in enumerate(cases):
        assert case.row is not None, case.id
        wanted.setdefault((case.image[0], case.array), {})[case.row] = at
    waiting: dict[int, npt.NDArray[Any]] = {}
    following = 0
    for (file, array), places in wanted.items():
        start = 0
        for piece in arrays.rows(file, array):
            for offset, image in enumerate(piece):
                if start + offset in places:
                    waiting[places[start + offset]] = image
            start += len(piece)
            while following in waiting:
                yield waiting.pop(following)
                following += 1
