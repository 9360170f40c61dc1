"""Labels beside the others, without a network: what is usual, which images look alike, and what is to be doubted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from debride.audit.evidence import Evidence, plant, predicted_classes, rank, thin
from debride.audit.peers import Measured, Measures, Sight, compare, doubts, sight_of
from debride.audit.peers.alike import BLOCK, VOTERS, neighbours
from debride.audit.peers.typical import ENOUGH, FEW, middles, peers_of, reached, shares
from debride.evaluation.detection import average_precision
from debride.rng import generator
from debride.types import IGNORE, Case, Dataset

Label = npt.NDArray[np.uint8]
CLASSES = ("background", "disc", "bar")
SMALL = 32


def phantom(seed: int, size: int = 48) -> tuple[Label, npt.NDArray[np.float32]]:
    """A disc and a bar of varying place and size, and an image of them with noise; no mirror image of itself."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    cy, cx, radius = rng.normal(0.35, 0.02), rng.normal(0.3, 0.02), rng.uniform(0.12, 0.16)
    label = np.zeros((size, size), np.uint8)
    label[(y - cy) ** 2 + (x - cx) ** 2 < radius**2] = 1
    top, left = rng.normal(0.7, 0.02), rng.normal(0.45, 0.02)
    label[(abs(y - top) < rng.uniform(0.05, 0.08)) & (abs(x - left) < rng.uniform(0.2, 0.26))] = 2
    image = np.array([0.2, 0.6, 0.9])[label] + rng.normal(0, 0.05, label.shape)
    return label, image[None].astype(np.float32)


def case(at: int, **more: Any) -> Case:
    given = {"id": f"c{at}", "image": (Path("a"),), "label": Path("b"), "patient": f"p{at}", **more}
    return Case(**given)


class Looked:
    """Phantoms that were looked at, some with another label: by ``change`` of the first ``wrong`` of them."""

    def __init__(
        self,
        many: int,
        change: Callable[[Label], Label],
        wrong: int = 1,
        spacing: Any = None,
        planted: int = 0,
        size: int = 48,
    ) -> None:
        self.cases: list[Case] = [case(at) for at in range(many)]
        self.sights: list[Sight] = []
        self.planted: list[dict[str, Measured]] = []
        for at in range(many):
            label, image = phantom(at, size)
            label = change(label) if at < wrong else label
            measures, thinned = seen(label, image, spacing)
            self.sights.append(sight_of(measures.of(thinned.label), image, spacing))
            errors = planted_into(label, at) if at < planted else {}
            self.planted.append({kind: measures.of(given) for kind, given in errors.items()})

    def doubts(self) -> list[tuple[str, ...]]:
        dataset = Dataset(Path("x"), "folders", CLASSES, tuple(self.cases), 2)
        return doubts(self.cases, dataset, self.sights, compare(self.cases, 3, self.sights, self.planted))

    def entry(self, name: str) -> npt.NDArray[np.float64]:
        return compare(self.cases, 3, self.sights, self.planted).entries[name]


def planted_into(label: Label, at: int) -> dict[str, Label]:
    """Some of the errors that an audit plants."""
    errors = plant(label, 3, generator(0, "plant", at))
    return {kind: errors[kind] for kind in ("missing", "extra", "boundary") if kind in errors}


def seen(label: Label, image: npt.NDArray[Any], spacing: Any = None, classes: int = 3) -> tuple[Measures, Any]:
    nothing = np.broadcast_to(np.float32(0), (classes, *label.shape))
    thinned = thin(label, nothing, np.zeros_like(label), spacing)
    return Measures(label, image, classes, thinned), thinned


def measured(label: Label, image: npt.NDArray[Any] | None = None, spacing: Any = None) -> Measured:
    measures, thinned = seen(label, np.zeros((1, *label.shape), np.float32) if image is None else image, spacing)
    return measures.of(thinned.label)


# ---------------------------------------------------------------- one label


