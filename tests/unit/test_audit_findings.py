"""From one label to its findings: numbers, maps and measures against loops over voxels."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from debride.audit.evidence.pieces import find_pieces
from debride.audit.evidence.whole import explain
from debride.audit.findings.finding import Finding
from debride.audit.gather import find
from debride.types import IGNORE

Label = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.floating[Any]]

SPACING = (2.5, 0.8, 1.2)


def soft(label: Label, classes: int, sure: float = 0.9) -> Floats:
    rest = (1 - sure) / (classes - 1)
    return np.stack([np.where(label == k, sure, rest) for k in range(classes)]).astype(np.float32)


def right_label(dims: int = 2) -> Label:
    label = np.zeros((40, 48) if dims == 2 else (10, 40, 48), np.uint8)
    label[..., 6:20, 5:14] = 1
    label[..., 24:32, 12:34] = 2
    label[..., 8:13, 30:36] = 3
    if dims == 3:
        label[:2], label[8:] = 0, 0
    return label


def local_errors(dims: int = 2) -> Label:
    """One object missing, one extra, one boundary too far out, and a corner without a label."""
    label = right_label(dims)
    label[label == 3] = 0
    place = np.zeros(label.shape, bool)
    place[..., 34:39, 2:7] = True
    if dims == 3:
        place[:2], place[8:] = False, False
    label[place] = 2
    wider = np.zeros(label.shape, bool)
    wider[..., 6:20, 14:19] = True
    label[wider & (right_label(dims) == 0) & ((right_label(dims) > 0).any(axis=(-2, -1), keepdims=True))] = 1
    label[..., :4, 40:] = IGNORE
    return label


def found(
    label: Label, truth: Label, spacing: tuple[float, ...] | None = None, **how: Any
) -> tuple[list[Finding], npt.NDArray[np.uint16], Label]:
    how = {"wrong": 0.8, "odds": {"any": 1.0}, "typical": 0.85, "least": 0.1, "sure": 0.9, **how}
    probability = soft(truth, 4, how.pop("sure"))
    findings, numbers, proposed = find("case@a.b", label, probability, truth, spacing, **how)
    check_consistent(label, findings, numbers, proposed, spacing)
    return findings, numbers, proposed


def check_consistent(
    label: Label,
    findings: list[Finding],
    numbers: npt.NDArray[np.uint16],
    proposed: Label,
    spacing: tuple[float, ...] | None,
) -> None:
    """What every reader of an audit relies on, voxel by voxel."""
    assert numbers.dtype == np.uint16 and proposed.dtype == np.uint8
    assert numbers.shape == proposed.shape == label.shape
    voxels: dict[int, list[tuple[int, ...]]] = {finding.number: [] for finding in findings}
    for at in np.ndindex(label.shape):
        if numbers[at]:
            assert label[at] not in (IGNORE, proposed[at])
            voxels[int(numbers[at])].append(at)
        else:
            assert proposed[at] == 0
    assert list(voxels) == list(range(1, len(findings) + 1))
    for finding in findings:
        places = voxels[finding.number]
        assert finding.case == "case@a.b" and finding.voxels == len(places) > 0
        ends = tuple((min(axis), max(axis) + 1) for axis in zip(*places, strict=True))
        assert finding.box == ends
        pairs = [(int(label[at]), int(proposed[at])) for at in places]
        assert pairs.count((finding.given, finding.proposed)) == max(map(pairs.count, set(pairs)))
        assert 0 <= finding.severity <= 1 and 0 <= finding.confidence <= 1
        expected = len(places) * math.prod(spacing) / 1000 if spacing and len(spacing) == 3 else None
        assert finding.volume == (None if expected is None else pytest.approx(expected))
        area = len(places) * math.prod(spacing) if spacing and len(spacing) == 2 else None
        assert finding.area == (None if area is None else pytest.approx(area))
        assert finding.unit == ("mm" if spacing else "px")
        assert finding.distance is not None and finding.distance > 0
        if finding.kind == "shift":
            assert finding.distance == finding.displacement
        elif finding.kind == "boundary":
            assert finding.displacement is not None and finding.distance <= abs(finding.displacement) + 1e-6
        assert json.loads(json.dumps(asdict(finding)))["number"] == finding.number


@pytest.mark.parametrize(("dims", "spacing"), [(2, None), (2, SPACING[1:]), (3, None), (3, SPACING)])
def test_pieces_are_numbered_by_confidence(dims: int, spacing: tuple[float, ...] | None) -> None:
    findings, numbers, proposed = found(local_errors(dims), right_label(dims), spacing)
    assert {finding.kind for finding in findings} == {"missing", "extra", "boundary"}
    sure = [finding.confidence for finding in findings]
    assert sure == sorted(sure, reverse=True)
    repaired = np.where(numbers > 0, proposed, local_errors(dims))
    known = local_errors(dims) != IGNORE
    np.testing.assert_array_equal(repaired[known], right_label(dims)[known])


def test_confidence_is_wrongness_times_margin() -> None:
    """All voxels of these pieces are predicted with 0.9 against 1/30: the margin is their difference."""
    for wrong in (0.3, 1.0):
        findings, _, _ = found(local_errors(), right_label(), wrong=wrong)
        assert [finding.confidence for finding in findings] == pytest.approx([wrong * (0.9 - 0.1 / 3)] * 3, rel=1e-5)


def test_evidence_of_another_kind_takes_the_root_of_its_odds() -> None:
    findings, _, _ = found(local_errors(), right_label(), odds={"missing": 2.0, "extra": 1.0, "boundary": 0.0, "any": 1.0})
    by_kind = {finding.kind: finding.confidence for finding in findings}
    assert [finding.kind for finding in findings] == ["missing", "extra", "boundary"]
    assert by_kind["missing"] == pytest.approx(0.8 * (0.9 - 0.1 / 3))
    assert by_kind["extra"] == pytest.approx(by_kind["missing"] * math.exp(-0.5))
    assert by_kind["boundary"] == pytest.approx(by_kind["missing"] * math.exp(-1))


def test_a_kind_without_odds_is_not_held_against_a_piece() -> None:
    findings, _, _ = found(local_errors(), right_label(), odds={"missing": 2.0, "boundary": 2.0})
    assert len({round(finding.confidence, 6) for finding in findings}) == 1
    assert len(found(local_errors(), right_label(), odds={})[0]) == 3


def test_unsure_findings_are_left_out_of_the_map_too() -> None:
    odds = {"missing": 2.0, "extra": 1.0, "boundary": 0.0}
    every, numbers, _ = found(local_errors(), right_label(), odds=odds)
    for keep in range(4):
        least = (0.99, *(finding.confidence for finding in every))[keep]
        findings, part, _ = found(local_errors(), right_label(), odds=odds, least=least)
        assert [(each.kind, each.voxels) for each in findings] == [(each.kind, each.voxels) for each in every[:keep]]
        np.testing.assert_array_equal(part, np.where(numbers <= keep, numbers, 0))


def test_what_is_far_less_sure_than_the_surest_is_left_out() -> None:
    """exp(-1.05) is more than a third, exp(-1.15) less."""
    for boundary, kinds in ((-0.1, ["missing", "extra", "boundary"]), (-0.3, ["missing", "extra"])):
        odds = {"missing": 2.0, "extra": 1.0, "boundary": boundary}
        assert [finding.kind for finding in found(local_errors(), right_label(), odds=odds)[0]] == kinds


def test_the_numbers_of_the_pieces_are_put_in_order_of_confidence() -> None:
    """The pieces' own order is another: the map follows the findings."""
    label, truth = local_errors(), right_label()
    own, pieces = find_pieces(label, soft(truth, 4), truth)
    odds = {piece.kind: float(at) for at, piece in enumerate(pieces)}
    findings, numbers, _ = found(label, truth, odds=odds)
    assert [finding.kind for finding in findings] == [piece.kind for piece in reversed(pieces)]
    for at, finding in enumerate(findings):
        np.testing.assert_array_equal(numbers == finding.number, own == len(pieces) - at)


