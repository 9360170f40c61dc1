import csv
import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.datasets import build_folder, build_manifest, save_json, save_nifti, save_png, save_rows

from debride.audit.raters.compare import audit_raters, write_consensus
from debride.audit.raters.consensus import MARGIN, binary_staple, joint_box, majority, staple
from debride.audit.raters.rater_agreement import Agreement, agreement, boundary_bias, rater_table, rejected_labels
from debride.data.check import find_problems
from debride.data.open import open_dataset
from debride.data.pixels.images import read_label
from debride.types import IGNORE, DataError


def disc(shape, centre, radius):
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    return np.linalg.norm(grid - np.asarray(centre), axis=-1) <= radius


def random_labels(seed, raters, shape, classes, ignore=0.1):
    """Labels that agree in part, with some pixels without a label."""
    rng = np.random.default_rng(seed)
    base = rng.integers(0, classes, shape)
    labels = np.where(rng.random((raters, *shape)) < 0.4, rng.integers(0, classes, (raters, *shape)), base).astype(np.uint8)
    labels[rng.random(labels.shape) < ignore] = IGNORE
    return labels


def rows_of(labels, classes, spacing=None):
    names = [f"r{i}" for i in range(len(labels))]
    return agreement(labels, names, classes, image="scan", patient="P", split="train", spacing=spacing)


def slow_votes(labels, classes, at):
    votes = [0] * classes
    for label in labels:
        if label[at] != IGNORE:
            votes[label[at]] += 1
    return votes


@pytest.mark.parametrize("shape", [(9, 11), (3, 6, 5)])
@pytest.mark.parametrize(("raters", "classes"), [(1, 2), (2, 3), (4, 2), (5, 4)])
def test_the_majority_counts_votes_and_leaves_ties_to_the_lowest_id(shape, raters, classes):
    labels = random_labels(1, raters, shape, classes)
    found = majority(labels, classes)
    for at in np.ndindex(*shape):
        votes = slow_votes(labels, classes, at)
        assert found[at] == (votes.index(max(votes)) if max(votes) else IGNORE)
    assert (found == IGNORE).any() == (raters < 3)


def test_the_majority_is_the_same_in_pieces(monkeypatch):
    labels = random_labels(2, 3, (20, 7), 3)
    whole = majority(labels, 3)
    monkeypatch.setattr("debride.audit.raters.consensus._AT_ONCE", 20)
    assert np.array_equal(majority(labels, 3), whole)


def slow_staple(masks, iterations=3000):
    """Expectation maximisation for masks (R, N) in plain loops, with the prior of the mean share."""
    raters, size = masks.shape
    prior = sum(sum(map(int, mask)) for mask in masks) / masks.size
    p, q = [0.99999] * raters, [0.99999] * raters
    weight = [0.0] * size
    for _ in range(iterations):
        for i in range(size):
            a, b = prior, 1 - prior
            for j in range(raters):
                a *= p[j] if masks[j, i] else 1 - p[j]
                b *= 1 - q[j] if masks[j, i] else q[j]
            weight[i] = a / (a + b)
        total = sum(weight)
        before = p + q
        p = [sum(w for w, m in zip(weight, masks[j], strict=True) if m) / total for j in range(raters)]
        q = [sum(1 - w for w, m in zip(weight, masks[j], strict=True) if not m) / (size - total) for j in range(raters)]
        if max(abs(x - y) for x, y in zip(before, p + q, strict=True)) < 1e-12:
            break
    return np.array(weight), p, q


@pytest.mark.parametrize("errors", [(0.02, 0.1, 0.2), (0.05, 0.05, 0.3, 0.1)])
def test_staple_is_that_of_a_slow_version(errors):
    rng = np.random.default_rng(3)
    truth = disc((12, 14), (6, 6), 4)
    masks = np.stack([truth ^ (rng.random(truth.shape) < error) for error in errors])
    probability, sensitivity, specificity = binary_staple(masks)
    weight, p, q = slow_staple(masks.reshape(len(masks), -1))
    assert probability.dtype == np.float64
    assert np.allclose(probability.ravel(), weight, rtol=0, atol=1e-3)
    assert np.allclose(sensitivity, p, rtol=0, atol=1e-3) and np.allclose(specificity, q, rtol=0, atol=1e-3)
    assert np.abs(probability - masks.mean(axis=0)).max() > 0.01


