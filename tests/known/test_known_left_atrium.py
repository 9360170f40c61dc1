"""The 2018 Atrial Segmentation Challenge: NRRD whose label is 0 and 255."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from tests.known_archives import converted, zipped

from debride.known.left_atrium import convert
from debride.types import DataError


def nrrd(folder: Path, values: np.ndarray) -> bytes:
    """A file of NRRD; values are in array order."""
    image = SimpleITK.GetImageFromArray(values)
    image.SetSpacing((0.625, 0.625, 1.25))
    image.SetOrigin((3.0, -8.0, 20.0))
    SimpleITK.WriteImage(image, str(folder / "x.nrrd"), useCompression=True)
    return (folder / "x.nrrd").read_bytes()


def scan(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 255, (4, 9, 8)).astype(np.uint8), np.uint8(255) * rng.integers(0, 2, (4, 9, 8)).astype(np.uint8)


def files(folder: Path) -> dict[str, bytes]:
    found = {}
    for seed, name in enumerate(("Training Set/0RZDK210", "Training Set/1D7CUD1955", "Testing Set/4CBJYZ0011")):
        image, label = scan(seed)
        found[f"{name}/lgemri.nrrd"] = nrrd(folder, image)
        found[f"{name}/laendo.nrrd"] = nrrd(folder, label)
        found[f"{name}/lawall.nrrd"] = b"not looked at"
    return found


def test_scans_keep_their_sets_and_get_ones(tmp_path: Path) -> None:
    cases = converted(convert, tmp_path / "out", zipped(tmp_path / "a.zip", files(tmp_path)))
    image, label, case = cases["1D7CUD1955"]
    own, drawn = scan(1)
    assert (image[0] == own).all() and (label == drawn // 255).all() and case.split != "test"
    assert cases["4CBJYZ0011"][2].split == "test" and (cases["4CBJYZ0011"][1] == scan(2)[1] // 255).all()
    written = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "out/labelsTr/1D7CUD1955.nrrd")))
    assert sorted(np.unique(written)) == [0, 1], "other programs read ones too"


def test_a_label_with_other_values_and_a_missing_one_are_refused(tmp_path: Path) -> None:
    found = files(tmp_path)
    found["Training Set/0RZDK210/laendo.nrrd"] = nrrd(tmp_path, np.full((4, 9, 8), 7, np.uint8))
    with pytest.raises(DataError, match="label value 7") as raised:
        converted(convert, tmp_path / "out", zipped(tmp_path / "a.zip", found))
    assert "0RZDK210/laendo.nrrd" in raised.value.where
    del found["Training Set/0RZDK210/laendo.nrrd"]
    with pytest.raises(DataError, match=r"has no laendo.nrrd"):
        converted(convert, tmp_path / "out2", zipped(tmp_path / "b.zip", found))
    with pytest.raises(DataError, match="no training case"):
        only_test = {name: content for name, content in found.items() if name.startswith("Testing")}
        converted(convert, tmp_path / "out3", zipped(tmp_path / "c.zip", only_test))


def test_test_scans_need_no_labels_but_all_have_them_or_none(tmp_path: Path) -> None:
    found = files(tmp_path)
    found["Testing Set/BARE/lgemri.nrrd"] = nrrd(tmp_path, scan(9)[0])
    with pytest.raises(DataError, match="others have one"):
        converted(convert, tmp_path / "mixed", zipped(tmp_path / "a.zip", found))
    del found["Testing Set/4CBJYZ0011/laendo.nrrd"]
    cases = converted(convert, tmp_path / "out", zipped(tmp_path / "b.zip", found))
    assert cases["BARE"][1] is cases["4CBJYZ0011"][1] is None and cases["BARE"][2].split == "test"