@pytest.mark.parametrize("spacing", [None, (0.5, 2.0)])
@pytest.mark.parametrize("kind", ["flip", "shift", "swap", "empty"])
def test_a_label_that_is_one_mistake_has_one_finding(kind: str, spacing: tuple[float, ...] | None) -> None:
    truth = right_label()
    if kind == "flip":
        label = truth[:, ::-1].copy()
    elif kind == "shift":
        label = np.zeros_like(truth)
        label[6:, 8:] = truth[:-6, :-8]
    elif kind == "swap":
        label = np.array([0, 2, 1, 3], np.uint8)[truth]
    else:
        label = np.zeros_like(truth)
    (finding,), numbers, proposed = found(label, truth, spacing, sure=0.97)
    assert finding.kind == kind
    whole = explain(label, soft(truth, 4, 0.97), spacing, 0.85, truth)
    assert whole is not None
    np.testing.assert_array_equal(numbers > 0, label != whole.label)
    np.testing.assert_array_equal(np.where(numbers > 0, proposed, label), whole.label)
    assert finding.confidence == pytest.approx(0.8 * whole.confidence)
    assert finding.severity == pytest.approx(whole.after - whole.before)
    assert finding.displacement == whole.displacement
    if kind == "shift":
        assert finding.displacement == pytest.approx(math.hypot(6 * (spacing or (1, 1))[0], 8 * (spacing or (1, 1))[1]))


