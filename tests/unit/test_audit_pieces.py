"""Pieces of disagreement: every kind drawn by hand, and all of them against plain loops on random arrays.

``test_audit_joined`` tests which pieces are one mistake. Where a test is about the pieces themselves they stay ``apart``.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from debride.audit.evidence import components
from debride.audit.evidence import pieces as module
from debride.audit.evidence.measured import Piece
from debride.audit.evidence.pieces import OVERLAP, TOLERANCE, find_pieces, predicted_classes
from debride.types import IGNORE, DataError

Label = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.uint16]
Place = tuple[int, ...]


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pieces are joined, and none is too small."""
    monkeypatch.setattr(module, "joined", lambda numbers, pieces, *_: np.arange(len(pieces) + 1, dtype=np.uint16))


def soft(predicted: Label, classes: int, sure: float = 0.8, dtype: Any = np.float32) -> npt.NDArray[Any]:
    rest = (1 - sure) / (classes - 1)
    return np.stack([np.where(predicted == k, sure, rest) for k in range(classes)]).astype(dtype)


def pieces_of(
    label: Label, predicted: Label, spacing: Any = None, classes: int = 4
) -> tuple[npt.NDArray[np.uint16], list[Piece]]:
    numbers, found = find_pieces(label, soft(predicted, classes), predicted, spacing)
    assert_consistent(label, predicted, numbers, found)
    return numbers, found


def assert_consistent(label: Label, predicted: Label, numbers: Numbers, found: list[Piece]) -> None:
    assert numbers.shape == label.shape
    assert numbers.dtype == np.uint16
    assert set(np.unique(numbers).tolist()) - {0} == set(range(1, len(found) + 1))
    for number, piece in enumerate(found, start=1):
        at = np.argwhere(numbers == number)
        assert piece.voxels == len(at)
        assert piece.box == tuple((int(axis.min()), int(axis.max()) + 1) for axis in at.T)
        pairs = Counter((int(label[tuple(p)]), int(predicted[tuple(p)])) for p in at)
        assert all(a != b and a != IGNORE for a, b in pairs)
        assert pairs[piece.given, piece.proposed] == max(pairs.values())
        assert (piece.displacement is not None) == (piece.kind == "boundary")
        assert 0 < piece.share <= 1


def neighbours(at: Place, shape: Place) -> list[Place]:
    near = (tuple(a + s for a, s in zip(at, step, strict=True)) for step in itertools.product((-1, 0, 1), repeat=len(shape)))
    return [p for p in near if p != at and all(0 <= a < n for a, n in zip(p, shape, strict=True))]


def flood(values: dict[Place, Any], shape: Place) -> list[set[Place]]:
    """Connected places of equal values."""
    left, components = dict(values), []
    while left:
        start, value = next(iter(left.items()))
        del left[start]
        component, stack = {start}, [start]
        while stack:
            for near in neighbours(stack.pop(), shape):
                if left.get(near) == value:
                    del left[near]
                    component.add(near)
                    stack.append(near)
        components.append(component)
    return components


def slow_pieces(label: Label, predicted: Label, spacing: tuple[float, ...]) -> list[tuple[str, frozenset[Place]]]:
    """Kinds and places of all pieces, and of boundaries the cores alone, without what is beside them."""
    shape, places = label.shape, list(np.ndindex(label.shape))
    given = {p: int(label[p]) for p in places}
    proposed = {p: int(predicted[p]) for p in places}
    left = {p for p in places if given[p] not in (proposed[p], IGNORE)}
    found: list[tuple[str, frozenset[Place]]] = []
    if label.ndim == 3:
        gaps = {}
        for p in left:
            labelled = {q[0] for q in places if given[q] == proposed[p]}
            if proposed[p] and p[0] not in labelled and labelled and min(labelled) < p[0] < max(labelled):
                gaps[p] = proposed[p]
        found += [("gap", frozenset(each)) for each in flood(gaps, shape)]
        left -= set(gaps)
    for own, other, alone in ((given, proposed, "extra"), (proposed, given, "missing")):
        for each in flood({p: own[p] for p in places if own[p] not in (0, IGNORE)}, shape):
            value = own[next(iter(each))]
            there = Counter(other[p] for p in each if other[p] != IGNORE)
            if not there or there[value] > OVERLAP * sum(there.values()):
                continue
            most = min(there, key=lambda k: (-there[k], k))
            kind = "swap" if most else alone
            if kind == "extra" and label.ndim == 3:
                slices = {p[0] for p in places if proposed[p] == value}
                low, high = min(p[0] for p in each), max(p[0] for p in each)
                if slices and not any(low <= z <= high for z in slices):
                    kind = "stray"
            if each & left:
                found.append((kind, frozenset(each & left)))
            left -= each
    depth = {p: slow_depth(p, given, proposed, spacing) for p in left}
    deep = {p: (given[p], proposed[p]) for p in left if abs(depth[p]) > TOLERANCE * min(spacing)}
    return found + [("boundary", frozenset(each)) for each in flood(deep, shape)]


