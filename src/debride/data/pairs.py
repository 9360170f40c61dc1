"""The files of a case on one grid: image and label, looked at by their headers and read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from debride.data.pixels.images import FIRST_CHANNEL, Header, read_header, read_label
from debride.data.same_grid import Grid, Turn, turn_onto, turned
from debride.types import Case, Dataset

ITS_IMAGE = "its image"
"""What an image is to its label."""


def image_grid(case: Case) -> Grid:
    """The grid of a case's image: that of its first channel."""
    return read_header(case.image[0]).grid


def channel_turns(case: Case, headers: Sequence[Header]) -> tuple[Turn, ...]:
    """How the channel files of a case after the first are turned to lie as that one, by the ``headers`` of all.

    Raises DataError for other grids.
    """
    first, *others = zip(case.image, headers, strict=True)
    return tuple(turn_onto(header.grid, first[1].grid, path, FIRST_CHANNEL, first[0]) for path, header in others)


def label_turn(case: Case, grid: Grid, said: str = "is read turned", header: Header | None = None) -> Turn:
    """How a case's label, whose ``header`` may have been read, is turned to lie as its image, whose ``grid`` is given. Raises
    DataError for another grid."""
    assert case.label is not None, case.id
    own = header or read_header(case.label)
    return turn_onto(own.grid, grid, case.label, ITS_IMAGE, case.image[0], said)


def check_pair(case: Case, said: str = "") -> None:
    """Refuses a label that does not lie on the grid of its image, by their headers; ``said`` is noted of one that is turned."""
    label_turn(case, image_grid(case), said)


def read_label_on(
    case: Case, dataset: Dataset, grid: Grid, of: str = ITS_IMAGE, other: Path | None = None
) -> npt.NDArray[np.uint8]:
    """A case's label (*S), turned to lie on a grid: that of its image, or that of the file ``other``, which is ``of`` it."""
    assert case.label is not None, case.id
    ids, geometry = read_label(case.label, dataset)
    return turned(ids, turn_onto(Grid(ids.shape, geometry), grid, case.label, of, other or case.image[0]))


def one_bit_labels(cases: Iterable[Case]) -> bool:
    """Whether there are labels, and all are pictures of one bit."""
    labels = [case.label for case in cases if case.label]
    return bool(labels) and all(read_header(path).few_bits == 1 for path in labels)