def test_a_whole_mistake_keeps_what_has_no_label() -> None:
    label = np.array([0, 2, 1, 3], np.uint8)[right_label(3)]
    label[:, 30:, 20:] = IGNORE
    (finding,), numbers, _ = found(label, right_label(3), SPACING)
    assert finding.kind == "swap" and finding.displacement is None
    assert not numbers[label == IGNORE].any()
    assert finding.volume == pytest.approx(np.count_nonzero((label == 1) | (label == 2)) * math.prod(SPACING) / 1000)


def test_too_unsure_a_whole_mistake_gives_its_pieces() -> None:
    """A forgotten label is believed with 0.7, its objects with what they are predicted with."""
    label, truth = np.zeros_like(right_label()), right_label()
    for least, kinds in ((0.55, ["empty"]), (0.57, ["missing"] * 3)):
        findings, _, _ = found(label, truth, sure=0.97, least=least)
        assert [finding.kind for finding in findings] == kinds


def test_a_label_that_is_not_suspected_has_no_findings() -> None:
    for label in (local_errors(), right_label()[:, ::-1].copy()):
        findings, numbers, proposed = found(label, right_label(), wrong=0.0)
        assert findings == [] and not numbers.any() and not proposed.any()


def test_a_label_as_predicted_has_no_findings() -> None:
    findings, numbers, _ = found(right_label(), right_label(), wrong=1.0, typical=None)
    assert findings == [] and not numbers.any()


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("dims", [2, 3])
def test_random_labels_and_predictions(seed: int, dims: int) -> None:
    """Blocks of random classes: whatever is found is consistent."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 4, (2, 4, 4) if dims == 2 else (2, 3, 4, 4)) * (rng.random((2, *[1] * dims)) < 0.9)
    truth, label = (np.kron(each, np.ones((4,) * dims)).astype(np.uint8) for each in coarse)
    label[rng.random(label.shape) < 0.1] = IGNORE
    spacing = SPACING[-dims:] if seed % 2 else None
    found(label, truth, spacing, odds={"missing": 1.0, "any": float(rng.normal())}, least=0.05, typical=None)