def test_staple_where_some_have_no_label_follows_from_where_all_have():
    rng = np.random.default_rng(4)
    truth = disc((16, 16), (8, 8), 5)
    masks = np.stack([truth ^ (rng.random(truth.shape) < error) for error in (0.05, 0.1, 0.25)])
    known = np.ones_like(masks)
    known[0, :3] = known[1, 2:5] = False
    known[:, 15] = False
    probability, p, q = binary_staple(masks & known, known)
    everyone = known.all(axis=0)
    part, p_part, q_part = binary_staple(masks[:, everyone].reshape(3, 1, -1))
    assert np.array_equal(probability[everyone], part.ravel())
    assert np.array_equal(p, p_part) and np.array_equal(q, q_part)
    prior = masks[:, everyone].mean()
    for at in zip(*np.nonzero(~everyone), strict=True):
        a, b = prior, 1 - prior
        for j in range(3):
            if known[j][at]:
                a *= p[j] if masks[j][at] else 1 - p[j]
                b *= 1 - q[j] if masks[j][at] else q[j]
        assert probability[at] == pytest.approx(a / (a + b) if known[:, at[0], at[1]].any() else 0, abs=1e-5)


def test_staple_without_a_place_that_all_labelled_is_the_share_of_votes():
    masks = np.array([[1, 0, 0, 0], [0, 0, 1, 0]], bool)
    known = np.array([[1, 1, 0, 0], [0, 0, 1, 0]], bool)
    probability, p, q = binary_staple(masks, known)
    assert probability.tolist() == [1, 0, 1, 0]
    assert np.isnan(p).all() and np.isnan(q).all()


def test_staple_of_one_rater_of_equal_ones_and_of_nothing_is_what_they_say():
    label = (disc((20, 20), (9, 9), 5) * 1 + disc((20, 20), (9, 9), 2)).astype(np.uint8)
    for labels in (label[None], np.stack([label] * 3), np.zeros((3, 20, 20), np.uint8), np.ones((2, 20, 20), np.uint8)):
        found = staple(labels, 3)
        assert np.array_equal(found.label, labels[0])
        given = np.array([(labels == class_id).any() for class_id in (1, 2)])
        assert np.array_equal(np.isnan(found.sensitivity), np.broadcast_to(~given, (len(labels), 2)))
        assert (found.sensitivity[:, given] == 1).all() and (found.specificity[:, given] == 1).all()


def test_an_empty_label_does_not_take_the_object_of_the_others():
    label = disc((20, 20), (9, 9), 5).astype(np.uint8)
    found = staple(np.stack([label, np.zeros_like(label), label]), 2)
    assert np.array_equal(found.label, label)
    assert np.allclose(found.sensitivity[:, 0], [1, 0, 1], atol=1e-3)


def test_staple_takes_the_class_of_the_largest_probability():
    labels = random_labels(5, 4, (15, 16), 4, ignore=0)
    labels[:, :4] = labels[:, :, :2] = 0
    labels[0, 0, 0] = IGNORE
    labels[:, 14, 15] = IGNORE
    found = staple(labels, 4)
    best, chosen = np.full(labels.shape[1:], 0.5 - 1e-9), np.zeros(labels.shape[1:], np.uint8)
    for class_id in (1, 2, 3):
        box = joint_box(labels == class_id, MARGIN)
        inside = labels[(slice(None), *box)]
        probability, p, _ = binary_staple(inside == class_id, inside != IGNORE)
        assert np.array_equal(found.sensitivity[:, class_id - 1], p)
        for at in np.ndindex(*probability.shape):
            there = tuple(i + b.start for i, b in zip(at, box, strict=True))
            if probability[at] > best[there]:
                best[there], chosen[there] = probability[at], class_id
    chosen[14, 15] = IGNORE
    assert np.array_equal(found.label, chosen)
    assert len(np.unique(chosen)) == 5


def test_what_lies_far_away_changes_nothing():
    small = random_labels(6, 3, (12, 12), 2, ignore=0)
    wide = np.pad(small, ((0, 0), (MARGIN, 300), (MARGIN, 300)))
    found = staple(wide, 2).label[MARGIN : MARGIN + 12, MARGIN : MARGIN + 12]
    assert np.array_equal(
        found, staple(np.pad(small, ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN))), 2).label[MARGIN:-MARGIN, MARGIN:-MARGIN]
    )


