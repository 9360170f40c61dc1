"""The list of checksums of a data set: what is in it, what it finds, and that each file is read once."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from tests.datasets import build_folder, build_manifest, build_nnunet_2d, build_npz, save_json

from debride.cli import main
from debride.data import checksums
from debride.data.check import find_problems
from debride.data.checksums import CHECKSUMS, verify, write_checksums
from debride.data.open import open_dataset
from debride.notes import take_notes
from debride.types import DataError


def listed(root: Path) -> dict[str, str]:
    lines = (root / CHECKSUMS).read_text().splitlines()
    return {line.split("  ", 1)[1]: line.split("  ", 1)[0] for line in lines}


def seal(root: Path) -> Path:
    assert main(["check", str(root), "--write-checksums"]) == 0
    return root


@pytest.mark.parametrize(
    ("build", "texts", "count"),
    [
        (build_folder, {"splits.json"}, 12),
        (build_manifest, {"manifest.csv"}, 4 + 12),
        (build_nnunet_2d, {"dataset.json", "splits_final.json"}, 16),
        (build_npz, set(), 1),
    ],
)
def test_all_files_of_all_cases_are_listed(
    tmp_path: Path, build: Callable[[Path], Path], texts: set[str], count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    root = build(tmp_path / "set")
    seal(root)
    found = listed(root)
    assert texts <= found.keys() and len(found) == count + len(texts)
    for name, digest in found.items():
        assert digest == hashlib.blake2b((root / name).read_bytes()).hexdigest()
    assert f"{CHECKSUMS}: written" in capsys.readouterr().out
    assert find_problems(root) == []
    before = (root / CHECKSUMS).read_bytes()
    seal(root)
    assert (root / CHECKSUMS).read_bytes() == before


def test_cases_that_the_splits_leave_out_are_listed_too(tmp_path: Path) -> None:
    root = build_nnunet_2d(tmp_path / "set")
    save_json(root / "splits_final.json", [{"train": ["p00_s0"], "val": ["p01_s0"]}, {"train": ["p02_s0"], "val": ["p02_s1"]}])
    seal(root)
    assert "labelsTr/p02_s1.png" in listed(root)
    open_dataset(root, fold=1)


@pytest.mark.skipif(shutil.which("b2sum") is None, reason="needs b2sum")
def test_b2sum_reads_and_writes_the_same_list(tmp_path: Path) -> None:
    root = build_folder(tmp_path / "set", n=6)
    for odd in ("a\\b", "with space", " *star", "b\nc"):
        for part in ("images", "masks"):
            (root / part / f"{odd}.png").write_bytes((root / part / "case000.png").read_bytes())
    files = sorted(path for part in ("images", "masks") for path in (root / part).iterdir())
    checksums._write(root, files)
    subprocess.run(["b2sum", "--check", "--quiet", "--strict", CHECKSUMS], cwd=root, check=True)
    names = [path.relative_to(root) for path in files]
    theirs = subprocess.run(["b2sum", *names], cwd=root, check=True, capture_output=True).stdout
    assert (root / CHECKSUMS).read_bytes() == theirs
    problems: list[DataError] = []
    assert verify(root, problems.append) == frozenset(files) and problems == []


def test_a_data_file_beside_its_header_is_listed(tmp_path: Path) -> None:
    root = build_folder(tmp_path / "set", splits=False)
    rng = np.random.default_rng(0)
    for part in ("images", "masks"):
        volume = SimpleITK.GetImageFromArray(rng.integers(0, 2, (3, 32, 32)).astype(np.uint8))
        SimpleITK.WriteImage(volume, str(root / part / "vol.mhd"))
        for path in (root / part).glob("case*"):
            path.unlink()
    dataset = open_dataset(root, val_fraction=0)
    write_checksums(dataset)
    assert set(listed(root)) == {f"{part}/vol.{ending}" for part in ("images", "masks") for ending in ("mhd", "raw")}


def test_what_is_changed_missing_or_new_is_named_with_a_remedy_that_helps(tmp_path: Path) -> None:
    root = seal(build_folder(tmp_path / "set").resolve())
    swapped = root / "masks" / "case000.png"
    swapped.write_bytes((root / "masks" / "case001.png").read_bytes())
    (root / "images" / "case001.png").unlink()
    (root / "masks" / "case001.png").unlink()
    save_json(root / "dataset.json", {"classes": ["background", "lesion"], "values": {"0": 0, "255": 1}})
    save_json(root / "splits.json", {"train": ["case000", "case002", "case003"], "val": ["case004"], "test": ["case005"]})
    problems = {Path(problem.file).relative_to(root).as_posix(): problem for problem in find_problems(root)}
    assert set(problems) == {
        "masks/case000.png",
        "images/case001.png",
        "masks/case001.png",
        "dataset.json",
        "splits.json",
    }
    assert "differs from B2SUMS" in problems["masks/case000.png"].problem
    assert "does not exist" in problems["images/case001.png"].problem
    assert "is not listed" in problems["dataset.json"].problem
    with pytest.raises(DataError, match="debride check --write-checksums"):
        open_dataset(root)
    seal(root)
    assert find_problems(root) == []


@pytest.mark.parametrize("verb", ["check", "train", "corrupt", "evaluate", "audit"])
def test_every_verb_refuses_a_file_that_differs(tmp_path: Path, verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    root = seal(build_folder(tmp_path / "set"))
    file = root / "masks" / "case000.png"
    file.write_bytes((root / "masks" / "case001.png").read_bytes())
    words = {
        "train": ["train", "ce", root, "--out", tmp_path / "out"],
        "corrupt": ["corrupt", root, tmp_path / "out", "--noise", "dilate-erode"],
        "evaluate": ["evaluate", root / "masks", root, "--out", tmp_path / "out"],
        "audit": ["audit", root, "--predictions", root / "masks", "--out", tmp_path / "out"],
        "check": ["check", root],
    }[verb]
    assert main([str(word) for word in words]) in (1, 2)
    said = "".join(capsys.readouterr())
    assert "masks/case000.png" in said and "B2SUMS" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "line",
    ["abc  x", f"{'0' * 128}  /etc/passwd", f"{'0' * 128}  ../x", f"{'0' * 128} x", "", f"{'g' * 128}  x"],
)
def test_a_list_that_is_none_is_refused_by_its_line(tmp_path: Path, line: str) -> None:
    root = seal(build_folder(tmp_path / "set").resolve())
    with (root / CHECKSUMS).open("a") as file:
        file.write(f"{line}\n")
    assert f"{root / CHECKSUMS}:14" in [problem.file for problem in find_problems(root)]
    (root / CHECKSUMS).write_bytes(b"")
    assert any(problem.file == f"{root / CHECKSUMS}:1" for problem in find_problems(root))


def test_each_file_is_read_once_in_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = seal(build_folder(tmp_path / "set"))
    read: list[Path] = []
    real = checksums.hashlib.file_digest
    monkeypatch.setattr(checksums.hashlib, "file_digest", lambda file, kind: (read.append(file.name), real(file, kind))[1])
    open_dataset(root)
    assert read == []
    os.utime(root / "masks" / "case000.png")
    open_dataset(root)
    assert [Path(name).name for name in read] == ["case000.png"]


def test_problems_keep_the_list_from_being_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = build_folder(tmp_path / "set")
    (root / "masks" / "case000.png").unlink()
    assert main(["check", str(root), "--write-checksums"]) == 1
    assert "No checksums were written." in capsys.readouterr().err
    assert not (root / CHECKSUMS).exists()


def test_a_single_file_has_the_list_beside_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = seal(build_npz(tmp_path / "set"))
    open_dataset(root / "small.npz")
    assert main(["check", str(root / "small.npz"), "--write-checksums"]) == 2
    assert "Put it into a folder of its own" in capsys.readouterr().err
    content = bytearray((root / "small.npz").read_bytes())
    (root / "small.npz").write_bytes(content + b"\0")
    with pytest.raises(DataError, match=r"small\.npz: is not the file that it was"):
        open_dataset(root / "small.npz")


@pytest.mark.parametrize("build", [build_folder, build_npz])
def test_a_copy_gets_a_list_of_its_own(tmp_path: Path, build: Callable[[Path], Path]) -> None:
    root = seal(build(tmp_path / "set"))
    noise = ["dilate-erode", "--set", "nearest=2", "farthest=3"] if build is build_folder else ["symmetric"]
    assert main(["corrupt", str(root), str(tmp_path / "noisy"), "--noise", *noise]) == 0
    found, source = listed(tmp_path / "noisy"), listed(root)
    assert "noise.json" in found and found != source
    assert find_problems(tmp_path / "noisy") == []
    same = [name for name in found if name.startswith("images/")]
    assert all(found[name] == source[name] for name in same)


def test_a_copy_says_that_it_has_a_list_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    take_notes()
    root = seal(build_folder(tmp_path / "set"))
    assert main(["corrupt", str(root), str(tmp_path / "noisy"), "--noise", "dilate-erode"]) == 0
    assert "its copy gets a list of its own" in capsys.readouterr().err


def test_without_a_list_nothing_is_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(checksums.hashlib, "file_digest")
    assert find_problems(build_folder(tmp_path / "set")) == []
