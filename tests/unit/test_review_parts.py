"""What the page of a review is shown: turned volumes, crops around findings, labels, and edits that come back."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
from tests.audited_regions import write_region_audit
from tests.datasets import build_nnunet_2d, build_nnunet_3d
from tests.region_sets import build_regions_2d
from tests.turned_files import orientation, store_turned
from tests.written_audits import box, write_audit

from debride.audit.decided.edits import read_edit
from debride.data.open import open_dataset
from debride.data.pixels.images import read_header, read_image, read_label
from debride.data.same_grid import Grid, turned
from debride.review.kept_arrays import KeptArrays
from debride.review.layers import Layers, own_box
from debride.review.opened import Reader, Review, open_review
from debride.review.shown_place import crop_box, ras_turn, spacing_of, wide_box
from debride.review.volumes import Volumes
from debride.types import DataError, Geometry

SHAPE = (6, 16, 20)


def item(number: int = 1, region: str = "", case: str = "vol00", label: str = "") -> dict[str, Any]:
    mine = {"decision": "edited", "comment": "", "label": label, "time": ""} if label else None
    return {"region": region, "case": case, "number": number, "mine": mine}


def in_ras(path: Path) -> npt.NDArray[Any]:
    """The voxels (D, H, W) of a file as nibabel turns them to the right, to the front and to the head."""
    return np.asarray(nib.as_closest_canonical(nib.load(path)).dataobj).T


def turned_review(tmp_path: Path, seed: int, both: bool = False) -> Review:
    """An audit of volumes stored in other orientations, with a finding in the first; the images may be turned otherwise."""
    root, rng = build_nnunet_3d(tmp_path / "data", n=2), np.random.default_rng(seed)
    how = orientation(rng)
    for path in [*sorted((root / "labelsTr").iterdir()), *sorted((root / "imagesTr").iterdir())]:
        store_turned(path, orientation(rng) if both and path.parent.name == "imagesTr" else how)
    dataset = open_dataset(root)
    shape = read_header(dataset.cases[0].label or Path()).shape
    where = box(shape, *((1, 4) for _ in shape))
    audit = write_audit(tmp_path / "audit", dataset, {"vol00": [(where, 2, {"kind": "missing"})]})
    return open_review(audit, dataset, Reader("ada"))


@pytest.mark.parametrize("seed", range(6))
def test_turned_files_are_shown_straight_and_edits_turned_back(tmp_path: Path, seed: int) -> None:
    review = turned_review(tmp_path, seed, both=seed % 2 == 1)
    case, volumes = review.cases["vol00"], Volumes(Layers(review))
    assert case.label
    shown = nib.Nifti1Image.from_bytes(volumes.layer(item(), "image", "whole", channel=1))
    np.testing.assert_array_equal(np.asarray(shown.dataobj).T, in_ras(case.image[1]))
    label = nib.Nifti1Image.from_bytes(volumes.layer(item(), "given", "whole"))
    np.testing.assert_array_equal(np.asarray(label.dataobj).T, in_ras(case.label))
    straight = nib.as_closest_canonical(nib.load(case.label))
    np.testing.assert_allclose(label.header.get_zooms(), straight.header.get_zooms(), rtol=1e-5)
    assert nib.aff2axcodes(label.affine) == ("R", "A", "S") and np.count_nonzero(label.affine[:3, :3]) == 3

    told = volumes.part(item(), "whole").told()
    proposed = np.asarray(nib.Nifti1Image.from_bytes(volumes.layer(item(), "proposed", "whole")).dataobj)
    x, y, z = told["at"]
    assert proposed[x, y, z] == 2 and told["shape"] == list(proposed.shape) == told["whole"] and told["start"] == [0, 0, 0]

    painted = np.asarray(label.dataobj).T.copy()
    changed = np.random.default_rng(seed).random(painted.shape) < 0.1
    painted[changed] = (painted[changed] + 1) % 3
    hash = volumes.edit(item(), "whole", painted.tobytes())
    mine = nib.Nifti1Image.from_bytes(volumes.layer(item(label=hash), "mine", "whole"))
    np.testing.assert_array_equal(np.asarray(mine.dataobj).T, painted)
    given = read_label(case.label, review.dataset)[0]
    edit = read_edit(review.audit, "vol00", hash, given.shape, 3)
    stored = given.copy()
    stored[edit.inside] = np.where(edit.changed, edit.label, stored[edit.inside])
    header = nib.load(case.label)
    copy = tmp_path / "stored.nii.gz"
    nib.save(nib.Nifti1Image(stored.T, header.affine), copy)  # the file as an editor of the same place would save it
    np.testing.assert_array_equal(in_ras(copy), painted)


def slow_turn(directions: npt.NDArray[np.float64]) -> tuple[list[int], list[int]]:
    """nibabel's orientation of an affine: for each voxel axis the world axis it runs along, and in which direction."""
    codes = nib.io_orientation(directions)
    return [int(axis) for axis in codes[:, 0]], [int(sign) for sign in codes[:, 1]]


