"""Which pieces are one mistake: labels with one error each, drawn by hand, and what is left of several."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from debride.audit.evidence.measured import Piece
from debride.audit.evidence.pieces import find_pieces

Label = npt.NDArray[np.uint8]


def mistakes(
    label: Label, predicted: Label, spacing: Any = None, classes: int = 4
) -> tuple[npt.NDArray[np.uint16], list[Piece]]:
    """The map of mistakes and the mistakes, by a prediction that is sure everywhere."""
    probability = np.stack([np.where(predicted == k, 0.9, 0.1 / (classes - 1)) for k in range(classes)]).astype(np.float32)
    numbers, found = find_pieces(label, probability, predicted, spacing)
    assert sorted(set(np.unique(numbers).tolist()) - {0}) == list(range(1, len(found) + 1))
    for number, piece in enumerate(found, start=1):
        at = np.argwhere(numbers == number)
        assert piece.voxels == len(at)
        assert piece.box == tuple((int(axis.min()), int(axis.max()) + 1) for axis in at.T)
        assert 0 < piece.share <= 1 and piece.distance > 0
    return numbers, found


def disc(shape: tuple[int, int], middle: tuple[float, float], radius: float) -> npt.NDArray[np.bool_]:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    inside: npt.NDArray[np.bool_] = (rows - middle[0]) ** 2 + (columns - middle[1]) ** 2 <= radius**2
    return inside


def volume(*, slices: int = 12) -> Label:
    """A volume of two classes beside each other in slices 3 to 8."""
    label = np.zeros((slices, 32, 40), np.uint8)
    label[3:9, 6:20, 6:18] = 1
    label[3:9, 6:20, 18:30] = 2
    return label


def test_stray_slices_are_one_mistake_whatever_their_classes() -> None:
    truth = volume()
    label = truth.copy()
    label[0], label[11] = truth[4], truth[5]
    numbers, (stray,) = mistakes(label, truth, (5.0, 1.0, 1.0))
    assert stray.kind == "stray"
    np.testing.assert_array_equal(numbers > 0, label != truth)
    assert stray.distance == 10.0  # two slices of 5 mm, not all between them
    assert stray.share == pytest.approx(2 / 8)


def test_slices_left_out_are_one_mistake() -> None:
    truth = volume()
    label = truth.copy()
    label[[4, 6]] = 0
    numbers, (gap,) = mistakes(label, truth, (5.0, 1.0, 1.0))
    assert (gap.kind, gap.distance) == ("gap", 10.0)
    np.testing.assert_array_equal(numbers > 0, label != truth)


def test_strays_of_classes_that_share_no_slice_are_two() -> None:
    truth = volume()
    label = truth.copy()
    label[0][truth[4] == 1], label[11][truth[4] == 2] = 1, 2
    assert [(piece.kind, piece.given) for piece in mistakes(label, truth)[1]] == [("stray", 1), ("stray", 2)]


def test_pieces_of_one_lost_object_are_one_mistake() -> None:
    label, truth = np.zeros((40, 60), np.uint8), np.zeros((40, 60), np.uint8)
    label[25:38, 5:20] = truth[25:38, 5:20] = 1
    truth[5:15, 5:12] = truth[5:15, 14:20] = 1  # two pixels between them
    truth[5:15, 40:50] = 1
    assert [(piece.kind, piece.box) for piece in mistakes(label, truth)[1]] == [
        ("missing", ((5, 15), (5, 20))),
        ("missing", ((5, 15), (40, 50))),
    ]
    assert [piece.kind for piece in mistakes(truth, label)[1]] == ["extra", "extra"]


def test_a_whole_class_that_is_lost_is_one_mistake() -> None:
    label, truth = np.zeros((40, 60), np.uint8), np.zeros((40, 60), np.uint8)
    label[25:38, 5:20] = truth[25:38, 5:20] = 1
    truth[5:15, 5:15] = truth[5:15, 40:50] = 2
    assert [(piece.kind, piece.proposed, piece.voxels) for piece in mistakes(label, truth)[1]] == [("missing", 2, 200)]


def test_two_exchanged_objects_are_one_mistake() -> None:
    truth = np.zeros((40, 60), np.uint8)
    truth[5:15, 5:15], truth[5:15, 40:50], truth[25:35, 20:30] = 1, 2, 3
    label = np.array([0, 2, 1, 3], np.uint8)[truth]
    assert [(piece.kind, piece.voxels, piece.distance) for piece in mistakes(label, truth, (1.0, 2.0))[1]] == [
        ("swap", 200, 90.0)
    ]


@pytest.mark.parametrize(("out", "sign"), [(4, 1), (-4, -1)])
def test_an_outline_that_lies_off_all_around_is_one_mistake(out: int, sign: int) -> None:
    truth = disc((80, 80), (40, 40), 20).astype(np.uint8)
    label = disc((80, 80), (40, 40), 20 + out).astype(np.uint8)
    label[38:43] = truth[38:43]  # but for a stretch on either side
    _, (piece,) = mistakes(label, truth, (0.5, 0.5))
    assert piece.kind == "boundary" and piece.displacement is not None
    assert piece.displacement * sign == pytest.approx(2.0, abs=0.3)
    assert piece.distance == pytest.approx(2.0, abs=0.4) and piece.distance < abs(piece.displacement)


def test_an_outline_that_wanders_out_and_in_is_one_mistake() -> None:
    truth = disc((80, 80), (40, 40), 20).astype(np.uint8)
    rows, columns = np.indices(truth.shape) - 40
    angle = np.arctan2(rows, columns)
    label = (np.hypot(rows, columns) <= 20 + 5 * np.sin(4 * angle)).astype(np.uint8)
    _, (piece,) = mistakes(label, truth)
    assert piece.kind == "boundary"


def test_far_out_on_one_side_and_a_little_in_on_another_are_two_mistakes() -> None:
    truth, label = np.zeros((60, 80), np.uint8), np.zeros((60, 80), np.uint8)
    truth[20:50, 10:70], label[12:50, 10:70] = 1, 1
    label[46:50, 21:50] = 0
    found = mistakes(label, truth)[1]
    assert [(piece.kind, piece.displacement) for piece in found] == [("boundary", 8.0), ("boundary", -4.0)]
    label[46:50, 10:70] = 0  # half as much as too far out
    assert [piece.voxels for piece in mistakes(label, truth)[1]] == [720]


def test_outlines_of_two_objects_are_two_mistakes() -> None:
    truth = (disc((60, 120), (30, 30), 15) | disc((60, 120), (30, 90), 15)).astype(np.uint8)
    label = (disc((60, 120), (30, 30), 19) | disc((60, 120), (30, 90), 11)).astype(np.uint8)
    found = mistakes(label, truth)[1]
    assert [piece.kind for piece in found] == ["boundary", "boundary"]
    assert [(piece.displacement or 0) > 0 for piece in sorted(found, key=lambda piece: piece.box)] == [True, False]


def test_outlines_of_touching_objects_that_lie_to_the_same_side_are_one_mistake() -> None:
    truth, label = np.zeros((40, 80), np.uint8), np.zeros((40, 80), np.uint8)
    truth[12:28, 10:40], truth[12:28, 40:70] = 1, 2
    label[7:33, 10:40], label[7:33, 40:70] = 1, 2
    _, (piece,) = mistakes(label, truth)
    assert (piece.kind, piece.displacement) == ("boundary", 5.0) and 4 < piece.distance < 5
    label[7:33, 40:70] = truth[7:33, 40:70]
    label[12:18, 42:70] = 0
    assert [piece.displacement for piece in mistakes(label, truth)[1]] == [5.0, -6.0]


def test_a_small_stretch_counts_where_it_lies_far_off() -> None:
    truth = np.zeros((200, 200), np.uint8)
    truth[20:180, 20:180] = 1
    for far, count in ((5, 0), (6, 1)):
        label = truth.copy()
        label[100:110, 180 : 180 + far] = 1
        assert len(mistakes(label, truth)[1]) == count


def test_a_few_voxels_at_a_rim_are_no_mistake() -> None:
    truth = disc((100, 100), (50, 50), 30).astype(np.uint8)
    label = truth.copy()
    label[48:51, 79:83] = 1  # three pixels out
    label[5:7, 5:7] = 1
    assert not mistakes(label, truth)[1]
    assert not mistakes(truth, label)[1]


def test_a_small_object_counts_where_its_class_is_small() -> None:
    truth = np.zeros((100, 100), np.uint8)
    truth[10:13, 10:13] = truth[50:52, 50:52] = 1
    truth[70:95, 70:95] = 2
    label = truth.copy()
    label[50:52, 50:52] = 0
    assert [(piece.kind, piece.voxels) for piece in mistakes(label, truth)[1]] == [("missing", 4)]