def test_staple_never_fails_on_small_masks():
    rng = np.random.default_rng(7)
    for _ in range(200):
        masks = rng.random((rng.integers(2, 5), 4, 4)) < rng.random()
        probability, p, q = binary_staple(masks)
        assert ((probability >= 0) & (probability <= 1)).all(), masks
        assert not np.isnan(p).any() and not np.isnan(q).any(), masks


def slow_surface(mask):
    found = []
    for at in zip(*np.nonzero(mask), strict=True):
        for axis, step in itertools.product(range(mask.ndim), (-1, 1)):
            other = list(at)
            other[axis] += step
            if 0 <= other[axis] < mask.shape[axis] and not mask[tuple(other)]:
                found.append(at)
                break
    return found


def slow_bias(one, other, spacing):
    def away(at, mask, surface):
        nearest = min(np.linalg.norm((np.array(at) - point) * spacing) for point in surface)
        return -nearest if mask[at] else nearest

    surfaces = slow_surface(one), slow_surface(other)
    if not all(surfaces):
        return float("nan")
    there = np.mean([away(at, other, surfaces[1]) for at in surfaces[0]])
    back = np.mean([away(at, one, surfaces[0]) for at in surfaces[1]])
    return (there - back) / 2


@pytest.mark.parametrize(("shape", "spacing"), [((12, 13), (1.0, 1.0)), ((12, 9), (0.5, 2.0)), ((5, 7, 6), (3.0, 1.0, 1.5))])
def test_the_bias_is_that_of_a_slow_version(shape, spacing):
    rng = np.random.default_rng(8)
    for _ in range(8):
        one, other = (disc(shape, rng.uniform(0, shape), rng.uniform(1, 4)) for _ in range(2))
        expected = slow_bias(one, other, spacing)
        assert boundary_bias(one, other, spacing) == pytest.approx(expected, abs=1e-4, nan_ok=True)
        assert boundary_bias(other, one, spacing) == pytest.approx(-expected, abs=1e-4, nan_ok=True)


def test_the_bias_of_a_square_moved_outwards_is_the_distance():
    square = np.zeros((40, 40), bool)
    square[12:25, 12:25] = True
    for distance in (1, 3):
        larger = np.zeros_like(square)
        larger[12 - distance : 25 + distance, 12 - distance : 25 + distance] = True
        assert boundary_bias(larger, square, None) == pytest.approx(distance, rel=0.1)
        assert boundary_bias(larger, square, (0.5, 0.5)) == pytest.approx(distance / 2, rel=0.1)
    assert boundary_bias(square, square, None) == 0
    assert boundary_bias(square, np.roll(square, 5, axis=1), None) == pytest.approx(0, abs=1e-6)
    assert np.isnan(boundary_bias(square, np.zeros_like(square), None))
    assert np.isnan(boundary_bias(square, np.ones_like(square), None))
    assert np.isnan(boundary_bias(np.zeros_like(square), np.zeros_like(square), None))


def slow_dice(one, other):
    total = one.sum() + other.sum()
    return 2 * (one & other).sum() / total if total else float("nan")


@pytest.mark.parametrize(("raters", "classes", "shape"), [(2, 2, (8, 9)), (3, 3, (9, 8)), (4, 4, (3, 6, 6)), (5, 2, (8, 8))])
def test_agreement_is_that_of_a_slow_version(raters, classes, shape):
    labels = random_labels(9 + raters, raters, shape, classes)
    labels[:, :2] = 0
    labels[1][labels[1] == classes - 1] = 0
    spacing = (2.0, 1.5, 1.0)[-len(shape) :]
    rows = {(row.rater, row.class_id): row for row in rows_of(labels, classes, spacing)}
    assert len(rows) == raters * (classes - 1)
    for j, class_id in itertools.product(range(raters), range(1, classes)):
        mask = np.zeros(shape, bool)
        strict, lenient = np.zeros(shape, bool), np.zeros(shape, bool)
        for at in np.ndindex(*shape):
            votes = slow_votes(np.delete(labels, j, axis=0), classes, at)
            if labels[j][at] == IGNORE or not max(votes):
                continue
            mask[at] = labels[j][at] == class_id
            lenient[at] = votes[class_id] == max(votes)
            strict[at] = lenient[at] and votes.count(max(votes)) == 1
        row = rows[f"r{j}", class_id]
        assert row.voxels == mask.sum() and row.voxels_others == (strict.sum() + lenient.sum()) / 2
        assert row.dice_to_others == pytest.approx((slow_dice(mask, strict) + slow_dice(mask, lenient)) / 2)
        assert row.volume_difference == pytest.approx(
            row.voxels / row.voxels_others - 1 if row.voxels_others else np.nan, nan_ok=True
        )
        biases = [slow_bias(mask, reference, spacing) for reference in (strict, lenient)]
        expected = np.nanmean(biases) if not np.isnan(biases).all() else np.nan
        assert row.bias == pytest.approx(expected, abs=1e-4, nan_ok=True)
        assert row.rejected == (row.dice_to_others < 0.5)
        pairs = []
        for i in range(raters):
            known = (labels[j] != IGNORE) & (labels[i] != IGNORE)
            if i != j:
                pairs.append(slow_dice((labels[j] == class_id) & known, (labels[i] == class_id) & known))
        assert row.dice_pairwise == pytest.approx(np.nanmean(pairs))
        assert (row.others, row.unit) == (raters - 1, "mm")


