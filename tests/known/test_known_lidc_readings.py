"""Readings of LIDC-IDRI: what an outline encloses, compared with pixels that are tested one by one."""

from __future__ import annotations

import numpy as np
import pytest
from tests.lidc_made import message, nodule, outline

from debride.known.lidc_patches import nodules_of, patches_of
from debride.known.lidc_readings import enclosed, nodule_mask, read_readings
from debride.types import DataError


def slow_inside(points: list[tuple[int, int]], rows: int, columns: int) -> np.ndarray:
    """Pixels whose centre lies in the polygon and on none of its edges, one by one."""
    found = np.zeros((rows, columns), bool)
    edges = list(zip(points, points[1:] + points[:1], strict=True))
    for y in range(rows):
        for x in range(columns):
            on = any(
                (bx - ax) * (y - ay) == (by - ay) * (x - ax)
                and min(ax, bx) <= x <= max(ax, bx)
                and min(ay, by) <= y <= max(ay, by)
                for (ax, ay), (bx, by) in edges
            )
            crossed = sum((ay > y) != (by > y) and x < ax + (y - ay) * (bx - ax) / (by - ay) for (ax, ay), (bx, by) in edges)
            found[y, x] = crossed % 2 == 1 and not on
    return found


def test_an_outline_encloses_what_lies_inside_and_not_what_it_runs_along() -> None:
    square = [(2, 1), (6, 1), (6, 5), (2, 5)]
    mask = enclosed(np.array(square), 8, 9)
    assert mask.sum() == 9 and mask[2:5, 3:6].all()
    rng = np.random.default_rng(3)
    for _ in range(40):
        points = [tuple(int(n) for n in point) for point in rng.integers(0, 12, (rng.integers(1, 9), 2))]
        assert (enclosed(np.array(points), 12, 12) == slow_inside(points, 12, 12)).all(), points
    closed = [*square, square[0]]
    assert (enclosed(np.array(closed), 8, 9) == mask).all()


def test_small_nodules_and_what_is_none_are_left_out() -> None:
    other = "<nonNodule><imageSOP_UID>a</imageSOP_UID><locus><xCoord>1</xCoord><yCoord>1</yCoord></locus></nonNodule>"
    first = nodule(outline("a", [(1, 1), (5, 1), (5, 5), (1, 5)])) + nodule(outline("a", [(7, 7)])) + other
    read = read_readings(message("1.2", first, other, "", nodule(outline("b", [(1, 1), (4, 1), (4, 4)]))), "x.xml")
    assert read is not None and read.series == "1.2"
    assert [len(nodules) for nodules in read.readers] == [1, 0, 0, 1], "a reader who outlined nothing is one"


def test_holes_are_outside_with_their_outlines() -> None:
    around, hole = [(0, 0), (8, 0), (8, 8), (0, 8)], [(3, 3), (6, 3), (6, 6), (3, 6)]
    read = read_readings(message("1", nodule(outline("a", around), outline("a", hole, "FALSE"))), "x.xml")
    assert read is not None
    mask = nodule_mask(read.readers[0][0], {"a": 4}, 9, 9, "x.xml")[4]
    assert mask.sum() == 7 * 7 - 4 * 4 and not mask[3:7, 3:7].any() and mask[2, 1:8].all()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<LidcReadMessage>", "damaged XML"),
        (b'<!DOCTYPE x [<!ENTITY a "aaaa">]><LidcReadMessage>&a;</LidcReadMessage>', "declares"),
        (message("1"), "no reading session"),
        (message("", nodule()), "says no SeriesInstanceUid"),
        (message("1", nodule(outline("a", [(1, 1)], "MAYBE"))), "MAYBE"),
        (message("1", nodule(outline("", [(1, 1)]))), "says no imageSOP_UID"),
        (message("1", nodule(outline("a", [(1, -1)]))), "yCoord"),
    ],
)
def test_damaged_readings_are_refused(content: bytes, said: str) -> None:
    with pytest.raises(DataError, match=said) as raised:
        read_readings(content, "x.xml")
    assert raised.value.where == "x.xml"


def test_outlines_elsewhere_are_refused_and_x_rays_passed_over() -> None:
    assert read_readings(b"<IdriReadMessage/>", "x.xml") is None
    read = read_readings(message("1", nodule(outline("a", [(1, 1), (9, 1), (5, 5)]))), "x.xml")
    assert read is not None
    with pytest.raises(DataError, match="does not have"):
        nodule_mask(read.readers[0][0], {"b": 0}, 9, 20, "x.xml")
    with pytest.raises(DataError, match="outside of the slice"):
        nodule_mask(read.readers[0][0], {"a": 0}, 9, 9, "x.xml")


def disc(plane: int, x: int, y: int, radius: int) -> dict[int, np.ndarray]:
    rows, columns = np.ogrid[:140, :160]
    return {plane: (columns - x) ** 2 + (rows - y) ** 2 <= radius**2}


def test_outlines_of_several_readers_are_one_nodule_where_they_share_voxels() -> None:
    chain = [[disc(3, 40, 40, 6)], [disc(3, 49, 40, 6)], [disc(3, 58, 40, 6)], [disc(3, 50, 41, 9), disc(9, 40, 40, 6)]]
    groups = nodules_of(chain)
    assert [[len(own) for own in group] for group in groups] == [[1, 1, 1, 1], [0, 0, 0, 1]]
    patches = list(patches_of(chain, 140, 160))
    assert [(patch.nodule, patch.plane) for patch in patches] == [(1, 3)]
    # the box around all is x 34 to 64, y 32 to 50: the patch would begin at -15 and -23, and is moved into the image
    assert (patches[0].left, patches[0].top) == (0, 0)
    (patch,) = patches_of([[disc(1, 90, 75, 5)]] * 4, 140, 160)
    assert (patch.left, patch.top) == (26, 11)