def slow_depth(at: Place, given: dict[Place, int], proposed: dict[Place, int], spacing: tuple[float, ...]) -> float:
    sign, value, other = (1, given[at], proposed) if given[at] else (-1, proposed[at], given)
    return sign * min(math.dist(np.multiply(at, spacing), np.multiply(p, spacing)) for p, v in other.items() if v == value)


def random_pair(rng: np.random.Generator, shape: Place, classes: int) -> tuple[Label, Label]:
    """Boxes of several classes, some of them moved, left out or of another class, and patches without a label."""
    label, predicted = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    for _ in range(int(rng.integers(0, 7))):
        start = [int(rng.integers(0, n - 1)) for n in shape]
        size = [int(rng.integers(1, max(2, n // 2))) for n in shape]
        far = int(rng.integers(0, 3))
        moved = [max(0, a + int(rng.integers(-far, far + 1))) for a in start]
        value = int(rng.integers(1, classes))
        for array, corner in ((label, start), (predicted, moved)):
            if rng.random() < 0.75:
                box = tuple(slice(a, a + s) for a, s in zip(corner, size, strict=True))
                array[box] = value if rng.random() < 0.7 else rng.integers(0, classes)
    if rng.random() < 0.4:
        label[rng.random(shape) < 0.08] = IGNORE
    return label, predicted


@pytest.mark.usefixtures("apart")
@pytest.mark.parametrize(("shape", "spacing"), [((14, 15), None), ((12, 13), (2.0, 0.75)), ((7, 8, 9), (2.5, 1.0, 1.0))])
@pytest.mark.parametrize("classes", [2, 4])
def test_as_plain_loops_find_them(shape: Place, spacing: tuple[float, ...] | None, classes: int) -> None:
    rng = np.random.default_rng(classes * 100 + len(shape) + (spacing is None))
    seen: Counter[str] = Counter()
    for _ in range(25):
        label, predicted = random_pair(rng, shape, classes)
        numbers, found = pieces_of(label, predicted, spacing, classes)
        expected = slow_pieces(label, predicted, spacing or (1.0,) * len(shape))
        places = [frozenset(map(tuple, np.argwhere(numbers == n).tolist())) for n in range(1, len(found) + 1)]
        ours = [(piece.kind, at) for piece, at in zip(found, places, strict=True)]
        assert {each for each in ours if each[0] != "boundary"} == {each for each in expected if each[0] != "boundary"}
        cores = [at for kind, at in expected if kind == "boundary"]
        boundaries = [(piece, at) for piece, at in zip(found, places, strict=True) if piece.kind == "boundary"]
        assert len(cores) == len(boundaries)
        given, proposed = dict(np.ndenumerate(label)), dict(np.ndenumerate(predicted))
        for piece, at in boundaries:
            (core,) = [each for each in cores if each & at]
            assert core <= at
            assert {(given[p], proposed[p]) for p in at} == {(piece.given, piece.proposed)}
            depths = [slow_depth(p, given, proposed, spacing or (1.0,) * len(shape)) for p in core]
            assert piece.displacement == pytest.approx(max(depths, key=abs), rel=1e-5)
            assert all(min(max(abs(a - b) for a, b in zip(p, q, strict=True)) for q in core) <= 3 for p in at)
        seen.update(piece.kind for piece in found)
    kinds = {"missing", "extra", "boundary"} | ({"swap"} if classes > 2 else set()) | ({"gap"} if len(shape) == 3 else set())
    assert kinds <= set(seen)


@pytest.mark.parametrize("depth", [0, 6])
@pytest.mark.parametrize(("given", "proposed", "kind"), [(0, 2, "missing"), (2, 0, "extra"), (1, 3, "swap"), (3, 1, "swap")])
def test_an_object_of_one_side_alone(depth: int, given: int, proposed: int, kind: str) -> None:
    shape = (depth, 20, 24) if depth else (20, 24)
    label, predicted = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    label[..., 2:8, 2:8] = predicted[..., 2:8, 2:8] = 2
    label[..., 11:16, 14:20], predicted[..., 11:16, 14:20] = given, proposed
    numbers, (piece,) = pieces_of(label, predicted)
    assert (piece.kind, piece.given, piece.proposed) == (kind, given, proposed)
    assert piece.box[-2:] == ((11, 16), (14, 20))
    assert piece.voxels == 30 * max(1, depth)
    assert piece.margin == pytest.approx(0.8 - 0.2 / 3)
    size = 66 if 2 in (given, proposed) else 30  # of its class
    assert piece.share == pytest.approx(30 / size)
    assert (numbers[..., 11:16, 14:20] == 1).all()


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize(("side", "sign"), [("label", 1), ("prediction", -1)])
def test_how_far_a_boundary_reaches(ndim: int, side: str, sign: int) -> None:
    small, large = np.zeros((5, 30, 40)[-ndim:], np.uint8), np.zeros((5, 30, 40)[-ndim:], np.uint8)
    small[..., 5:25, 10:20] = 1
    large[..., 5:25, 10:26] = 1
    label, predicted = (large, small) if side == "label" else (small, large)
    _, (piece,) = pieces_of(label, predicted, (4.0, 1.0, 0.5)[-ndim:])
    assert piece.kind == "boundary"
    assert piece.displacement == pytest.approx(sign * 6 * 0.5)
    assert piece.voxels == 20 * 6 * (5 if ndim == 3 else 1)  # with the rim beside the core
    assert piece.share == pytest.approx(6 / 16)


def test_the_distance_follows_the_axes_spacing() -> None:
    label, predicted = np.zeros((8, 30, 40), np.uint8), np.zeros((8, 30, 40), np.uint8)
    label[2:6, 5:25, 5:35] = predicted[3:6, 5:25, 5:35] = 1
    _, (piece,) = pieces_of(label, predicted, (3.0, 1.0, 1.0))
    assert piece.displacement == pytest.approx(3.0)
    assert not pieces_of(label, predicted)[1]  # one pixel lies within the tolerance


def test_between_two_classes_the_given_one_reaches_too_far() -> None:
    label, predicted = np.zeros((20, 40), np.uint8), np.zeros((20, 40), np.uint8)
    label[5:15, 5:20], label[5:15, 20:35] = 1, 2
    predicted[5:15, 5:16], predicted[5:15, 16:35] = 1, 2
    _, (piece,) = pieces_of(label, predicted)
    assert (piece.kind, piece.given, piece.proposed, piece.displacement) == ("boundary", 1, 2, 4.0)


@pytest.mark.usefixtures("apart")
def test_a_rim_of_one_pixel_is_no_piece_and_joins_no_two() -> None:
    label, predicted = np.zeros((30, 60), np.uint8), np.zeros((30, 60), np.uint8)
    label[5:25, 5:55] = 1
    predicted[6:24, 6:54] = 1
    assert not pieces_of(label, predicted)[1]
    predicted[6:24, 6:10] = predicted[6:24, 50:54] = 0
    numbers, found = pieces_of(label, predicted)
    assert [piece.kind for piece in found] == ["boundary", "boundary"]
    assert not numbers[:, 25:35].any()


def test_touching_objects_of_two_classes_are_two() -> None:
    label, predicted = np.zeros((20, 30), np.uint8), np.zeros((20, 30), np.uint8)
    label[5:10, 5:10], label[5:10, 10:15] = 1, 2
    predicted[12:15, 3:6], predicted[15:18, 6:9] = 3, 3  # touch at a corner
    _, found = pieces_of(label, predicted)
    assert [(piece.kind, piece.given, piece.proposed) for piece in found] == [
        ("extra", 1, 0),
        ("extra", 2, 0),
        ("missing", 0, 3),
    ]


def test_slices_left_out_and_labelled_in_vain() -> None:
    label, predicted = np.zeros((10, 16, 16), np.uint8), np.zeros((10, 16, 16), np.uint8)
    label[2:7, 4:12, 4:12] = predicted[2:7, 4:12, 4:12] = 1
    label[4:6] = 0
    label[8:, 2:5, 2:5] = 1
    _, found = pieces_of(label, predicted)
    assert [(piece.kind, piece.box[0], piece.voxels) for piece in found] == [("gap", (4, 6), 128), ("stray", (8, 10), 18)]
    label[3, 0:3, 13:16] = 1  # in a slice where its class is predicted
    _, found = pieces_of(label, predicted)
    assert [piece.kind for piece in found] == ["gap", "extra", "stray"]


def test_nothing_is_stray_of_a_class_that_is_not_predicted() -> None:
    label = np.zeros((6, 12, 12), np.uint8)
    label[4:, 3:8, 3:8] = 1
    _, (piece,) = pieces_of(label, np.zeros_like(label))
    assert piece.kind == "extra"


def test_a_share_of_an_object_may_overlap() -> None:
    label, predicted = np.zeros((20, 40), np.uint8), np.zeros((20, 40), np.uint8)
    label[5:15, 5:15] = 1
    predicted[5:15, 14:34] = 1  # a tenth of the label's object, a twentieth of its own
    assert [piece.kind for piece in pieces_of(label, predicted)[1]] == ["extra", "missing"]
    predicted[5, 13] = 1
    assert [piece.kind for piece in pieces_of(label, predicted)[1]] == ["missing", "boundary"]


@pytest.mark.parametrize("shape", [(12, 14), (4, 12, 14)])
def test_where_nothing_is_found(shape: Place) -> None:
    empty, label = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    label[..., 3:8, 3:8] = 1
    for given, predicted in ((empty, empty), (label, label), (np.full_like(label, IGNORE), label)):
        numbers, found = pieces_of(given, predicted)
        assert not found
        assert not numbers.any()
    assert [piece.kind for piece in pieces_of(empty, label)[1]] == ["missing"]
    assert [piece.kind for piece in pieces_of(label, empty)[1]] == ["extra"]
    full = np.ones(shape, np.uint8)
    assert [piece.voxels for piece in pieces_of(full, empty)[1]] == [full.size]


def test_pixels_without_a_label_are_in_no_piece_and_do_not_count() -> None:
    label, predicted = np.zeros((20, 30), np.uint8), np.zeros((20, 30), np.uint8)
    predicted[5:15, 5:15] = 1
    label[5:15, 5:15] = IGNORE
    label[5, 5:15] = 1  # agrees on all that it says
    assert not pieces_of(label, predicted)[1]
    label[5, 5:15] = 0
    numbers, (piece,) = pieces_of(label, predicted)
    assert (piece.kind, piece.box) == ("missing", ((5, 6), (5, 15)))
    assert not numbers[label == IGNORE].any()


def test_half_precision_says_the_same() -> None:
    rng = np.random.default_rng(5)
    label, _ = random_pair(rng, (20, 24), 4)
    probability = rng.dirichlet(np.ones(4), (20, 24)).transpose(2, 0, 1).astype(np.float16)
    predicted = predicted_classes(probability)
    assert predicted.dtype == np.uint8
    assert (predicted == probability.argmax(axis=0)).all()
    numbers, found = find_pieces(label, probability, predicted)
    again, other = find_pieces(label, probability.astype(np.float32), predicted)
    assert (numbers == again).all()
    assert found == other
    assert found
    for number, piece in enumerate(found, start=1):
        at = np.argwhere(numbers == number)
        margins = [
            float(probability[(predicted[tuple(p)], *p)]) - float(probability[(label[tuple(p)], *p)]) for p in at.tolist()
        ]
        assert piece.margin == pytest.approx(sum(margins) / len(margins), abs=1e-5)


def test_of_equal_probabilities_the_first_class_is_predicted() -> None:
    assert predicted_classes(np.full((3, 2, 2), 1 / 3, np.float32)).tolist() == [[0, 0], [0, 0]]


@pytest.mark.usefixtures("apart")
def test_counting_in_chunks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    label, predicted = random_pair(np.random.default_rng(3), (9, 14, 15), 4)
    label[4, 2:5, 2:5], predicted[7, 9:12, 9:12], predicted[1, 1, 1] = 1, 2, 3
    numbers, found = pieces_of(label, predicted)
    assert len(found) > 2
    monkeypatch.setattr(components, "CHUNK", 37)
    again, other = pieces_of(label, predicted)
    assert (numbers == again).all()
    assert found == other


@pytest.mark.usefixtures("apart")
@pytest.mark.parametrize("side", ["label", "prediction", "both"])
def test_more_pieces_than_numbers_are_refused(monkeypatch: pytest.MonkeyPatch, side: str) -> None:
    monkeypatch.setattr(module, "MOST", 20)
    label, predicted = np.zeros((24, 24), np.uint8), np.zeros((24, 24), np.uint8)
    if side != "prediction":
        label[1::4, 1::4] = 1
    if side != "label":
        predicted[3::4, 3::4] = 1
    with pytest.raises(DataError, match="places"):
        find_pieces(label, soft(predicted, 2), predicted)
    monkeypatch.setattr(module, "MOST", 72)
    assert len(find_pieces(label, soft(predicted, 2), predicted)[1]) == (72 if side == "both" else 36)