def test_three_raters_are_measured_alike_from_both_sides():
    """The majority of two others is where both agree, or where one does: either alone would shift every bias."""
    labels = np.stack([disc((40, 40), (20, 20), radius) for radius in (8, 10, 12)]).astype(np.uint8)
    biases = [row.bias for row in rows_of(labels, 2)]
    assert biases[0] == pytest.approx(-biases[2], abs=0.3)
    assert biases == pytest.approx([-3, 0, 3], abs=0.4)


def test_empty_labels():
    some, none = disc((20, 20), (10, 10), 4).astype(np.uint8), np.zeros((20, 20), np.uint8)
    empty = rows_of(np.stack([none] * 3), 2)
    assert all(np.isnan(row.dice_to_others) and np.isnan(row.bias) and not row.rejected and not row.voxels for row in empty)
    assert rejected_labels(empty) == (0, 0)
    alone = rows_of(np.stack([some, none, none]), 2)
    assert [row.rejected for row in alone] == [True, False, False]
    assert [row.dice_to_others for row in alone] == [0, 0.5, 0.5]
    missed = rows_of(np.stack([some, some, some, none]), 2)
    assert [row.rejected for row in missed] == [False, False, False, True]
    assert [row.dice_to_others for row in missed] == [1, 1, 1, 0]
    assert missed[0].unit == "px"


def row(image, rater, bias, dice=0.9, patient=None, class_id=1, unit="px"):
    return Agreement(
        image=image,
        patient=patient or image,
        split="train",
        rater=rater,
        class_id=class_id,
        others=2,
        voxels=10,
        voxels_others=10,
        volume_difference=0.0,
        dice_to_others=dice,
        dice_pairwise=dice,
        bias=bias,
        unit=unit,
        rejected=dice < 0.5,
    )


def test_the_table_ranks_raters_by_their_typical_displacement():
    nan = float("nan")
    rows = [row(f"i{i}", "far", 3 + 0.1 * (-1) ** i) for i in range(6)]
    rows += [row(f"i{i}", "good", 0.1 * (-1) ** i) for i in range(6)]
    rows += [row(f"i{i}", "sloppy", 1.5 * (-1) ** i, dice=0.4 if i == 0 else 0.8) for i in range(6)]
    rows += [row("i0", "never", nan, dice=0.0), row("i1", "never", nan, dice=nan)]
    table = rater_table(rows)
    assert [(line.rank, line.rater) for line in table] == [(1, "good"), (2, "sloppy"), (3, "far"), (4, "never")]
    _, sloppy, far, never = table
    assert far.bias == pytest.approx(3) and far.low < 3 < far.high and far.high - far.low < 0.3
    assert sloppy.bias == pytest.approx(0) and sloppy.spread == pytest.approx(1.5 * (6 / 5) ** 0.5)
    assert sloppy.typical == pytest.approx(1.5) and sloppy.dice == pytest.approx((0.4 + 5 * 0.8) / 6)
    assert (sloppy.rejected, sloppy.labels, sloppy.patients) == (1, 6, 6)
    assert (never.labels, never.rejected) == (1, 1) and np.isnan([never.bias, never.low, never.spread, never.typical]).all()
    assert rejected_labels(rows) == (2, 19)