@pytest.mark.parametrize("seed", range(5))
def test_a_turn_is_nibabels(tmp_path: Path, seed: int) -> None:
    review = turned_review(tmp_path, seed)
    grid = read_header(review.cases["vol00"].label or Path()).grid
    turn = ras_turn(grid)
    axes, signs = slow_turn(np.array(grid.geometry.affine))
    for place, direction in enumerate((2, 1, 0)):
        voxel = axes.index(direction)
        assert turn.order[place] == 2 - voxel and (place in turn.flipped) == (signs[voxel] < 0)
    assert len(spacing_of(grid, turn)) == 3


def test_a_crop_lies_in_the_whole_where_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("debride.review.shown_place.LEAST", 3)
    monkeypatch.setattr("debride.review.shown_place.MOST", 5)
    for seed in range(4):
        review = turned_review(tmp_path / str(seed), seed)
        volumes = Volumes(Layers(review))
        crop, whole = volumes.part(item(), "crop").told(), volumes.part(item(), "whole").told()
        assert max(crop["shape"]) <= 5
        inside = tuple(slice(start, start + length) for start, length in zip(crop["start"], crop["shape"], strict=True))
        for what in ("image", "given", "proposed"):
            part, all_of_it = (
                np.asarray(nib.Nifti1Image.from_bytes(volumes.layer(item(), what, each)).dataobj) for each in ("crop", "whole")
            )
            np.testing.assert_array_equal(part, all_of_it[inside])
        assert [at + start for at, start in zip(crop["at"], crop["start"], strict=True)] == whole["at"]

        given = np.asarray(nib.Nifti1Image.from_bytes(volumes.layer(item(), "given", "crop")).dataobj).T
        first = volumes.edit(item(), "crop", np.full_like(given, 1).tobytes())
        all_given = np.asarray(nib.Nifti1Image.from_bytes(volumes.layer(item(), "given", "whole")).dataobj).T.copy()
        all_given[tuple(reversed(inside))] = 1
        mine = np.asarray(nib.Nifti1Image.from_bytes(volumes.layer(item(label=first), "mine", "whole")).dataobj).T
        np.testing.assert_array_equal(mine, all_given)
        corner = all_given.copy()
        corner[0, 0, 0], corner[-1, -1, -1] = 2, 2
        second = volumes.edit(item(label=first), "whole", corner.tobytes())
        third = volumes.edit(item(label=second), "crop", np.full_like(given, 0).tobytes())  # what is outside stays
        corner[tuple(reversed(inside))] = 0
        mine = np.asarray(nib.Nifti1Image.from_bytes(volumes.layer(item(label=third), "mine", "whole")).dataobj).T
        np.testing.assert_array_equal(mine, corner)


def test_crops_hold_their_box_and_stay_inside() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        shape = tuple(int(length) for length in rng.integers(20, 400, 3))
        firsts = [int(rng.integers(0, length)) for length in shape]
        around = tuple((first, int(rng.integers(first, length)) + 1) for first, length in zip(firsts, shape, strict=True))
        centre = tuple(int(rng.integers(*ends)) for ends in around)
        wide = wide_box(around, shape, "extra")
        shown = crop_box(wide, centre, "extra")
        axes = zip(around, wide, shown, shape, centre, strict=True)
        for (first, past), (start, end), (low, high), length, middle in axes:
            assert 0 <= start <= low < high <= end <= length and start <= first < past <= end
            assert min(64, length) <= high - low <= 128 and low <= middle < high
            assert end - start > 128 or low <= first < past <= high
    assert wide_box(((0, 9), (0, 9)), (1024, 900), "extra") == ((0, 1024), (0, 900))
    assert wide_box(((0, 9), (1990, 2000)), (2000, 2000), "extra") == ((0, 256), (1744, 2000))


