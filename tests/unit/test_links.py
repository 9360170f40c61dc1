"""A link whose target is missing, as git-annex, DataLad and DVC leave it, is a missing file and not an absent one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.datasets import build_folder, build_manifest, build_nnunet_2d, build_npz

from debride.data.check import find_problems
from debride.data.open import open_dataset
from debride.types import DataError

Build = Callable[[Path], Path]

PLACES: list[tuple[Build, str]] = [
    (build_folder, "splits.json"),
    (build_folder, "dataset.json"),
    (build_folder, "images"),
    (build_folder, "masks"),
    (build_nnunet_2d, "dataset.json"),
    (build_nnunet_2d, "splits_final.json"),
    (build_nnunet_2d, "labelsTs"),
    (build_nnunet_2d, "imagesTs"),
    (build_nnunet_2d, "imagesTr"),
    (build_manifest, "manifest.csv"),
    (build_manifest, "dataset.json"),
    (build_manifest, "images/scan0.png"),
    (build_npz, "splits.json"),
]


def dangle(path: Path) -> None:
    """Put a link to nothing where a file or folder is, or could be."""
    if path.exists():
        path.rename(path.with_name(path.name + ".away"))
    path.symlink_to(Path(".git", "annex", "objects", "XX", "content"))


@pytest.mark.parametrize(("build", "name"), PLACES, ids=[f"{build.__name__[6:]}-{name}" for build, name in PLACES])
def test_a_dangling_link_is_a_missing_file(tmp_path: Path, build: Build, name: str) -> None:
    root = build(tmp_path / "data")
    dangle(root / name)
    with pytest.raises(DataError, match=r"is a link to \.git/annex.*Fetch it \(git annex get"):
        open_dataset(root)
    assert any("is a link to" in problem.problem for problem in find_problems(root))
    (root / name).unlink()
    away = root / f"{name}.away"
    if away.exists():
        away.rename(root / name)
    open_dataset(root)  # once it is fetched, as the remedy says


@pytest.mark.parametrize("name", ["splits.json", "masks"])
def test_a_file_that_dvc_keeps(tmp_path: Path, name: str) -> None:
    root = build_folder(tmp_path)
    (root / name).rename(tmp_path / "cache")
    (root / f"{name}.dvc").write_text("outs:\n- md5: 0\n")
    with pytest.raises(DataError, match=r"by which DVC keeps it.*dvc pull"):
        open_dataset(root)


@pytest.mark.parametrize("text", ["/annex/objects/SHA256E-s9--0.png\n", "version https://git-lfs.github.com/spec/v1\noid 0\n"])
def test_pointers_and_links_among_images(tmp_path: Path, text: str) -> None:
    root = build_folder(tmp_path)
    (root / "masks" / "case001.png").write_text(text)
    (root / "images" / "case002.png").unlink()
    (root / "images" / "case002.png").symlink_to("nowhere.png")
    found = {Path(problem.file).name: problem.problem for problem in find_problems(root)}
    assert "has not been fetched" in found["case001.png"]
    assert "is a link to nowhere.png" in found["case002.png"]
