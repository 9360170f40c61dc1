"""Which format a data set has, for classification or segmentation, and what is none."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.class_sets import SOUND, folders, npz, small, table
from tests.datasets import build_folder, build_manifest, build_nnunet_2d, build_nnunet_3d, build_npz

from debride.data.formats import detect_format
from debride.data.open import open_dataset
from debride.types import DataError


def test_formats_are_told_apart(tmp_path: Path) -> None:
    """Also where one kind of data set lies beside another's files; segmentation is found as it was."""
    built = {
        "folder": build_folder(tmp_path / "folder"),
        "manifest": build_manifest(tmp_path / "manifest"),
        "nnunet": build_nnunet_2d(tmp_path / "nnunet"),
        "npz": build_npz(tmp_path / "npz", n=6),
        "classes": folders(tmp_path / "classes", "a/1.png", "b/1.png", "b/2.png"),
        "table": table(tmp_path / "table", "case,image,class,split,trusted", *SOUND),
    }
    tasks = {}
    for format, root in built.items():
        dataset = open_dataset(root)
        tasks[format] = dataset.task
        assert dataset.format == format
        assert open_dataset(root, format=format).cases == dataset.cases
        detected = detect_format(root)
        assert detected is not None and (detected.name, detected.task) == (format, dataset.task)
    assert tasks == {name: "classification" if name in ("npz", "classes", "table") else "segmentation" for name in built}
    volumes = detect_format(build_nnunet_3d(tmp_path / "volumes"))
    assert volumes is not None and volumes.task == "segmentation"
    for name in ("folder", "nnunet", "manifest"):
        shutil.copy(built["npz"] / "small.npz", built[name] / "features.npz")
        assert open_dataset(built[name]).format == name
    shutil.copy(built["npz"] / "small.npz", built["npz"] / "second.npz")
    with pytest.raises(DataError, match=r"holds 2 \.npz files: second\.npz, small\.npz"):
        open_dataset(built["npz"])


@pytest.mark.parametrize("format", ["npz", "classes", "table"])
def test_a_format_that_does_not_fit(tmp_path: Path, format: str) -> None:
    """Whatever the folder or file is, what is raised is for the user."""
    build_folder(tmp_path / "folder")
    npz(tmp_path / "two", small(), "a.npz")
    npz(tmp_path / "two", small(), "b.npz")
    (tmp_path / "empty").mkdir()
    file = npz(tmp_path, small())
    for path in (tmp_path / "folder", tmp_path / "two", tmp_path / "empty", file):
        if (format, path) in (("npz", file), ("classes", tmp_path / "folder")):
            continue
        with pytest.raises(DataError) as refused:
            open_dataset(path, format=format)
        assert str(path) in refused.value.where


def test_what_is_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    for path, problem in (("file.txt", "is not a folder"), ("empty", "is no data set of a")):
        with pytest.raises(DataError, match=problem) as refused:
            open_dataset(tmp_path / path)
        assert r".npz file" in refused.value.remedy
    with pytest.raises(DataError, match=r"absent\.npz: does not exist\. Check the path\.$"):
        open_dataset(tmp_path / "absent.npz")