def test_voxels_pieces_and_gaps_are_counted_without_specks() -> None:
    label = np.zeros((9, 20, 20), np.uint8)
    label[1:8, 2:8, 2:8] = 1
    label[3:5] = 0
    label[1:7, 12:18, 12:18] = 2
    label[8, 19, 19] = 2
    told = measured(label)
    assert told.voxels == (5 * 36, 6 * 36 + 1)
    assert told.pieces == (2, 1) and told.gaps == (2, 1)
    assert measured(label[0]).pieces == (0, 0) and measured(np.full((8, 8), IGNORE, np.uint8)).voxels == (0, 0)


def test_a_slice_out_of_place_is_where_the_volume_jumps() -> None:
    label = np.zeros((8, 30, 30), np.uint8)
    label[1:7, 8:16, 8:16] = 1
    smooth = measured(label)
    label[4] = np.roll(label[4], 7, axis=1)
    told = measured(label)
    assert smooth.jump == 0 and told.jump > 0.5 and told.jump_at in (3, 4)


def test_of_large_volumes_voxels_are_exact_and_of_planted_copies_nearly() -> None:
    label = np.zeros((40, 200, 200), np.uint8)
    label[5:35, 20:180, 30:170] = 1
    label[10:20, 90:101, 50:61] = 2
    measures, thinned = seen(label, np.zeros((1, *label.shape), np.float32))
    assert thinned.step > 1
    assert measures.of(thinned.label).voxels == tuple(np.bincount(label.ravel())[1:].tolist())
    half = np.where(label == 1, label, np.uint8(0))
    half[:, :100] = 0
    told = measures.of(thinned.of(half)).voxels
    assert told[0] == pytest.approx(np.count_nonzero(half), rel=0.05) and told[1] == 0
    assert measures.of(thinned.of(half), half).voxels == (np.count_nonzero(half), 0)


@pytest.mark.parametrize(("axes", "turn"), [((1,), "left to right"), ((0,), "top to bottom"), ("transposed", "transposed")])
def test_the_edges_of_an_image_say_how_a_label_is_turned(axes: Any, turn: str) -> None:
    label, image = phantom(3)
    right = measured(label, image)
    wrong = measured(label.T.copy() if axes == "transposed" else np.flip(label, axes).copy(), image)
    assert right.mirrored < 0 < wrong.mirrored and wrong.turn == turn
    assert right.off_edge < wrong.off_edge


def test_a_constant_image_and_empty_labels_say_nothing() -> None:
    told = measured(phantom(0)[0])
    assert (told.mirrored, told.off_edge) == (0.0, 0.0)
    empty = Looked(12, np.zeros_like, wrong=12)
    assert not any(map(any, empty.doubts()))
    assert all(np.isfinite(empty.entry(name)).all() for name in compare(empty.cases, 3, empty.sights, empty.planted).entries)


# ---------------------------------------------------------------- what is usual


