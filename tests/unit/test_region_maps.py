"""One region's prediction out of files that hold those of all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tests.datasets import save_png
from tests.prediction_files import random_map, save_map, save_nifti_map, save_npy
from tests.region_sets import REGIONS, build_regions_2d, build_regions_3d

from debride.audit.predictions import FolderPredictions, Prediction, PredictionFiles, read_prediction
from debride.audit.predictions.region_maps import OneRegion, read_region_map
from debride.audit.predictions.region_predictions import RegionPredictions
from debride.data.label_regions import region_view
from debride.data.open import open_dataset
from debride.data.pixels.images import read_label
from debride.notes import take_notes
from debride.types import DataError, Dataset

SHAPE = (12, 12)
Maps = npt.NDArray[Any]
LEFT = OneRegion(1, 3, (2, 3), 4)
"""The second of three regions of four classes."""


def sigmoids(seed: int = 0, many: int = 3) -> Maps:
    return np.random.default_rng(seed).random((many, *SHAPE)).astype(np.float32)


def slow(maps: Maps, held: tuple[int, ...] | None, number: int) -> Maps:
    """Pixel by pixel: the sigmoid of the region, or the sum of its classes' softmax."""
    wanted = np.zeros((2, *maps.shape[1:]))
    for place in np.ndindex(maps.shape[1:]):
        inside = float(maps[(number, *place)]) if held is None else sum(float(maps[(id, *place)]) for id in held)
        wanted[(0, *place)], wanted[(1, *place)] = 1 - inside, inside
    return wanted


@pytest.mark.parametrize("quantised", [False, True])
def test_sigmoid_maps_and_softmax_maps_are_told_apart_by_their_number(tmp_path: Path, quantised: bool) -> None:
    for maps, held in ((sigmoids(), None), (random_map(4, SHAPE), (2, 3))):
        stored = np.rint(maps * 255).astype(np.uint8) if quantised else maps
        save_map(tmp_path / "a.npz", probabilities=stored[:, None])  # as nnU-Net writes pictures
        save_npy(tmp_path / "a.npy", stored)
        for file in ("a.npz", "a.npy"):
            take_notes()
            found, hard = read_region_map(tmp_path / file, LEFT, SHAPE)
            np.testing.assert_allclose(found, slow(maps, held, 1), atol=0.006 if quantised else 1e-6)
            assert not hard and found.dtype == np.float32
            assert bool(take_notes()) == (held is not None)


def test_as_many_regions_as_classes_are_told_apart_by_their_sums(tmp_path: Path) -> None:
    """Three classes with the background, and three regions of the two others: classes sum to one, and regions do not."""
    three = OneRegion(2, 3, (1, 2), 3)
    save_npy(tmp_path / "sigmoid.npy", sigmoids())
    save_npy(tmp_path / "softmax.npy", random_map(3, SHAPE))
    np.testing.assert_allclose(read_region_map(tmp_path / "sigmoid.npy", three, SHAPE)[0], slow(sigmoids(), None, 2), atol=1e-6)
    wanted = slow(random_map(3, SHAPE), (1, 2), 2)
    np.testing.assert_allclose(read_region_map(tmp_path / "softmax.npy", three, SHAPE)[0], wanted, atol=1e-6)
    assert "maps of classes that exclude each other" in take_notes()[0]


def test_maps_that_cannot_be_meant(tmp_path: Path) -> None:
    save_npy(tmp_path / "two.npy", sigmoids(many=2))
    with pytest.raises(DataError, match="has 2 maps, the data set 3 regions and 4 classes with the background"):
        read_region_map(tmp_path / "two.npy", LEFT, SHAPE)
    save_npy(tmp_path / "one.npy", sigmoids()[0])
    with pytest.raises(DataError, match=r"has shape \(12, 12\).*one map for each region"):
        read_region_map(tmp_path / "one.npy", LEFT, SHAPE)
    save_npy(tmp_path / "classes.npy", sigmoids(many=4))
    with pytest.raises(DataError, match="maps for the data set's classes that do not sum to 1"):
        read_region_map(tmp_path / "classes.npy", LEFT, SHAPE)
    for name, value, said in (("logits", 3.0, "logits"), ("nan", np.nan, "NaN")):
        wrong = sigmoids()
        wrong[1, 3, 4] = value
        save_npy(tmp_path / f"{name}.npy", wrong)
        with pytest.raises(DataError, match=said) as raised:
            read_region_map(tmp_path / f"{name}.npy", LEFT, SHAPE)
        assert "softmax" not in raised.value.remedy
    save_npy(tmp_path / "ids.npy", np.zeros((3, *SHAPE), np.int64))
    with pytest.raises(DataError, match="int64, not probabilities"):
        read_region_map(tmp_path / "ids.npy", LEFT, SHAPE)
    save_npy(tmp_path / "shape.npy", np.zeros((3, 12, 13), np.float32))
    with pytest.raises(DataError, match=r"\(12, 13\)"):
        read_region_map(tmp_path / "shape.npy", LEFT, SHAPE)
    (tmp_path / "empty.npz").write_bytes(b"")
    with pytest.raises(DataError, match="is empty"):
        read_region_map(tmp_path / "empty.npz", LEFT, SHAPE)


