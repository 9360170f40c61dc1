"""What guards a label: no class and no object disappears that a finding is not for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage
from tests.written_audits import CLASSES, Label, square, squares

from debride.audit.findings.finding import Finding
from debride.audit.repair import apply_findings
from debride.types import IGNORE

# Boxes a, b of classes in a 2D or 3D label; ``find`` makes a finding of a mask.


def find(numbers: npt.NDArray[np.uint16], where: npt.NDArray[np.bool_], **values: Any) -> Finding:
    number = int(numbers.max()) + 1
    assert not numbers[where].any()
    numbers[where] = number
    places = np.argwhere(where)
    ends = tuple((int(low), int(high) + 1) for low, high in zip(places.min(0), places.max(0), strict=True))
    values = {"kind": "boundary", "given": 1, "proposed": 0, "severity": 0.5, "confidence": 0.9, **values}
    return Finding(case="x", number=number, box=ends, voxels=int(where.sum()), **values)


def run(
    label: Label, found: Sequence[tuple[npt.NDArray[np.bool_], dict[str, Any]]], proposed: Any = 0, **options: Any
) -> tuple[Label, list[tuple[str, str]]]:
    numbers = np.zeros(label.shape, np.uint16)
    findings = [find(numbers, where, **values) for where, values in found]
    proposals = np.where(numbers > 0, np.asarray(proposed, np.uint8), np.uint8(0))
    given = label.copy()
    result, told = apply_findings(label, numbers, proposals, findings, CLASSES, **options)
    np.testing.assert_array_equal(label, given)
    applied = [number for number, outcome in told.items() if outcome.status == "applied"]
    np.testing.assert_array_equal(
        result, np.where(np.isin(numbers, applied) & (label != IGNORE), proposals, label), err_msg="more or less than applied"
    )
    return result, [(told[finding.number].status, told[finding.number].why) for finding in findings]


SHAPES = [(24, 24), (4, 24, 24)]


@pytest.mark.parametrize("shape", SHAPES)
def test_extra_removes_one_of_two_objects_but_not_the_only_one(shape: tuple[int, ...]) -> None:
    extra = (square(2, 2, shape=shape), {"kind": "extra"})
    assert run(squares((1, 2, 2), (1, 12, 12), shape=shape), [extra])[1] == [("applied", "")]
    label = squares((1, 2, 2), (2, 12, 12), shape=shape)
    ((status, why),) = run(label, [extra])[1]
    assert status == "guarded"
    assert "class a would vanish" in why
    assert run(label, [extra], allow_removal=True)[1] == [("applied", "")]


def test_of_two_extras_the_surer_one_goes() -> None:
    label = squares((1, 2, 2), (1, 12, 12))
    found = [(square(2, 2), {"kind": "extra", "confidence": 0.8}), (square(12, 12), {"kind": "extra", "confidence": 0.95})]
    assert [status for status, _ in run(label, found)[1]] == ["guarded", "applied"]


def test_a_new_object_does_not_stand_in_for_the_only_given_one() -> None:
    label = squares((1, 2, 2))
    proposed = np.zeros((24, 24), np.uint8)
    proposed[12:16, 12:16] = 1
    missing = (square(12, 12), {"kind": "missing", "confidence": 1.0, "given": 0, "proposed": 1})
    told = run(label, [(square(2, 2), {"kind": "extra"}), missing], proposed)[1]
    assert [status for status, _ in told] == ["guarded", "applied"]
    assert "only object of a" in told[0][1]


@pytest.mark.parametrize("kind", ["extra", "stray"])
def test_what_little_an_extra_leaves_is_no_object(kind: str) -> None:
    label = squares((1, 2, 2))
    ((status, why),) = run(label, [(square(2, 2, rows=3), {"kind": kind})])[1]
    assert status == "guarded"
    assert "only object of a" in why
    assert run(label, [(square(2, 2, rows=2), {"kind": kind})])[1] == [("applied", "")]
    assert run(label, [(square(2, 2, rows=3), {"kind": "boundary"})])[1] == [("applied", "")]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_boundary_may_not_erase_a_thin_object(shape: tuple[int, ...]) -> None:
    label = squares((1, 2, 2), (1, 12, 12), shape=shape)
    ((status, why),) = run(label, [(square(2, 2, shape=shape), {})])[1]
    assert status == "guarded"
    assert "an object of a of" in why
    assert "which boundary is not for" in why
    assert run(label, [(square(2, 2, rows=3, shape=shape), {})])[1] == [("applied", "")]


def test_two_boundaries_may_not_erase_an_object_together() -> None:
    label = squares((1, 2, 2), (1, 12, 12))
    found = [(square(2, 2, rows=2), {}), (square(4, 2, rows=2), {})]
    assert [status for status, _ in run(label, found)[1]] == ["applied", "guarded"]


def test_objects_touch_across_corners() -> None:
    label = squares((1, 2, 2), (1, 6, 6), (1, 15, 15))  # the first two are one object
    assert run(label, [(square(2, 2), {})])[1] == [("applied", "")]


def test_objects_of_a_volume_touch_across_corners() -> None:
    label = squares((1, 2, 2), (1, 14, 14), shape=(6, 24, 24))
    label[3:5, 6:10, 6:10] = 1
    assert run(label, [(square(2, 2, shape=(6, 24, 24)), {})])[1] == [("applied", "")]


def test_an_object_of_which_an_extra_left_little_does_not_count_any_more() -> None:
    label = squares((1, 2, 2), (1, 12, 12))
    found = [(square(2, 2, rows=3), {"kind": "extra"}), (square(12, 12, rows=3), {"kind": "extra"})]
    assert [status for status, _ in run(label, found)[1]] == ["applied", "guarded"]


def test_an_object_that_takes_another_class_at_its_boundary_is_kept() -> None:
    label = squares((1, 2, 2), (1, 12, 12), (2, 2, 6))
    ((status, why),) = run(label, [(square(2, 2), {"proposed": 2})], 2)[1]
    assert status == "guarded"
    assert "an object of a" in why


def test_rare_classes_keep_their_objects() -> None:
    label = squares((1, 2, 2), (1, 12, 12), (2, 18, 2))
    extra, swap = (square(2, 2), {"kind": "extra"}), (square(2, 2), {"kind": "swap", "proposed": 2})
    assert run(label, [extra], rare=frozenset({2}))[1] == [("applied", "")]
    ((status, why),) = run(label, [extra], rare=frozenset({1}))[1]
    assert status == "guarded"
    assert "few cases have" in why
    assert run(label, [swap], 2, rare=frozenset({2}))[1] == [("applied", "")]
    ((status, why),) = run(label, [swap], 2, rare=frozenset({1}))[1]
    assert status == "guarded"
    assert "an object of a would be lost in a swap" in why


def test_a_swap_may_exchange_and_rename_but_no_class_may_vanish() -> None:
    label = squares((1, 2, 2), (2, 12, 12), (2, 18, 2))
    exchanged = np.where(label == 1, 2, np.where(label == 2, 1, 0))
    assert run(label, [(label > 0, {"kind": "swap"})], exchanged)[1] == [("applied", "")]
    assert run(label, [(square(12, 12), {"kind": "swap"})], 1)[1] == [("applied", "")]
    ((status, why),) = run(label, [(square(2, 2), {"kind": "swap"})], 2)[1]
    assert status == "guarded"
    assert "class a would vanish" in why
    ((status, _),) = run(label, [(square(12, 12), {"kind": "swap"})], 0)[1]
    assert status == "guarded"


def test_what_moves_is_not_removed_but_may_not_leave_the_image() -> None:
    label = squares((1, 2, 2), (1, 12, 12), (2, 18, 2))
    for kind, moved in (("shift", np.roll(label, 9, axis=1)), ("flip", label[:, ::-1])):
        assert run(label, [(label != moved, {"kind": kind})], moved)[1] == [("applied", "")]
    lost = np.zeros_like(label)
    lost[:, :9] = label[:, 9:-6]  # the squares at column 2 left
    lost[20:, 20:] = 2
    ((status, why),) = run(label, [(label != lost, {"kind": "shift"})], lost)[1]
    assert status == "guarded"
    assert "an object of a would be lost in a shift" in why


def test_a_boundary_after_a_shift() -> None:
    label = squares((1, 2, 2), (1, 12, 12))
    moved = np.roll(label, 5, axis=1)
    shift = label != moved
    found = [(shift, {"kind": "shift", "confidence": 1.0}), (~shift & square(20, 1), {"kind": "missing", "given": 0})]
    proposed = np.where(shift, moved, 1)
    assert [status for status, _ in run(label, found, proposed)[1]] == ["applied", "applied"]


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("ndim", [2, 3])
def test_no_given_object_disappears_in_random_boundaries(seed: int, ndim: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (16, 16) if ndim == 2 else (5, 9, 9)
    label = ndimage.grey_dilation((rng.random(shape) < 0.03) * rng.integers(1, 4, shape), size=2).astype(np.uint8)
    label[rng.random(shape) < 0.05] = IGNORE
    numbers = np.zeros(shape, np.uint16)
    findings = []
    for part in rng.permutation(6):
        where = (rng.random(shape) < 0.3) & (numbers == 0) & (np.indices(shape)[-1] % 6 == part)
        if where.any():
            findings.append(find(numbers, where, confidence=float(rng.random())))
    proposed = rng.integers(0, 4, shape).astype(np.uint8)
    result, told = apply_findings(label, numbers, proposed, findings, CLASSES)
    applied = [number for number, outcome in told.items() if outcome.status == "applied"]
    expected = label.copy()
    for place in np.ndindex(*shape):
        if numbers[place] in applied and label[place] != IGNORE:
            expected[place] = proposed[place]
    np.testing.assert_array_equal(result, expected)
    for number, outcome in told.items():
        assert outcome.voxels == (int(((result != label) & (numbers == number)).sum()) if number in applied else 0)
    for value in (1, 2, 3):
        objects, count = ndimage.label(label == value, structure=np.ones((3,) * ndim))
        for at in range(1, count + 1):
            assert ((result == value) & (objects == at)).any()
