"""Whole-label mistakes against slow versions: agreement voxel by voxel, offsets and names of classes by trying them all."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from debride.audit.evidence import whole
from debride.audit.evidence.whole import agreement, explain
from debride.types import IGNORE

Label = npt.NDArray[np.uint8]
Floats = npt.NDArray[Any]


def slow_agreement(label: Label, probability: Floats) -> float:
    classes = len(probability)
    both, labelled, mass = [0.0] * classes, [0] * classes, [0.0] * classes
    involved = set()
    for at in np.ndindex(label.shape):
        if label[at] == IGNORE:
            continue
        values = [float(probability[(k, *at)]) for k in range(classes)]
        involved |= {int(label[at]), values.index(max(values))}
        labelled[label[at]] += 1
        both[label[at]] += values[label[at]]
        for k in range(classes):
            mass[k] += values[k]
    involved -= {0}
    return sum(2 * both[k] / (labelled[k] + mass[k]) for k in involved) / len(involved) if involved else 1.0


def slow_move(label: Label, offset: tuple[int, ...]) -> tuple[Label, npt.NDArray[np.bool_]]:
    """The label moved, 0 where nothing comes from, and where that is."""
    moved, unknown = np.zeros_like(label), np.ones(label.shape, bool)
    for at in np.ndindex(label.shape):
        source = tuple(a - o for a, o in zip(at, offset, strict=True))
        if all(0 <= s < n for s, n in zip(source, label.shape, strict=True)):
            moved[at], unknown[at] = label[source], False
    return moved, unknown


def soft(label: Label, classes: int, sure: float = 0.9) -> Floats:
    """Probabilities of a label."""
    rest = (1 - sure) / (classes - 1)
    return np.stack([np.where(label == k, sure, rest) for k in range(classes)]).astype(np.float32)


def blobs(shape: tuple[int, ...] = (40, 48)) -> Label:
    """Three objects of different shapes, none symmetric with the others."""
    label = np.zeros(shape, np.uint8)
    label[..., 8:20, 6:14] = 1
    label[..., 22:30, 10:30] = 2
    label[..., 6:12, 20:26] = 3
    if len(shape) == 3:
        label[:2], label[shape[0] - 4 :] = 0, 0
    return label


def random_case(seed: int, shape: tuple[int, ...], classes: int) -> tuple[Label, Floats]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(classes, *shape)) * 2
    probability = np.exp(logits) / np.exp(logits).sum(0)
    label = rng.integers(0, classes, shape).astype(np.uint8)
    label[rng.random(shape) < 0.2] = IGNORE
    return label, probability.astype(np.float32)


@pytest.mark.parametrize(("shape", "classes"), [((7, 9), 2), ((6, 5), 4), ((3, 4, 5), 3)])
@pytest.mark.parametrize("seed", range(3))
def test_agreement_is_that_of_a_loop_over_voxels(seed: int, shape: tuple[int, ...], classes: int) -> None:
    label, probability = random_case(seed, shape, classes)
    assert agreement(label, probability) == pytest.approx(slow_agreement(label, probability), rel=1e-5)
    few = np.where(label == 1, label, np.where(label == IGNORE, IGNORE, np.uint8(0)))
    assert agreement(few, probability.astype(np.float16)) == pytest.approx(slow_agreement(few, probability), rel=1e-3)


def test_agreement_in_small_chunks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    label, probability = random_case(5, (6, 5, 4), 3)
    expected = agreement(label, probability)
    monkeypatch.setattr(whole, "CHUNK", 1)
    assert agreement(label, probability) == pytest.approx(expected, rel=1e-6)


def test_agreement_counts_predicted_classes_that_the_label_lacks() -> None:
    label = blobs()
    probability = soft(label, 4)
    assert agreement(np.where(label == 3, np.uint8(0), label), probability) < 0.8 * agreement(label, probability)
    nothing = np.zeros((5, 5), np.uint8)
    assert agreement(nothing, soft(nothing, 3)) == 1
    assert agreement(nothing, soft(np.ones((5, 5), np.uint8), 3)) == 0


@pytest.mark.parametrize("shape", [(40, 48), (12, 40, 48)])
def test_right_labels_and_local_errors_are_left_alone(shape: tuple[int, ...]) -> None:
    label = blobs(shape)
    probability = soft(label, 4)
    without, extra, wider = label.copy(), label.copy(), label.copy()
    without[without == 1] = 0
    extra[..., 34:39, 36:46] = 3
    wider[..., 20:32, 8:32] = np.where(wider[..., 20:32, 8:32] == 0, 2, wider[..., 20:32, 8:32])
    next_to = np.roll(label, 1, -1)
    for given in (label, without, extra, wider, next_to):
        assert explain(given, probability) is None
        assert explain(given, probability, typical=agreement(label, probability)) is None


@pytest.mark.parametrize(("shape", "axes"), [((40, 48), (0,)), ((40, 48), (1,)), ((40, 48), (0, 1)), ((12, 40, 48), (2,))])
def test_a_mirrored_label_is_mirrored_back(shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    label = blobs(shape)
    probability = soft(label, 4)
    given = label.copy()
    for at in np.ndindex(shape):
        given[at] = label[tuple(n - 1 - a if axis in axes else a for axis, (a, n) in enumerate(zip(at, shape, strict=True)))]
    found = explain(given, probability)
    assert found is not None
    assert (found.kind, found.detail, found.displacement) == ("flip", {"axes": axes}, None)
    np.testing.assert_array_equal(found.label, label)
    assert found.before == pytest.approx(slow_agreement(given, probability), rel=1e-4)
    assert found.after == pytest.approx(slow_agreement(label, probability), rel=1e-4)


def test_a_volume_upside_down() -> None:
    label = np.zeros((12, 40, 48), np.uint8)
    for z in range(2, 9):
        label[z, 8 : 10 + 3 * z, 6:20] = 1
        label[z, 8:20, 24 : 50 - 3 * z] = 2
    found = explain(label[::-1].copy(), soft(label, 3))
    assert found is not None
    assert (found.kind, found.detail) == ("flip", {"axes": (0,)})
    np.testing.assert_array_equal(found.label, label)


def test_a_symmetric_object_is_not_mirrored() -> None:
    label = np.zeros((41, 41), np.uint8)
    label[10:31, 14:27] = 1
    worse = label.copy()
    worse[10:20] = 0
    assert explain(label[:, ::-1].copy(), soft(label, 2)) is None
    found = explain(worse, soft(label, 2, 0.8))
    assert found is None or found.kind != "flip"


def best_offset_by_trying(label: Label, probability: Floats) -> tuple[int, ...]:
    best, offset = -1.0, (0,) * label.ndim
    for tried in itertools.product(*(range(-n + 1, n) for n in label.shape)):
        moved, _ = slow_move(label, tried)
        score = 0.0
        for k in range(1, len(probability)):
            n = int((label == k).sum())
            if n:
                known = label != IGNORE
                score += float(probability[k][(moved == k) & known].sum()) / (n + float(probability[k][known].sum()))
        if score > best + 1e-9:
            best, offset = score, tried
    return offset


@pytest.mark.parametrize("seed", range(6))
def test_the_offset_is_the_best_of_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (9, 11) if seed < 4 else (4, 5, 6)
    probability = rng.dirichlet((2, 1, 1), shape).astype(np.float32)
    probability = np.moveaxis(probability, -1, 0).copy()
    label = np.zeros(shape, np.uint8)
    inner = tuple(slice(1, n - 1) for n in shape)
    label[inner] = rng.integers(0, 3, label[inner].shape)
    if seed % 2:
        label[rng.random(shape) < 0.3] = IGNORE
    case = whole._case(label, probability, None)
    placed = whole._foreground(label, 3)
    assert placed is not None
    assert whole._best_offset(case, placed) == best_offset_by_trying(label, probability)


@pytest.mark.parametrize("search", [1 << 19, 200])
@pytest.mark.parametrize(("shape", "offset"), [((40, 48), (6, 9)), ((40, 48), (-5, 13)), ((12, 40, 48), (2, 5, -6))])
def test_a_moved_label_is_moved_back(
    shape: tuple[int, ...], offset: tuple[int, ...], search: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole, "SEARCH", search)  # 200: on a coarser grid first
    label = blobs(shape)
    label[..., 0, 47] = 2  # what some of the moves take from the image comes back from the prediction
    probability = soft(label, 4)
    given, _ = slow_move(label, offset)
    spacing = (4.0, 0.5, 2.0)[-len(shape) :]
    found = explain(given, probability, spacing)
    assert found is not None
    back = tuple(-o for o in offset)
    assert (found.kind, found.detail) == ("shift", {"offset": back})
    assert found.displacement == pytest.approx(sum((o * s) ** 2 for o, s in zip(offset, spacing, strict=True)) ** 0.5)
    np.testing.assert_array_equal(found.label, label)
    assert found.after == pytest.approx(slow_agreement(slow_move(given, back)[0], probability), rel=1e-4)


def test_what_leaves_the_image_counts_against_a_shift() -> None:
    """An object and a second one too many: moving the label until the first is gone must not be an explanation."""
    label = np.zeros((40, 80), np.uint8)
    label[10:30, 60:76] = 1
    given = label.copy()
    given[10:30, 20:36] = 1
    given[10:14, 60:76] = 0
    assert explain(given, soft(label, 2)) is None


def test_two_pixels_are_no_shift() -> None:
    label = np.zeros((40, 40), np.uint8)
    label[10:13, 10:30] = 1
    label[13:15, 10:30] = 2
    probability = soft(label, 3)
    near = explain(np.roll(label, 2, 0), probability)
    assert near is None or near.kind != "shift"
    found = explain(np.roll(label, 4, 0), probability)
    assert found is not None and found.kind == "shift"


@pytest.mark.parametrize("names", [{1: 2, 2: 1}, {1: 3, 3: 1}, {1: 2, 2: 3, 3: 1}])
@pytest.mark.parametrize("shape", [(40, 48), (8, 40, 48)])
def test_exchanged_classes_are_renamed(names: dict[int, int], shape: tuple[int, ...]) -> None:
    label = blobs(shape)
    probability = soft(label, 4)
    given = label.copy()
    for value, name in names.items():
        given[label == value] = name
    found = explain(given, probability)
    assert found is not None and found.kind == "swap"
    assert set(found.detail["classes"]) == {(name, value) for value, name in names.items()}
    np.testing.assert_array_equal(found.label, label)
    assert found.after == pytest.approx(slow_agreement(label, probability), rel=1e-4)


def test_one_class_named_as_another() -> None:
    label = np.where(blobs() == 2, np.uint8(2), np.uint8(0))
    found = explain(np.where(label == 2, np.uint8(3), label), soft(label, 4))
    assert found is not None
    assert (found.kind, found.detail) == ("swap", {"classes": ((3, 2),)})
    np.testing.assert_array_equal(found.label, label)


def test_an_assignment_of_classes_is_the_best_of_all() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        label = rng.integers(0, 5, (6, 6)).astype(np.uint8)
        probability = np.moveaxis(rng.dirichlet([0.3] * 5, (6, 6)), -1, 0).astype(np.float32)
        case, placed = whole._case(label, probability, None), whole._foreground(label, 5)
        assert placed is not None
        overlap, counts = whole._overlaps(case, placed, crosswise=True)
        found = list(whole._swaps(case, overlap, counts))
        best = max(
            slow_agreement(np.array([0, *order], np.uint8)[label], probability)
            for order in itertools.permutations((1, 2, 3, 4))
        )
        reached = found[0].after if found else agreement(label, probability)
        assert reached == pytest.approx(best, rel=1e-4)


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations((1, 2, 3), 2)))
def test_a_class_that_fits_nowhere_takes_part_in_an_exchange(first: int, second: int) -> None:
    label = np.array([[first, first, second, second, 0, 0, 0, 0]], np.uint8)
    overlap = np.zeros((4, 4))
    overlap[first, second] = 2
    found = list(
        whole._swaps(whole._case(label, soft(label, 4), None), overlap, np.bincount(label[0], minlength=4) * [0, 1, 1, 1])
    )
    assert set(found[0].detail["classes"]) == {(first, second), (second, first)}


def test_a_single_class_is_less_sure_to_have_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    label = np.where(blobs() == 1, np.uint8(1), np.uint8(0))
    moved, mirrored = np.roll(label, 12, 1), label[:, ::-1].copy()
    found = explain(moved, soft(label, 2)), explain(mirrored, soft(label, 2))
    monkeypatch.setattr(whole, "ONE_CLASS", 0.0)
    surer = explain(moved, soft(label, 2)), explain(mirrored, soft(label, 2))
    assert found[0] is not None and found[1] is not None and surer[0] is not None and surer[1] is not None
    assert (found[0].kind, found[1].kind) == ("shift", "flip")
    assert found[0].confidence < surer[0].confidence
    assert found[1].confidence == surer[1].confidence


def test_no_swap_with_two_classes() -> None:
    label = np.where(blobs() > 0, np.uint8(1), np.uint8(0))
    found = explain(label[:, ::-1].copy(), soft(label, 2))
    assert found is not None and found.kind == "flip"


@pytest.mark.parametrize("kind", ["flip", "shift", "swap", "empty"])
def test_pixels_without_a_label_stay_where_they_are(kind: str) -> None:
    label = blobs()
    probability = soft(label, 4)
    given = {
        "flip": label[:, ::-1],
        "shift": slow_move(label, (5, 10))[0],
        "swap": np.array([0, 2, 1, 3], np.uint8)[label],
        "empty": np.zeros_like(label),
    }[kind].copy()
    given[:, 22:24] = IGNORE
    given[25] = IGNORE
    found = explain(given, probability)
    assert found is not None and found.kind == kind
    np.testing.assert_array_equal(found.label == IGNORE, given == IGNORE)
    known = given != IGNORE
    np.testing.assert_array_equal(found.label[known], label[known])
    assert found.before == pytest.approx(slow_agreement(given, probability), rel=1e-4)
    own = np.where(given == IGNORE, np.uint8(0), given)
    undone = {
        "flip": own[:, ::-1],
        "shift": slow_move(own, (-5, -10))[0],
        "swap": np.array([0, 2, 1, 3], np.uint8)[own],
        "empty": label,
    }[kind]
    assert found.after == pytest.approx(slow_agreement(np.where(given == IGNORE, given, undone), probability), rel=1e-4)


def test_what_is_predicted_where_there_is_no_label_tells_nothing() -> None:
    label = np.zeros((20, 20), np.uint8)
    label[5:15, 5:15] = IGNORE
    predicted = np.where(label == IGNORE, np.uint8(1), label)
    assert explain(label, soft(predicted, 2)) is None
    assert agreement(label, soft(predicted, 2)) == 1
    assert explain(np.full_like(label, IGNORE), soft(predicted, 2)) is None


def test_an_empty_label_is_a_finding_where_the_prediction_is_as_sure_as_elsewhere() -> None:
    label = blobs()
    empty = np.zeros_like(label)
    probability = soft(label, 4)
    typical = agreement(label, probability)
    found = explain(empty, probability, typical=typical)
    assert found is not None
    assert (found.kind, found.before, found.detail, found.displacement) == ("empty", 0.0, {}, None)
    assert found.after == pytest.approx(typical)
    np.testing.assert_array_equal(found.label, label)
    assert explain(empty, soft(label, 4, 0.4), typical=typical) is None
    assert explain(empty, soft(empty, 4), typical=typical) is None


def test_a_prediction_of_nothing_explains_nothing() -> None:
    label = blobs()
    assert explain(label, soft(np.zeros_like(label), 4)) is None
    assert explain(np.zeros_like(label), soft(np.zeros_like(label), 4), typical=0.9) is None


def test_the_better_it_fits_the_surer() -> None:
    label = blobs()
    given = label[:, ::-1].copy()
    confidences = []
    for damaged in (0, 2, 4):
        worse = given.copy()
        worse[:, 36 : 36 + damaged] = 0
        found = explain(worse, soft(label, 4), typical=0.9)
        assert found is not None
        confidences.append(found.confidence)
    assert 1 > confidences[0] > confidences[1] > confidences[2] > 0.5


def test_an_atypically_bad_fit_is_no_explanation() -> None:
    label = blobs()
    probability = 0.75 * soft(np.zeros_like(label), 4, 1.0) + 0.25 * soft(label, 4, 1.0)
    probability[:, label == 2] = soft(label, 4, 0.6)[:, label == 2]
    given = label[:, ::-1].copy()
    assert explain(given, probability.astype(np.float32), typical=0.2) is not None
    assert explain(given, probability.astype(np.float32), typical=0.99) is None


@pytest.mark.parametrize("fraction", [np.float16, np.float32])
def test_inputs_are_left_alone_and_may_be_read_only(fraction: type) -> None:
    label = blobs()
    given, probability = label[:, ::-1].copy(), soft(label, 4).astype(fraction)
    before, likely = given.copy(), probability.argmax(0).astype(np.uint8)
    given.flags.writeable = probability.flags.writeable = False
    found, same = explain(given, probability), explain(given, probability, predicted=likely)
    assert found is not None and same is not None
    np.testing.assert_array_equal(given, before)
    np.testing.assert_array_equal(found.label, same.label)
    assert found.confidence == same.confidence