def test_pictures_and_their_layers(tmp_path: Path) -> None:
    dataset = open_dataset(build_nnunet_2d(tmp_path / "data", classes=3))
    where = box((32, 32), (0, 3), (4, 9))
    audit = write_audit(tmp_path / "audit", dataset, {"p00_s0": [(where, 2, {"kind": "missing"})]})
    (audit / "predictions").mkdir()
    shares = np.zeros((3, 32, 32), np.uint8)
    shares[0], shares[1, 5:9], shares[2, 20:] = 100, 155, 200
    np.savez_compressed(audit / "predictions" / "p00_s0.npz", probabilities=shares, stamp=np.array("x"))
    review = open_review(audit, dataset, Reader("ada"))
    volumes, one = Volumes(Layers(review)), item(case="p00_s0")
    told = volumes.part(one, "crop").told()
    assert told["layers"] == ["given", "proposed", "predicted"] and told["shape"] == [32, 32] and not told["rgb"]
    assert told["warning"] == "" and where[told["at"][1], told["at"][0]]
    case = review.cases["p00_s0"]
    given = read_label(case.label or Path(), dataset)[0]
    assert volumes.layer(one, "given", "crop") == given.tobytes()
    assert volumes.layer(one, "image", "crop") == read_image(case.image)[0][0].tobytes()
    assert volumes.layer(one, "proposed", "crop") == np.where(where, 2, given).astype(np.uint8).tobytes()
    assert volumes.layer(one, "predicted", "crop") == shares.argmax(0).astype(np.uint8).tobytes()
    with pytest.raises(KeyError):
        volumes.layer(one, "mine", "crop")
    with pytest.raises(DataError, match="holds the class 3"):
        volumes.edit(one, "crop", np.full((32, 32), 3, np.uint8).tobytes())
    (audit / "predictions" / "p00_s0.npz").unlink()
    told = volumes.part(one, "crop").told()
    assert told["layers"] == ["given", "proposed"] and "not there any more" in told["warning"]


def test_predictions_of_a_folder_lie_as_the_label(tmp_path: Path) -> None:
    """Masks and maps of others, stored in another orientation than the label; one that is damaged is not shown, and said."""
    review = turned_review(tmp_path, 1)
    predictions, rng = tmp_path / "predictions", np.random.default_rng(5)
    predictions.mkdir()
    labels = review.dataset.root / "labelsTr"
    store_turned(labels / "vol01.nii.gz", orientation(rng), predictions / "vol00.nii.gz")
    wanted = in_ras(labels / "vol01.nii.gz")
    about = json.loads((review.audit / "audit.json").read_text())
    about["predictions"] = {"source": "folder", "folder": str(predictions)}
    (review.audit / "audit.json").write_text(json.dumps(about))
    review = open_review(review.audit, review.dataset, Reader("ada"))
    volumes = Volumes(Layers(review))
    assert "predicted" in volumes.part(item(), "crop").layers
    shown = nib.Nifti1Image.from_bytes(volumes.layer(item(), "predicted", "whole"))
    np.testing.assert_array_equal(np.asarray(shown.dataobj).T, wanted)
    (predictions / "vol00.nii.gz").write_bytes(b"damaged")
    told = volumes.part(item(), "crop").told()
    assert "predicted" not in told["layers"] and "Not shown is what is predicted" in told["warning"]
    with pytest.raises(DataError):
        volumes.layer(item(), "predicted", "crop")


