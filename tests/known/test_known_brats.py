"""BraTS of three years: four channels, and labels as regions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.known_archives import converted, described, nifti, zipped

from debride.data.open import open_dataset
from debride.known.brats import convert
from debride.types import DataError

OLD, NEW = ("_t1", "_t1ce", "_t2", "_flair"), ("-t1n", "-t1c", "-t2w", "-t2f")


def drawn(seed: int, highest: int) -> np.ndarray:
    return np.random.default_rng(seed).choice([0, 1, 2, highest], (6, 5, 4)).astype(np.uint8)


def scan(name: str, root: str, seed: int, *, labelled: bool = True, ending: str = ".nii.gz") -> dict[str, bytes]:
    endings, highest = (NEW, 3) if "-" in name else (OLD, 4)
    packed = ending == ".nii.gz"
    files = {
        f"{root}/{name}/{name}{channel}{ending}": nifti(np.full((6, 5, 4), 10 * seed + number, np.int16), packed=packed)
        for number, channel in enumerate(endings)
    }
    if labelled:
        files[f"{root}/{name}/{name}{endings[0][0]}seg{ending}"] = nifti(drawn(seed, highest), packed=packed)
    return files


YEARS = {
    "2020": ("BraTS20_Training_001", "BraTS20_Training_002", "BraTS20_Validation_001", ".nii"),
    "2021": ("BraTS2021_00000", "BraTS2021_00002", "BraTS2021_00001", ".nii.gz"),
    "2023": ("BraTS-GLI-00000-000", "BraTS-GLI-00000-001", "BraTS-GLI-00001-000", ".nii.gz"),
}


@pytest.mark.parametrize("year", YEARS)
def test_each_year_becomes_the_same_regions(tmp_path: Path, year: str) -> None:
    first, second, other, ending = YEARS[year]
    training = scan(first, "TrainingData", 1, ending=ending) | scan(second, "TrainingData", 2, ending=ending)
    training |= scan("BraTS-GLI-00009-000", "TrainingData", 5) if year == "2023" else {}
    archives = [
        zipped(tmp_path / "training.zip", {**training, "TrainingData/name_mapping.csv": b"x"}),
        zipped(tmp_path / "validation.zip", scan(other, "ValidationData", 3, labelled=False, ending=ending)),
    ]
    cases = converted(convert, tmp_path / "out", *archives)
    image, label, case = cases[second]
    assert image.shape == (4, 4, 5, 6) and [int(channel.flat[0]) for channel in image] == [20, 21, 22, 23]
    raw = drawn(2, 3 if year == "2023" else 4).T
    slow = np.zeros(raw.shape, int)
    for at in np.ndindex(*raw.shape):
        slow[at] = {0: 0, 2: 1, 1: 2, 3: 3, 4: 3}[int(raw[at])]
    assert (label == slow).all()
    assert cases[other][1] is None and cases[other][2].split == "test"
    dataset = open_dataset(tmp_path / "out")
    assert [(region.name, region.classes) for region in dataset.regions] == [
        ("whole_tumor", (1, 2, 3)),
        ("tumor_core", (2, 3)),
        ("enhancing_tumor", (3,)),
    ]
    assert list(described(tmp_path / "out")["channel_names"].values()) == ["T1", "T1ce", "T2", "FLAIR"]
    if year == "2023":
        assert case.patient == cases[first][2].patient == "BraTS-GLI-00000", "two scans of one patient stay together"


def test_the_label_of_case_355_has_a_name_of_its_own(tmp_path: Path) -> None:
    files = scan("BraTS20_Training_355", "T", 1) | scan("BraTS20_Training_001", "T", 2)
    files["T/BraTS20_Training_355/W39_1998.09.19_Segm.nii.gz"] = files.pop(
        "T/BraTS20_Training_355/BraTS20_Training_355_seg.nii.gz"
    )
    cases = converted(convert, tmp_path / "out", zipped(tmp_path / "a.zip", files))
    assert (cases["BraTS20_Training_355"][1] > 0).any()


def test_what_is_missing_or_unknown_is_refused(tmp_path: Path) -> None:
    whole = scan("BraTS-GLI-00000-000", "T", 1) | scan("BraTS-GLI-00001-000", "T", 2)
    place = "T/BraTS-GLI-00001-000/BraTS-GLI-00001-000"
    wrong = [
        ({f"{place}-seg.nii.gz": None}, r"has no BraTS-GLI-00001-000-seg.nii.gz"),
        ({f"{place}-t2f.nii.gz": None}, r"has no BraTS-GLI-00001-000-t2f.nii.gz"),
        ({f"{place}-seg.nii.gz": nifti(drawn(2, 4))}, "label value 4"),
        ({f"{place}-t1c.nii.gz": nifti(np.zeros((6, 5, 3), np.int16))}, "grid of the first channel"),
        (scan("BraTS2021_00000", "T", 3), "2021 and 2023"),
    ]
    for number, (change, said) in enumerate(wrong):
        files = {name: content for name, content in {**whole, **change}.items() if content is not None}
        with pytest.raises(DataError, match=said):
            converted(convert, tmp_path / f"out{number}", zipped(tmp_path / f"{number}.zip", files))
    with pytest.raises(DataError, match="no scan of BraTS"):
        converted(convert, tmp_path / "out", zipped(tmp_path / "x.zip", {"x.nii.gz": b""}))
