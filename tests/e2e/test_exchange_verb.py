"""Labels edited in other programs as a user does it: exported, changed there, imported, repaired, signed off."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK
from tests.audits import refused
from tests.e2e.conftest import Command
from tests.exchanged import volumes
from tests.written_audits import given_label

from debride.data.open import open_dataset


def test_an_edit_in_slicer_and_one_in_itk_snap_are_in_the_repaired_labels(tmp_path: Path, debride: Command) -> None:
    dataset, audit = volumes(tmp_path)
    (tmp_path / "ids.txt").write_text("vol01\n")
    slicer, snap, ann = tmp_path / "slicer", tmp_path / "snap", ("--reader", "ann")
    assert "2 cases" in debride("review", audit, "--export", slicer, "--as", "slicer").out
    assert "1 cases" in debride("review", audit, "--export", snap, "--as", "itk-snap", "--cases", tmp_path / "ids.txt").out
    expected = {name: given_label(dataset, name) for name in ("vol00", "vol01", "vol02")}
    for path, name in ((slicer / "vol00.seg.nrrd", "vol00"), (snap / "vol01.nii.gz", "vol01")):
        image = SimpleITK.ReadImage(str(path))
        image[19, 0, 3] = image[18, 0, 3] = 2
        SimpleITK.WriteImage(image, str(path), useCompression=True)
        expected[name][3, 0, 18:] = 2
    for folder in (slicer, snap):
        assert "1 new decision," in debride("review", audit, *ann, "--import", folder).out
        assert "0 new decisions" in debride("review", audit, *ann, "--import", folder).out
    (slicer / "vol00.seg.nrrd").rename(slicer / "vol0.seg.nrrd")
    refused(debride("review", audit, *ann, "--import", slicer), "vol0.seg.nrrd", "no case", "Did you mean vol0")
    refused(debride("review", audit, "--import", slicer), "--reader", "is missing")
    repaired = tmp_path / "repaired"
    assert debride("repair", dataset.root, audit, "--out", repaired, "--decisions", audit / "review.db").code == 0
    after = open_dataset(repaired)
    for name, label in expected.items():
        assert np.array_equal(given_label(after, name), label), name
    signed = debride("changes", repaired).out
    assert "vol00" in signed and "vol01" in signed and "ann" in signed and "vol02" not in signed