def test_a_region_is_seen_alone_and_edited_with_all(tmp_path: Path) -> None:
    dataset = open_dataset(build_regions_2d(tmp_path / "data"))
    region, id = dataset.regions[1], dataset.cases[0].id
    audit = write_region_audit(tmp_path / "audit", dataset, {region.name: {id: [(box((32, 32), (0, 3), (0, 4)), 1, {})]}})
    review = open_review(audit, dataset, Reader("ada"))
    volumes, one = Volumes(Layers(review)), item(1, region.name, id)
    label = read_label(review.cases[id].label or Path(), dataset)[0]
    assert "label" in volumes.part(one, "whole").layers
    inside = np.isin(label, region.classes).astype(np.uint8)
    assert volumes.layer(one, "given", "whole") == inside.tobytes()
    inside[:3, :4] = 1
    assert volumes.layer(one, "proposed", "whole") == inside.tobytes()
    assert volumes.layer(one, "label", "whole") == label.tobytes()
    painted = label.copy()
    painted[10:14, 3:9] = region.paints
    hash = volumes.edit(one, "whole", painted.tobytes())
    assert volumes.layer(item(1, region.name, id, hash), "mine", "whole") == painted.tobytes()

    maps = np.zeros((len(dataset.regions), 32, 32), np.uint8)
    for number, each in enumerate(dataset.regions):
        maps[number, 4 * number : 30 - 4 * number] = 255 if set(region.classes) & set(each.classes) else 20
    (audit / "predictions").mkdir()
    np.savez_compressed(audit / "predictions" / f"{id}.npz", probabilities=maps, stamp=np.array(""))
    assert volumes.layer(one, "predicted", "whole") == (maps[1] > 127).astype(np.uint8).tobytes()
    expected = np.zeros((32, 32), np.uint8)
    for share, each in zip(maps, dataset.regions, strict=True):
        expected[share > 127] = each.paints
    assert volumes.layer(item(0, "", id), "predicted", "whole") == expected.tobytes()
    with pytest.raises(DataError, match="is the audit of the region"):
        open_review(review.folder(region.name), dataset, Reader("ada"))


def test_a_label_that_changed_is_told(tmp_path: Path) -> None:
    review = turned_review(tmp_path, 0)
    layers = Layers(review)
    case = layers.case("vol00")
    assert layers.unchanged(case) and case.label
    store_turned(case.label, orientation(np.random.default_rng(9)))
    assert not layers.unchanged(case)
    assert "changed since the audit" in Volumes(layers).part(item(2), "whole").warning


def test_a_box_of_a_turned_array_is_found_in_its_own() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        array = rng.integers(0, 1000, (4, 5, 6))
        affine = np.eye(4)[[*rng.permutation(3).tolist(), 3]] * rng.choice([-1, 1], (4, 1))
        affine[3] = (0, 0, 0, 1)
        how = ras_turn(Grid(array.shape, Geometry(None, tuple(map(tuple, affine.tolist())))))
        whole = turned(array, how)
        part = tuple(sorted(rng.choice(length + 1, 2, replace=False).tolist()) for length in whole.shape)
        own = own_box(part, how, array.shape)  # type: ignore[arg-type]
        np.testing.assert_array_equal(
            turned(array[tuple(slice(*ends) for ends in own)], how), whole[tuple(slice(*ends) for ends in part)]
        )


def test_what_is_kept_stays_within_its_bytes() -> None:
    kept, made = KeptArrays(1000), []

    def make(key: int, size: int) -> npt.NDArray[np.uint8]:
        made.append(key)
        return np.full(size, key, np.uint8)

    for key in (1, 2, 1, 3, 1, 2):
        assert kept.get(key, lambda key=key: make(key, 400))[0] == key  # type: ignore[misc]
    assert made == [1, 2, 3, 2] and kept.held == 800
    assert kept.get(9, lambda: make(9, 2000)).nbytes == 2000 and kept.find(9) is None and kept.held == 800
    with pytest.raises(ValueError, match="read-only"):
        kept.get(1, lambda: make(1, 1))[0] = 5
    with pytest.raises(ZeroDivisionError):
        kept.get(5, lambda: 1 // 0)  # type: ignore[arg-type,return-value]
    assert kept.get(5, lambda: make(5, 10)).nbytes == 10


def test_what_several_ask_for_at_once_is_made_once() -> None:
    kept, made, together = KeptArrays(1000), [], Barrier(2)

    def make() -> npt.NDArray[np.uint8]:
        together.wait(10)  # with the test, which asks for others meanwhile
        made.append(1)
        return np.ones(10, np.uint8)

    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(kept.get, "one", make) for _ in range(3)]
        assert kept.get("other", lambda: np.zeros(3, np.uint8)).nbytes == 3
        together.wait(10)
        assert all(each.result() is asked[0].result() for each in asked) and made == [1]
