"""Polygons as pixels, against the even-odd rule written down pixel by pixel in fractions."""

from fractions import Fraction

import numpy as np
import pytest

from debride.data.dicom.polygons import UNIT, even_odd


def slow(polygons, rows, columns):
    """For every centre: the edges that lie left of it, or through it, where they cross its row; an odd number is inside.

    An edge crosses a row if one end lies above, and the other not; so a vertex on the row counts as below it.
    """
    result = np.zeros((rows, columns), bool)
    for y in range(rows):
        for x in range(columns):
            crossed = 0
            for polygon in polygons:
                for at in range(len(polygon)):
                    (x0, y0), (x1, y1) = ([Fraction(float(c)) for c in polygon[at - step]] for step in (1, 0))
                    if (y0 <= y) != (y1 <= y):
                        crossed += x0 + (y - y0) * (x1 - x0) / (y1 - y0) <= x
            result[y, x] = crossed % 2
    return result


@pytest.mark.parametrize("step", [1, 2, 64, UNIT])
def test_as_the_rule_says(step):
    """Vertices on centres and rims (step 1), between them, and anywhere; partly outside; several polygons that cross."""
    rng = np.random.default_rng(step)
    for _ in range(8):
        polygons = [rng.integers(-3 * step, 12 * step, (rng.integers(1, 9), 2)) / step for _ in range(rng.integers(1, 4))]
        assert (even_odd(polygons, 9, 8) == slow(polygons, 9, 8)).all()


def test_the_rim_of_a_square():
    """A square through centres has its upper and left rim, not its lower and right one."""
    square = np.array([[2, 1], [5, 1], [5, 4], [2, 4]], float)
    expected = np.zeros((6, 7), bool)
    expected[1:4, 2:5] = True
    for polygon in (square, square[::-1], np.roll(square, 1, axis=0), np.vstack([square, square[:1]])):
        assert (even_odd([polygon], 6, 7) == expected).all()


def test_neighbours_share_no_pixel_and_leave_none_out():
    """Polygons with common edges, which run through centres and corners of pixels, fill what they fill together."""
    middle, corners = np.array([4.0, 3.0]), np.array([[0, 0], [7, 0], [9, 5], [3, 8], [0, 6.5]], float)
    wedges = [np.array([middle, corners[i - 1], corners[i]]) for i in range(5)]
    counts = sum(even_odd([wedge], 10, 11).astype(int) for wedge in wedges)
    assert (counts == even_odd([corners], 10, 11)).all()


def test_holes_and_key_holes_are_the_same():
    """A hole as a contour inside another, and as a channel that is run through twice (PS3.3 C.8.8.6.3)."""
    outer = np.array([[1, 1], [9, 1], [9, 8], [1, 8]], float)
    hole = np.array([[3, 3], [6, 3], [6, 6], [3, 6]], float)
    key = np.vstack([outer, outer[:1], hole[::-1], hole[-1:], outer[:1]])
    expected = even_odd([outer, hole], 10, 11)
    assert (even_odd([key], 10, 11) == expected).all()
    assert expected.sum() == 8 * 7 - 9 and not expected[4, 4] and expected[2, 2]


def test_what_encloses_nothing():
    """No polygon, points, lines there and back, and polygons beside the image."""
    flat = [np.array([[1.0, 1]]), np.array([[1.0, 1], [4, 5]]), np.array([[1.0, 1], [4, 5], [6, 2], [4, 5]])]
    assert not even_odd([], 5, 5).any() and not any(even_odd([each], 7, 7).any() for each in flat)
    assert not even_odd([np.array([[-5.0, 0], [-1, 0], [-1, 9]])], 7, 7).any()
    assert even_odd([np.array([[-50.0, -50], [50, -50], [50, 50], [-50, 50]])], 7, 7).all()


def test_the_largest_coordinates_are_exact():
    """Products of the farthest vertices stay within 64 bits."""
    far = np.array([[-8192, -8192], [8192, -8191], [8191, 8192], [-8191, 8191]], float)
    assert (even_odd([far], 4, 5) == slow([far], 4, 5)).all()