def test_what_is_usual_leaves_out_the_case_itself_and_is_of_its_group() -> None:
    rng, many = np.random.default_rng(0), 2 * ENOUGH + 3
    cases = [case(at, groups=(("site", "a" if at < ENOUGH else "b" if at < 2 * ENOUGH else "c"),)) for at in range(many)]
    values = rng.normal(size=(many, 2))
    values[rng.random(values.shape) < 0.2] = np.nan
    has = rng.random(values.shape) < 0.5
    counted = ~np.isnan(values)
    peers = peers_of(cases)
    medians, deviations = middles(values, peers)
    having, of = shares(has, counted, peers)
    many_reached = reached(np.nan_to_num(values), counted, peers)
    for at in range(many):
        first = ENOUGH * (at // ENOUGH)
        group = range(first, first + ENOUGH) if at < 2 * ENOUGH else range(many)
        others = [row for row in group if row != at]
        for column in range(2):
            theirs = [values[row, column] for row in others if counted[row, column]]
            assert medians[at, column] == pytest.approx(np.median(theirs))
            assert deviations[at, column] == pytest.approx(1.4826 * np.median(np.abs(theirs - np.median(theirs))))
            assert having[at, column] == sum(has[row, column] and counted[row, column] for row in others)
            assert of[at, column] == len(theirs)
            if counted[at, column]:
                assert many_reached[at, column] == sum(value >= values[at, column] for value in theirs)


def test_trusted_cases_say_what_is_usual_where_they_are_enough() -> None:
    cases = [case(at, trusted=at < ENOUGH) for at in range(2 * FEW)]
    values = np.where(np.arange(2 * FEW) < ENOUGH, 1.0, 5.0)[:, None]
    assert (middles(values, peers_of(cases))[0] == 1).all()
    assert (middles(values, peers_of([replace(each, trusted=False) for each in cases]))[0] == 5).all()


# ---------------------------------------------------------------- images that look alike


def test_neighbours_are_the_most_similar_of_other_images_in_whatever_blocks() -> None:
    rng, many = np.random.default_rng(0), BLOCK + 20
    prints = rng.integers(-90, 90, (many, 30)).astype(np.int8)
    image = np.arange(many) // 2
    near = neighbours(prints, image)
    unit = prints / np.linalg.norm(prints.astype(float), axis=1, keepdims=True)
    for row in (0, 5, BLOCK - 1, BLOCK, many - 1):
        likeness = unit @ unit[row]
        likeness[image == image[row]] = -np.inf
        np.testing.assert_array_equal(near.rows[row], np.argsort(-likeness, kind="stable")[:VOTERS])
        np.testing.assert_allclose(near.similar[row], np.sort(likeness)[::-1][:VOTERS], rtol=1e-5)


def test_a_copy_of_an_image_with_another_label_is_named_from_both_sides() -> None:
    looked = Looked(12, lambda label: label)
    moved = measured(np.roll(phantom(5)[0], 6, axis=1), phantom(5)[1])
    looked.cases.append(case(12))
    looked.sights.append(replace(looked.sights[5], measured=moved))
    looked.planted.append({})
    said = looked.doubts()
    assert any("same image as c12, other label (Dice 0." in text for text in said[5])
    assert any("same image as c5, other label (Dice 0." in text for text in said[12])
    looked.cases[12] = replace(looked.cases[12], id="c5@b", rater="b")
    looked.cases[5] = replace(looked.cases[5], id="c5@a", rater="a")
    assert not any("same image" in text for texts in looked.doubts() for text in texts)


def test_the_label_of_another_case_is_named() -> None:
    looked = Looked(14, lambda label: label)
    looked.sights[3] = replace(looked.sights[3], measured=looked.sights[7].measured)
    assert "same label as c7, whose image is another" in looked.doubts()[3]
    assert "same label as c3, whose image is another" in looked.doubts()[7]
    assert list(np.flatnonzero(looked.entry("copied"))) == [3]  # of two the one that fits less


# ---------------------------------------------------------------- doubts in words


def without_bar(label: Label) -> Label:
    return np.where(label == 2, np.uint8(0), label)


def small_disc(label: Label) -> Label:
    small = ndimage.binary_erosion(label == 1, iterations=4)
    return np.where((label == 1) & ~small, np.uint8(0), label)


def second_disc(label: Label) -> Label:
    label = label.copy()
    label[2:8, 38:46] = 1
    return label


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without_bar, "lacks bar, which 29 of 29 others have"),
        (small_disc, "area of disc "),
        (second_disc, "2 pieces of disc, others 1"),
        (lambda label: label[:, ::-1].copy(), "looks mirrored left to right"),
        (lambda label: np.array([0, 2, 1], np.uint8)[label], "looks as if classes were exchanged"),
        (lambda label: np.roll(label, -9, axis=0), "lies elsewhere than the labels of similar images"),
    ],
    ids=["lacks", "small", "pieces", "mirrored", "exchanged", "elsewhere"],
)
def test_what_stands_out_is_said_and_of_right_labels_nothing(change: Callable[[Label], Label], words: str) -> None:
    said = Looked(30, change, spacing=(2.0, 2.0)).doubts()
    assert any(text.startswith(words) for text in said[0]), said[0]
    assert not any(said[1:]), said


