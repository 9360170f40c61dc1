"""Every entry of the evidence against plain loops over pixels, on random labels and probabilities."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from debride.audit.evidence import gains as module
from debride.audit.evidence.gains import FAR, FLOOR, SMOOTHING, STEPS, TEMPERATURE, Evidence, Thinned, thin
from debride.audit.evidence.pieces import number_pieces, predicted_classes
from debride.types import IGNORE

Label = npt.NDArray[np.uint8]
Place = tuple[int, ...]
CASES = [
    ((13, 17), 2, None),
    ((16, 12), 3, (0.7, 1.9)),
    ((11, 14), 4, None),
    ((3, 9, 11), 2, (5.0, 0.9, 0.9)),
    ((6, 8, 9), 4, None),
]


def example(shape: Place, classes: int, seed: int = 0, unknown: float = 0.0) -> tuple[Label, npt.NDArray[np.float32]]:
    """A label of boxes, and noisy probabilities of that label displaced, some of them exactly 0 and 1."""
    rng = np.random.default_rng(seed)
    label = np.zeros(shape, np.uint8)
    for value in range(1, classes):
        corner = [int(rng.integers(0, n // 2 + 1)) for n in shape]
        label[tuple(slice(a, a + max(1, n // 3)) for a, n in zip(corner, shape, strict=True))] = value
    moved = np.roll(label, (1, 2), (-2, -1))
    weight = rng.gamma(0.4, size=(classes, *shape)) + 3.0 * (np.arange(classes).reshape(-1, *(1,) * len(shape)) == moved)
    probability = (weight / weight.sum(axis=0)).astype(np.float32)
    sure = rng.random(shape) < 0.2
    probability[:, sure] = np.eye(classes, dtype=np.float32)[moved[sure]].T
    label[rng.random(shape) < unknown] = IGNORE
    return label, probability


def against_thinned(label: Label, probability: npt.NDArray[Any]) -> dict[str, float]:
    seen = thin(label, probability, predicted_classes(probability))
    return Evidence(seen).against(seen.label)


def evidence_of(label: Label, probability: npt.NDArray[Any], spacing: Any = None) -> Evidence:
    return Evidence(Thinned(label, probability, predicted_classes(probability), spacing, 1, (0,) * label.ndim))


def against(label: Label, probability: npt.NDArray[Any], spacing: Any = None) -> dict[str, float]:
    return evidence_of(label, probability, spacing).against(label)


class Slow:
    """The evidence by loops: pixels without a label say nothing, whatever is moved onto them."""

    def __init__(self, label: Label, probability: npt.NDArray[Any], spacing: tuple[float, ...] | None) -> None:
        self.label, self.probability, self.spacing = label, probability, spacing
        self.shape, self.classes = label.shape, len(probability)
        self.units = spacing or (1.0,) * label.ndim
        self.places = list(np.ndindex(label.shape))
        self.p = {(k, at): float(probability[(k, *at)]) for k in range(self.classes) for at in self.places}
        self.known = {at for at in self.places if label[at] != IGNORE}
        likeliest = {at: max(range(self.classes), key=lambda k: self.p[k, at]) for at in self.places}
        self.predicted = {at: likeliest[at] if at in self.known else 0 for at in self.places}
        self.ids = {at: int(label[at]) if at in self.known else 0 for at in self.places}

    def log(self, k: int, at: Place) -> float:
        return math.log(max(self.p[k, at], FLOOR)) if at in self.known else 0.0

    def likelihood(self, ids: dict[Place, int]) -> float:
        return sum(self.log(ids[at], at) for at in self.places)

    def gain(self, ids: dict[Place, int]) -> float:
        return self.likelihood(ids) - self.likelihood(self.ids)

    def expected(self, at: Place) -> float:
        return sum(self.p[k, at] * self.log(k, at) for k in range(self.classes))

    def surprise(self, at: Place) -> float:
        return self.expected(at) - self.log(self.ids[at], at) if at in self.known else 0.0

    def lost(self, at: Place) -> float:
        return self.log(self.predicted[at], at) - self.log(self.ids[at], at)

    def flip(self) -> float:
        mirrored = (
            {at: self.ids[(*at[:axis], n - 1 - at[axis], *at[axis + 1 :])] for at in self.places}
            for axis, n in enumerate(self.shape)
        )
        return max(self.gain(ids) for ids in mirrored)

    def swap(self) -> float:
        best = []
        for a, b in itertools.combinations(range(1, self.classes), 2):
            if {a, b} & set(self.ids.values()):
                best.append(self.gain({at: {a: b, b: a}.get(k, k) for at, k in self.ids.items()}))
        return max(best, default=0.0)

    def shift(self) -> float:
        best = 0.0
        for offset in itertools.product(*(range(-(n // FAR), n // FAR + 1) for n in self.shape)):
            moved = {at: self.ids.get(tuple(a - o for a, o in zip(at, offset, strict=True)), 0) for at in self.places}
            best = max(best, self.gain(moved))
        return best

    def distance(self, a: Place, b: Place) -> float:
        return math.hypot(*((x - y) * unit for x, y, unit in zip(a, b, self.units, strict=True)))

    def resized(self) -> tuple[float, float]:
        """Only where no two classes are equally near."""
        objects = [at for at in self.places if self.ids[at]]
        ground = [at for at in self.places if not self.ids[at]]
        grown, shrunken = [0.0], [0.0]
        if not objects or not ground:
            return 0.0, 0.0
        to_object = {at: min((self.distance(at, q), self.ids[q]) for q in objects) for at in ground}
        to_ground = {at: min(self.distance(at, q) for q in ground) for at in objects}
        for step in STEPS:
            reach = step * min(self.units) + 1e-4
            near = [(at, value) for at, (distance, value) in to_object.items() if distance <= reach]
            grown.append(sum(self.log(value, at) - self.log(0, at) for at, value in near))
            inside = [at for at, distance in to_ground.items() if distance <= reach]
            shrunken.append(sum(self.log(0, at) - self.log(self.ids[at], at) for at in inside))
        return max(grown), max(shrunken)

    def window(self, side: int) -> float:
        """Beyond the image its mirror image."""
        half, sums = side // 2, []

        def mirrored(a: int, n: int) -> int:
            a %= 2 * n
            return min(a, 2 * n - 1 - a)

        values = {at: self.surprise(at) for at in self.places}
        for at in self.places:
            each = (range(a - half, a + half + 1) for a in at)
            sums.append(
                sum(values[tuple(mirrored(a, n) for a, n in zip(q, self.shape, strict=True))] for q in itertools.product(*each))
            )
        return max(sums)


@pytest.mark.parametrize(("shape", "classes", "spacing"), CASES)
@pytest.mark.parametrize("unknown", [0.0, 0.15])
def test_as_plain_loops_say(shape: Place, classes: int, spacing: tuple[float, ...] | None, unknown: float) -> None:
    label, probability = example(shape, classes, seed=classes, unknown=unknown)
    assert_as_slow(Slow(label, probability, spacing), against(label, probability, spacing))


@pytest.mark.parametrize(("shape", "classes", "spacing"), [CASES[2], CASES[4]])
def test_several_labels_of_one_case(shape: Place, classes: int, spacing: tuple[float, ...] | None) -> None:
    """What is worked out once for a case serves labels within the objects of its own, and beyond them."""
    label, probability = example(shape, classes, seed=classes, unknown=0.1)
    case = evidence_of(label, probability, spacing)
    known, less = label != IGNORE, label.copy()
    less[: shape[0] // 2] = 0
    less[~known] = IGNORE
    for given in (less, np.where(known, np.where(label[..., ::-1] == IGNORE, 0, label[..., ::-1]), label), label):
        found = case.against(given)
        assert_as_slow(Slow(given, probability, spacing), found)
        assert found == evidence_of(label, probability, spacing).against(given), "depends on what was asked before"


def assert_as_slow(slow: Slow, found: dict[str, float]) -> None:
    confidence = [max(slow.p[slow.ids[at], at], FLOOR) for at in slow.known]
    weights = [math.exp((1 - c) / TEMPERATURE) for c in confidence]
    numbers, kinds = number_pieces(slow.label, predicted_classes(slow.probability), slow.spacing)
    shift = slow.shift()
    expected = {
        "piece": max(sum(slow.lost(at) for at in slow.places if numbers[at] == n + 1) for n in range(len(kinds))),
        "flip": slow.flip(),
        "swap": slow.swap(),
        "uncertainty": -sum(map(slow.expected, slow.places)),
        "self-confidence": sum(w * c for w, c in zip(weights, confidence, strict=True)) / sum(weights),
        "shift": shift,
        "window": slow.window(3),
    }
    assert shift > 0
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-4, abs=2e-3), name


@pytest.mark.parametrize(("shape", "classes", "spacing"), CASES[:1] + CASES[3:4] + [((10, 12), 2, (0.9, 0.9))])
@pytest.mark.parametrize("radius", [0, 2, -1])
def test_grown_and_shrunken(shape: Place, classes: int, spacing: tuple[float, ...] | None, radius: int) -> None:
    label, probability = example(shape, classes, seed=7)
    label[...] = 0
    middle = tuple(slice(n // 4, n - n // 4) for n in shape[-2:])
    label[(..., *middle)] = 1
    true = np.zeros_like(label)
    true[(..., *(slice(max(0, m.start - radius), m.stop + radius) for m in middle))] = 1
    probability[:] = 0.4 * probability + 0.6 * np.stack([true == 0, true == 1])
    grow, shrink = Slow(label, probability, spacing).resized()
    found = against(label, probability, spacing)
    assert found["grow"] == pytest.approx(grow, rel=1e-4, abs=1e-3)
    assert found["shrink"] == pytest.approx(shrink, rel=1e-4, abs=1e-3)
    assert (grow > 0) >= (radius > 0)
    assert (shrink > 0) >= (radius < 0)


@pytest.mark.parametrize("unit", [0.9, 0.7, 0.3, 1.1])
def test_the_last_step_is_taken_whole_in_any_unit(unit: float) -> None:
    label = np.zeros((40, 40), np.uint8)
    label[10:31, 10:31] = 1
    probability = np.full((2, 40, 40), 0.5, np.float32)
    probability[:, 10 + 6 : 31 - 6, 10 + 6 : 31 - 6] = np.array([0.1, 0.9])[:, None, None]
    ring = label.astype(bool)
    ring[16:25, 16:25] = False
    probability[:, ring] = np.array([0.9, 0.1])[:, None]
    found = against(label, probability, (unit, unit))
    assert found["shrink"] == pytest.approx(np.count_nonzero(ring) * math.log(9), rel=1e-4)
    assert found["grow"] == pytest.approx(0, abs=1e-3)


def test_grown_objects_keep_their_classes() -> None:
    label = np.zeros((14, 25), np.uint8)
    label[4:10, 4:7], label[4:10, 18:21] = 1, 2
    probability = np.full((3, 14, 25), 0.05, np.float32)
    probability[1, 2:12, 2:9] = probability[2, 2:12, 16:23] = 0.9
    probability[0] = 1 - probability[1] - probability[2]
    grow, _ = Slow(label, probability, None).resized()
    assert grow > 0
    assert against(label, probability)["grow"] == pytest.approx(grow, rel=1e-4)


@pytest.mark.parametrize("shape", [(12, 15), (4, 9, 10)])
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("kind", ["empty", "full", "unknown"])
def test_labels_without_an_outline(shape: Place, classes: int, kind: str) -> None:
    label = np.full(shape, {"empty": 0, "full": 1, "unknown": IGNORE}[kind], np.uint8)
    _, probability = example(shape, classes)
    with np.errstate(all="raise"):
        found = against(label, probability)
        nothing = against(label, np.stack([np.ones(shape), *[np.zeros(shape)] * (classes - 1)]).astype(np.float32))
    assert all(math.isfinite(value) for value in (*found.values(), *nothing.values()))
    if kind == "empty":
        assert found["shift"] == found["swap"] == found["grow"] == found["shrink"] == 0
        assert found["flip"] == pytest.approx(0, abs=1e-3)
        assert found["piece"] > nothing["piece"] == 0
    if kind == "unknown":
        assert found["window"] == found["piece"] == 0
        assert found["self-confidence"] == 1


def test_the_least_probability_bounds_what_a_pixel_says() -> None:
    label, probability = np.zeros((8, 8), np.uint8), np.zeros((2, 8, 8), np.float32)
    probability[0] = 1
    probability[:, 3, 3] = 0, 1
    found = against(label, probability)
    assert found["piece"] == pytest.approx(-math.log(FLOOR))
    assert found["window"] == pytest.approx(-math.log(FLOOR), rel=1e-4)
    assert found["self-confidence"] < 0.1
    assert found["uncertainty"] == pytest.approx(0, abs=1e-5)


def test_the_largest_piece_counts_alone() -> None:
    label = np.zeros((20, 20), np.uint8)
    predicted = label.copy()
    predicted[2:5, 2:5] = predicted[10:15, 10:15] = 1
    probability = np.stack([np.where(predicted == k, 0.9, 0.1) for k in range(2)]).astype(np.float32)
    found = against(label, probability)
    assert found["piece"] == pytest.approx(25 * math.log(9), rel=1e-5)
    assert against(predicted, probability)["piece"] == 0


def test_how_ragged_an_outline_is() -> None:
    label, probability = example((13, 17), 3, seed=4)
    padded = np.pad(label > 0, SMOOTHING)
    kernel = {d: math.exp(-d * d / (2 * SMOOTHING**2)) for d in range(-3 * SMOOTHING, 3 * SMOOTHING + 1)}
    height, width = padded.shape
    changed = 0
    for y, x in np.ndindex(padded.shape):
        near = sum(
            a * b
            for (i, a), (j, b) in itertools.product(kernel.items(), repeat=2)
            if padded[min(max(y + i, 0), height - 1), min(max(x + j, 0), width - 1)]
        )
        changed += (near > 0.5 * sum(kernel.values()) ** 2) != padded[y, x]
    assert changed > 0
    assert against(label, probability)["ragged"] == pytest.approx(changed / math.sqrt(padded.sum()))


def test_half_precision_says_about_the_same() -> None:
    label, probability = example((14, 15), 3, seed=2)
    half = probability.astype(np.float16)
    for name, value in against(label, half.astype(np.float32)).items():
        assert against(label, half)[name] == pytest.approx(value, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("shape", [(160, 180), (24, 72, 80)])
def test_a_large_image_is_thinned(shape: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    label, predicted = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    label[..., 20:60, 20:62] = 1
    predicted[..., 26:66, 24:66] = 1
    probability = np.stack([np.where(predicted == k, 0.85, 0.15) for k in range(2)]).astype(np.float16)
    whole = against(label, probability)
    monkeypatch.setattr(module, "VOXELS", label.size // 5)
    seen = thin(label, probability, predicted)
    assert 1 < seen.label.size <= module.VOXELS and seen.probability.shape[1:] == seen.label.shape == seen.predicted.shape
    thinned = against_thinned(label, probability)
    for name in ("piece", "shift", "shrink"):
        assert thinned[name] == pytest.approx(whole[name], rel=0.25), name
    assert thinned["self-confidence"] == pytest.approx(whole["self-confidence"], abs=0.05)
    assert all(map(math.isfinite, thinned.values()))


def test_each_voxel_that_is_looked_at_stands_for_those_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    label, predicted = np.zeros((64, 64), np.uint8), np.full((64, 64), 1, np.uint8)
    probability = np.stack([np.full((64, 64), 0.25), np.full((64, 64), 0.75)]).astype(np.float32)
    for voxels, side in ((64 * 64, 64), (64 * 64 - 1, 32), (32 * 32 - 1, 22), (300, 16)):
        monkeypatch.setattr(module, "VOXELS", voxels)
        step = -(-64 // side)
        found = against_thinned(label, probability)
        assert thin(label, probability, predicted, (2.0, 1.0)).spacing == (2.0 * step, 1.0 * step)
        assert found["piece"] == pytest.approx(side**2 * step**2 * math.log(3), rel=1e-5)


def test_of_a_large_image_what_is_labelled_is_looked_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    label, probability = np.zeros((200, 200), np.uint8), np.zeros((2, 200, 200), np.float32)
    label[150:160, 100:110] = 1
    probability[0], probability[1] = 0.6, 0.4
    monkeypatch.setattr(module, "VOXELS", 42 * 42)
    found = against_thinned(label, probability)
    assert found["piece"] == pytest.approx(100 * math.log(1.5), rel=1e-5)
    assert found["uncertainty"] == pytest.approx(42 * 42 * -(0.6 * math.log(0.6) + 0.4 * math.log(0.4)), rel=1e-4)
    sparse = np.full_like(label, IGNORE)
    sparse[150:160, 100:110] = 1
    assert thin(sparse, probability, np.zeros_like(label)).label.shape == (42, 42)
    empty = against_thinned(np.zeros_like(label), probability)
    assert all(map(math.isfinite, empty.values()))


def test_gaps_and_strays_are_told_apart_from_other_pieces() -> None:
    label, predicted = np.zeros((9, 12, 12), np.uint8), np.zeros((9, 12, 12), np.uint8)
    predicted[1:6, 3:9, 3:9] = 1
    label[1:6, 3:9, 3:9] = 1
    label[3] = 0  # a slice left out
    label[8, 2:6, 2:6] = 1  # one labelled beyond all that is predicted
    probability = np.stack([np.where(predicted == number, 0.9, 0.1) for number in range(2)]).astype(np.float32)
    found = against(label, probability)
    assert found["gap"] == pytest.approx(36 * math.log(9), rel=1e-5)
    assert found["stray"] == pytest.approx(16 * math.log(9), rel=1e-5)
    assert against(predicted, probability)["gap"] == against(predicted, probability)["stray"] == 0