def of_region(dataset: Dataset, folder: Path, number: int) -> Prediction:
    """What a folder says of a region of the first case."""
    case = dataset.cases[0]
    assert case.label is not None
    label, geometry = read_label(case.label, dataset)
    found = RegionPredictions(FolderPredictions(folder, dataset, [case]), dataset, number)
    view = region_view(dataset, dataset.regions[number])
    return found.of(view.cases[0], label.shape, geometry)


def test_a_mask_and_a_mask_in_disguise_are_softened_alike(tmp_path: Path) -> None:
    dataset = open_dataset(build_regions_2d(tmp_path / "data"))
    label = read_label(Path(str(dataset.cases[0].label)), dataset)[0]
    name = dataset.cases[0].id
    save_png(tmp_path / "mask" / f"{name}.png", label)
    save_npy(
        tmp_path / "map" / f"{name}.npy", np.stack([np.isin(label, region.classes) for region in REGIONS]).astype(np.float32)
    )
    for number in range(3):
        mask, maps = (of_region(dataset, tmp_path / folder, number) for folder in ("mask", "map"))
        np.testing.assert_array_equal(mask.probability, maps.probability)
        assert mask.hard and maps.hard
        np.testing.assert_array_equal(mask.probability[1] > 0.5, np.isin(label, REGIONS[number].classes))


def test_a_mask_of_class_ids_is_refused_where_a_region_cannot_tell(tmp_path: Path) -> None:
    """Ids 0 and 1 of labels that are stored as 0, 100 and 200 would be taken for the region, whatever it holds."""
    dataset = replace(open_dataset(build_regions_2d(tmp_path / "data")), values={0: 0, 100: 1, 150: 2, 200: 3}, cases=())
    opened = open_dataset(tmp_path / "data")
    save_png(tmp_path / "ids.png", np.ones(SHAPE, np.uint8))
    files = PredictionFiles(tmp_path / "ids.png", region=OneRegion.of(dataset, 1))
    label, geometry = read_label(Path(str(opened.cases[0].label)), opened)
    with pytest.raises(DataError, match="own masks"):
        read_prediction(files, region_view(dataset, REGIONS[1]), opened.cases[0], label.shape, geometry)


def test_volumes_and_images_of_four_axes(tmp_path: Path) -> None:
    dataset = open_dataset(build_regions_3d(tmp_path / "data"), val_fraction=0.0)
    case = dataset.cases[0]
    label, geometry = read_label(Path(str(case.label)), dataset)
    maps = np.random.default_rng(1).random((3, *label.shape)).astype(np.float32)
    assert geometry.affine is not None
    save_nifti_map(tmp_path / "nifti" / f"{case.id}.nii.gz", maps, np.array(geometry.affine))
    save_map(tmp_path / "npz" / f"{case.id}.npz", probabilities=maps)
    for number in range(3):
        nifti, npz = (of_region(dataset, tmp_path / folder, number).probability for folder in ("nifti", "npz"))
        np.testing.assert_allclose(npz, slow(maps, None, number), atol=1e-3)
        np.testing.assert_array_equal(nifti, npz)
        assert npz.dtype == np.float16


def test_what_says_where_a_map_is_survives_a_process() -> None:
    files = PredictionFiles(Path("a.npz"), Path("a.png"), True, LEFT)
    assert PredictionFiles.from_plain(files.plain()) == files
    assert PredictionFiles.from_plain(PredictionFiles(Path("a.npz")).plain()) == PredictionFiles(Path("a.npz"))