def test_a_label_without_an_outline_is_not_said_to_be_turned() -> None:
    looked = Looked(12, lambda label: np.full_like(label, IGNORE))
    for at, sight in enumerate(looked.sights[1:]):
        looked.sights[at + 1] = replace(sight, measured=replace(sight.measured, mirrored=-3 - at / 20))
    assert looked.sights[0].measured.turn == "" and compare(looked.cases, 3, looked.sights, looked.planted).edges[0] > 6
    assert not any("looks" in said for said in looked.doubts()[0])


def test_areas_are_in_mm_where_all_have_a_spacing_else_in_shares_of_the_image() -> None:
    (text,) = Looked(30, small_disc, spacing=(2.0, 2.0)).doubts()[0]
    assert "mm2, others " in text
    (text,) = Looked(30, small_disc).doubts()[0]
    assert text.startswith("area of disc ") and text.endswith(" % of the image")


def test_a_class_that_was_not_drawn_is_neither_lacking_nor_counted() -> None:
    looked = Looked(30, without_bar, wrong=10)
    assert looked.entry("lacks")[0] > 0 and looked.entry("wanting")[0] > 0
    lost = looked.entry("lost")[:10]
    looked.cases = [replace(each, annotated=(0, 1)) if at < 10 else each for at, each in enumerate(looked.cases)]
    assert not any(map(any, looked.doubts()))
    assert (looked.entry("lacks") == 0).all() and (looked.entry("wanting") == 0).all()
    assert (looked.entry("lost")[:10] < lost).all()


def test_one_case_alone_is_no_doubt() -> None:
    looked = Looked(1, without_bar)
    assert looked.doubts() == [()]
    assert all(np.isfinite(value) for value in compare(looked.cases, 3, looked.sights, [{}]).given([{}])[0].values())


def test_a_third_of_wrong_labels_does_not_become_the_rule() -> None:
    """A third of the labels lacks one class or is mirrored: they are still the most doubtful."""
    for change, name in ((without_bar, "wanting"), (lambda label: label[:, ::-1].copy(), "turned")):
        entry = Looked(45, change, wrong=15).entry(name)
        assert average_precision(entry, np.arange(45) < 15) > 0.9, name


# ---------------------------------------------------------------- with predictions


@cache
def lacking() -> tuple[Sequence[dict[str, float]], list[Any], Any, Looked]:
    """120 phantoms of which 4 lack the bar, and the evidence of a network that hardly sees it in half of the images."""
    looked = Looked(120, without_bar, wrong=4, planted=16, size=SMALL)
    given, planted = [], []
    for at in range(120):
        rng = np.random.default_rng(1000 + at)
        right, _ = phantom(at, SMALL)
        label = without_bar(right) if at < 4 else right
        sharp = np.stack([right == value for value in range(3)]).astype(np.float32)
        sharp[2] *= 0.15 if at % 2 else 0.7
        sharp[0] = 1 - sharp[1:].sum(axis=0)
        soft = ndimage.gaussian_filter(sharp, (0, 2, 2)) + rng.random(sharp.shape) * 0.2
        probability = (soft / soft.sum(axis=0)).astype(np.float32)
        said = Evidence(thin(label, probability, predicted_classes(probability)))
        given.append(said.against(label))
        errors = planted_into(label, at) if at < 16 else {}
        planted.append({kind: said.against(wrong) for kind, wrong in errors.items()})
    return given, planted, np.arange(120) < 4, looked


def test_a_class_that_nearly_all_have_is_missed_where_predictions_hardly_see_it() -> None:
    given, planted, wrong, looked = lacking()
    patients = [each.patient for each in looked.cases]
    before = average_precision(rank(given, planted, patients, 0).score, wrong)
    beside = compare(looked.cases, 3, looked.sights, looked.planted)
    after = average_precision(rank(beside.given(given), beside.planted(planted), patients, 0).score, wrong)
    assert after > 0.95 and after >= before, (before, after)