def test_the_interval_is_over_patients():
    apart = [row(f"i{i}", "a", float(i % 4), patient=f"p{i}") for i in range(40)]
    together = [replace(each, patient=f"p{i % 4}") for i, each in enumerate(apart)]
    narrow, wide = rater_table(apart)[0], rater_table(together)[0]
    assert narrow.bias == wide.bias == 1.5
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low) > 0
    assert (narrow.high - narrow.low) / 2 == pytest.approx(1.96 * 1.118 / 40**0.5, rel=0.15)
    alone = rater_table([replace(each, patient="p") for each in apart])[0]
    assert np.isnan(alone.low) and np.isnan(alone.high) and alone.patients == 1


def test_a_label_counts_once_with_the_mean_over_its_classes():
    rows = [
        row("i", "a", 1.0, 0.2),
        row("i", "a", 3.0, 0.6, class_id=2),
        row("j", "a", 4.0, 0.9),
        row("j", "a", float("nan"), float("nan"), class_id=2),
    ]
    (line,) = rater_table(rows)
    assert (line.labels, line.bias, line.rejected, line.class_id) == (2, 3.0, 1, None)
    (second,) = rater_table(rows, 2)
    assert (second.labels, second.bias, second.class_id) == (1, 3.0, 2)
    assert rejected_labels(rows) == (1, 2)


def test_mm_and_pixels_are_not_mixed():
    with pytest.raises(DataError, match="some have a spacing"):
        rater_table([row("i", "a", 1.0), row("j", "a", 1.0, unit="mm")])


def read_rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_folder_of_an_audit(tmp_path):
    data = open_dataset(build_manifest(tmp_path / "data"))
    before = {path: path.read_bytes() for path in data.root.rglob("*") if path.is_file()}
    seen = []
    out = tmp_path / "out"
    summary = audit_raters(data, out, identities=True, consensus="staple", progress=lambda *step: seen.append(step))
    assert {path.name for path in out.iterdir()} == {
        "agreement.csv",
        "raters.csv",
        "raters.md",
        "raters.json",
        "staple.csv",
        "consensus",
    }
    assert seen == [(i, 8) for i in range(1, 9)]
    rows = read_rows(out / "agreement.csv")
    assert [(line["image"], line["rater"]) for line in rows] == [(f"scan{i}", f"rater{j}") for i in range(4) for j in (1, 2, 3)]
    labels = np.stack([read_label(case.label, data)[0] for case in data.cases[:3]])
    assert [float(line["dice_to_others"]) for line in rows[:3]] == pytest.approx([r.dice_to_others for r in rows_of(labels, 2)])
    assert {line["rater"] for line in read_rows(out / "raters.csv")} == {"rater1", "rater2", "rater3"}
    assert json.loads((out / "raters.json").read_text()) == summary
    assert (summary["images"], summary["labels"], summary["single"], summary["rejected"]) == (4, 12, 0, 0)
    assert "| all | 1 | rater" in (out / "raters.md").read_text()
    estimated = read_rows(out / "staple.csv")
    assert len(estimated) == 12 and all(0.5 < float(line["sensitivity"]) <= 1 for line in estimated)
    assert {path: path.read_bytes() for path in data.root.rglob("*") if path.is_file()} == before


def test_without_identities_there_is_no_table(tmp_path):
    data = open_dataset(build_manifest(tmp_path / "data"))
    audit_raters(data, tmp_path / "out", identities=False)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"agreement.csv", "raters.md", "raters.json"}
    assert "no table of raters" in (tmp_path / "out/raters.md").read_text()


@pytest.mark.parametrize("method", ["majority", "staple"])
def test_the_consensus_opens_with_one_case_per_image(tmp_path, method):
    data = open_dataset(build_manifest(tmp_path / "data"))
    performance = write_consensus(data, tmp_path / "out", method)
    assert len(performance) == (12 if method == "staple" else 0)
    found = open_dataset(tmp_path / "out")
    assert not find_problems(tmp_path / "out")
    assert [case.id for case in found.cases] == [f"scan{i}" for i in range(4)]
    assert [case.split for case in found.cases] == ["train", "train", "val", "val"]
    assert [case.patient for case in found.cases] == ["P0", "P0", "P1", "P1"]
    assert not any(case.trusted or case.rater for case in found.cases)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"images", "labels", "manifest.csv", "dataset.json"}
    for i, case in enumerate(found.cases):
        labels = np.stack([read_label(each.label, data)[0] for each in data.cases[3 * i : 3 * i + 3]])
        expected = majority(labels, 2) if method == "majority" else staple(labels, 2).label
        assert case.label.name == f"scan{i}.png"
        assert np.array_equal(read_label(case.label, found)[0], expected)
        assert not any(np.array_equal(expected, label) for label in (labels[0], labels[2]))


