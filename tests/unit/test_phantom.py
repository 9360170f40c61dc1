import json

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation, label

from debride.bench.phantom import CLASSES, FIELD_OF_VIEW, PATIENT_PATTERN, phantom, write_phantoms
from debride.data.open import open_dataset
from debride.rng import generator
from debride.types import DataError


def hashes(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*.png")}


@pytest.mark.parametrize("shape", [(64, 64), (48, 80), (16, 24, 20)])
@pytest.mark.parametrize("classes", [2, 3])
def test_every_class_is_there_and_types_and_ranges_are_as_said(shape, classes):
    for seed in range(20):
        image, mask = phantom(generator(seed), shape, classes)
        assert image.shape == (1, *shape) and image.dtype == np.float32
        assert mask.shape == shape and mask.dtype == np.uint8
        assert image.min() >= 0 and image.max() <= 1
        assert set(np.unique(mask)) == set(range(classes))


def test_equal_generators_give_equal_phantoms_and_others_differ():
    first, again, other = (phantom(generator(seed), (64, 64), 2) for seed in (1, 1, 2))
    assert np.array_equal(first[0], again[0]) and np.array_equal(first[1], again[1])
    assert not np.array_equal(first[1], other[1])


def test_lesions_vary_in_size_and_number():
    masks = [phantom(generator(seed), (64, 64), 2)[1] for seed in range(60)]
    share = [mask.mean() for mask in masks]
    assert min(share) > 0.01 and max(share) < 0.3 and max(share) > 4 * min(share)
    assert {label(mask)[1] for mask in masks} >= {1, 2}


def test_a_core_lies_inside_its_lesion():
    for seed in range(20):
        _, mask = phantom(generator(seed), (96, 96), 3)
        assert (mask[binary_dilation(mask == 2)] > 0).all()


def test_lesions_are_bright_but_no_threshold_finds_them():
    """The best threshold of each image, chosen with its label, is far from what a network reaches (about 0.9)."""
    best = []
    for seed in range(20):
        image, mask = phantom(generator(seed), (64, 64), 2)
        assert image[0][mask == 1].mean() > 1.3 * image[0][binary_dilation(mask, iterations=6) & (mask == 0)].mean()
        found = [image[0] > threshold for threshold in np.linspace(0.05, 0.95, 50)]
        best.append(max(2 * (each & (mask == 1)).sum() / (each.sum() + mask.sum()) for each in found))
    assert np.mean(best) < 0.75


@pytest.mark.parametrize(("shape", "classes"), [((64, 64), 4), ((64,), 2), ((8, 64), 2)])
def test_what_cannot_be_drawn_is_refused(shape, classes):
    with pytest.raises(DataError, match="cannot be drawn"):
        phantom(generator(0), shape, classes)


def test_a_folder_holds_what_phantom_gives_and_opens(tmp_path):
    write_phantoms(tmp_path / "set", 4, 2, 3, 32, 3, 5, images_per_patient=2)
    dataset = open_dataset(tmp_path / "set", patient_pattern=PATIENT_PATTERN)
    assert dataset.format == "folder" and dataset.classes == CLASSES and dataset.ndim == 2
    assert [len(dataset.of(split)) for split in ("train", "val", "test")] == [4, 2, 3]
    assert {case.patient for case in dataset.of("train")} == {"p000", "p001"}
    assert {case.patient for case in dataset.of("test")} == {"p003", "p004"}
    for case in dataset.cases:
        image, mask = phantom(generator(5, "phantom", case.id), (32, 32), 3)
        assert np.abs(np.asarray(Image.open(case.image[0])) - 255 * image[0]).max() <= 0.5 + 1e-4
        assert np.array_equal(np.asarray(Image.open(case.label)), mask)


def test_a_case_does_not_depend_on_how_many_there_are(tmp_path):
    write_phantoms(tmp_path / "few", 2, 0, 0, 32, 2, 0)
    write_phantoms(tmp_path / "many", 4, 2, 2, 32, 2, 0)
    few, many = hashes(tmp_path / "few"), hashes(tmp_path / "many")
    assert len(few) == 4 and few.items() <= many.items()


def test_volumes_are_nnunet_raw_with_the_axes_of_nifti(tmp_path):
    write_phantoms(tmp_path / "set", 2, 1, 1, 16, 2, 0, ndim=3)
    dataset = open_dataset(tmp_path / "set")
    assert dataset.format == "nnunet" and dataset.ndim == 3 and dataset.classes == CLASSES[:2]
    assert [len(dataset.of(split)) for split in ("train", "val", "test")] == [2, 1, 1]
    assert json.loads((tmp_path / "set" / "dataset.json").read_text())["numTraining"] == 3
    case = dataset.of("test")[0]
    image, mask = phantom(generator(0, "phantom", case.id), (16, 16, 16), 2)
    stored = nib.load(case.image[0])
    assert stored.header.get_zooms() == (FIELD_OF_VIEW / 16,) * 3
    assert np.array_equal(stored.get_fdata(dtype=np.float32).transpose(2, 1, 0), image[0])
    assert np.array_equal(np.asarray(nib.load(case.label).dataobj).transpose(2, 1, 0), mask)


def test_other_files_are_never_written_over(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="is not empty"):
        write_phantoms(tmp_path, 1, 1, 1, 32, 2, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