def test_volumes_keep_their_geometry_their_meaning_and_pixels_without_a_label(tmp_path):
    root = tmp_path / "data"
    rows = []
    labels = random_labels(10, 3, (4, 9, 8), 3).astype(np.int16)
    labels[labels == IGNORE] = 9
    labels[:, 0, 0, 0] = 9
    save_nifti(root / "images/a.v1.nii.gz", np.zeros((4, 9, 8), np.int16))
    for i, label in enumerate(labels):
        save_nifti(root / f"r{i}/a.v1.nii.gz", label)
        rows.append(
            {"case": "a.v1", "image": "images/a.v1.nii.gz", "label": f"r{i}/a.v1.nii.gz", "rater": f"r{i}", "split": "train"}
        )
    save_nifti(root / "images/b.nii.gz", np.zeros((4, 9, 8), np.int16))
    rows += [{"case": "b", "image": "images/b.nii.gz", "label": "", "rater": rater, "split": "test"} for rater in ("r0", "r1")]
    save_rows(root / "manifest.csv", rows)
    save_json(root / "dataset.json", {"classes": ["background", "x", "y|z"], "ignore": 9})
    data = open_dataset(root)
    summary = audit_raters(data, tmp_path / "out", identities=True, consensus="majority")
    assert (summary["images"], summary["labels"]) == (1, 3)
    assert {line["unit"] for line in read_rows(tmp_path / "out/agreement.csv")} == {"mm"}
    table = read_rows(tmp_path / "out/raters.csv")
    assert [line["class_id"] for line in table] == ["", "", "", "1", "1", "1", "2", "2", "2"]
    assert "| y\\|z | 1 |" in (tmp_path / "out/raters.md").read_text()
    found = open_dataset(tmp_path / "out/consensus")
    assert [(case.id, case.label and case.label.name) for case in found.cases] == [("a.v1", "a.v1.nii.gz"), ("b", None)]
    label, geometry = read_label(found.cases[0].label, found)
    assert label[0, 0, 0] == IGNORE
    assert np.array_equal(label, majority(np.where(labels == 9, IGNORE, labels).astype(np.uint8), 3))
    assert geometry == read_label(data.cases[0].label, data)[1]


def test_an_image_with_one_label_is_counted_and_copied(tmp_path):
    root = build_manifest(tmp_path / "data", n=3)
    lines = (root / "manifest.csv").read_text().splitlines()
    (root / "manifest.csv").write_text("\n".join(line for line in lines if not line.startswith("scan1") or "rater2" in line))
    data = open_dataset(root)
    summary = audit_raters(data, tmp_path / "out", identities=False, consensus="staple")
    assert (summary["images"], summary["labels"], summary["single"]) == (2, 6, 1)
    assert (tmp_path / "out/consensus/labels/scan1.png").read_bytes() == (root / "masks/rater2/scan1.png").read_bytes()


@pytest.mark.parametrize("consensus", [None, "staple"])
def test_labels_on_different_grids_are_refused_by_name(tmp_path, consensus):
    root = build_manifest(tmp_path / "data")
    save_png(root / "masks/rater2/scan1.png", np.zeros((30, 32), np.uint8))
    with pytest.raises(DataError, match=r"rater2.scan1\.png: does not lie on the grid of its image.*\(30, 32\)"):
        audit_raters(open_dataset(root), tmp_path / "out", identities=False, consensus=consensus)
    assert not list((tmp_path / "out").glob("*"))


def test_unusable_folders_are_refused(tmp_path):
    data = open_dataset(build_manifest(tmp_path / "data"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    with pytest.raises(DataError, match="is not empty"):
        audit_raters(data, tmp_path / "full", identities=False)
    with pytest.raises(DataError, match="lies in the data set"):
        audit_raters(data, data.root / "out", identities=False)
    plain = open_dataset(build_folder(tmp_path / "plain"))
    with pytest.raises(DataError, match="no image with the labels of several raters"):
        audit_raters(plain, Path(tmp_path / "new"), identities=False)
