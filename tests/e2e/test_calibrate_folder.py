"""``debride calibrate DATASET --predictions DIR``: masks and maps of any network."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from scipy import ndimage
from tests.datasets import SPACING, build_folder, build_manifest, build_nnunet_3d, save_nifti, save_png
from tests.e2e.conftest import Command
from tests.prediction_files import save_map, save_npy

TRUSTED = tuple(f"case{number:03d}" for number in range(6))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("given")
    build_folder(root / "data", n=10)
    write_list(root / "verified.txt", TRUSTED)
    return root / "data"


def write_list(path: Path, names: Any) -> Path:
    path.write_text("\n".join(names) + "\n")
    return path


def labels(data: Path) -> dict[str, npt.NDArray[np.bool_]]:
    return {path.stem: np.asarray(Image.open(path)) > 0 for path in sorted((data / "masks").glob("*.png"))}


def signed(mask: npt.NDArray[np.bool_], spacing: tuple[float, ...] | None = None) -> npt.NDArray[np.float64]:
    """Distances into a mask, 0 halfway between two pixels, by another library than the one that moves outlines."""
    half = min(spacing or (1,)) / 2
    inner, outer = (ndimage.distance_transform_edt(part, sampling=spacing) for part in (mask, ~mask))
    distance: npt.NDArray[np.float64] = np.where(mask, inner - half, half - outer)
    return distance


@pytest.fixture
def small(data: Path, tmp_path: Path) -> Path:
    """Masks that are two pixels too small."""
    for name, mask in labels(data).items():
        save_png(tmp_path / "small" / f"{name}.png", ((signed(mask) > 2) * 255).astype(np.uint8))
    return tmp_path / "small"


def words(data: Path, predictions: Path, out: Path, *more: object) -> list[object]:
    verified = data.parent / "verified.txt"
    return ["calibrate", data, "--predictions", predictions, "--trusted", verified, "--out", out, *more]


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def test_masks_that_are_too_small(data: Path, small: Path, debride: Command, tmp_path: Path) -> None:
    answer = debride(*words(data, small, tmp_path / "out", "--jobs", "1"))
    assert answer.code == 0 and re.search(r"Labels of class foreground lie (1.75|2|2.25) px( \(.*\))? inside.\n", answer.out)
    assert f"{tmp_path / 'out'}: 10 masks\n" in answer.out
    written = json.loads((tmp_path / "out" / "calibration.json").read_text())
    assert written["kind"] == "shift" and written["weights"] is None and written["cases"] == list(TRUSTED)
    assert written["calibration"]["shifts"] == [0, pytest.approx(2, abs=0.5)] and not any(written["calibration"]["offsets"])
    (shift,) = written["calibration"]["shifts"][1:]
    for name in labels(data):
        given = np.asarray(Image.open(small / f"{name}.png")) > 0
        mask = np.asarray(Image.open(tmp_path / "out" / f"{name}.png"))
        np.testing.assert_array_equal(mask, (signed(given) + shift > 0) * 255)
    answer = debride(*words(data, small, tmp_path / "two", "--jobs", "2"))
    assert answer.code == 0 and content(tmp_path / "two") == content(tmp_path / "out")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".tmp")]


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_maps_of_a_network_that_finds_too_little(kind: str, data: Path, debride: Command, tmp_path: Path) -> None:
    maps = {}
    for name, mask in labels(data).items():
        foreground = 1 / (1 + np.exp(2 - 1.5 * signed(mask)))  # less than a half up to 1.3 pixels inside
        maps[name] = np.stack([1 - foreground, foreground]).astype(np.float32)
        if kind == "npy":
            save_npy(tmp_path / "maps" / f"{name}.npy", maps[name])
        else:  # as nnU-Net saves a plane
            save_map(tmp_path / "maps" / f"{name}.npz", probabilities=maps[name][:, None])
    answer = debride(*words(data, tmp_path / "maps", tmp_path / "out", "--no-shifts"))
    assert answer.code == 0 and "it is found too seldom" in answer.out
    offsets = json.loads((tmp_path / "out" / "calibration.json").read_text())["calibration"]["offsets"]
    assert offsets == [0, pytest.approx(2, abs=0.8)]
    for name, probability in maps.items():
        mask = np.asarray(Image.open(tmp_path / "out" / f"{name}.png"))
        expected = np.log(probability[1] / probability[0]) + offsets[1] > 0
        assert (mask != expected * 255).mean() < 1e-3


def test_volumes_keep_their_place(debride: Command, tmp_path: Path) -> None:
    """Those of imagesTs, without a label, are moved too; a prediction that is turned is read turned."""
    data = build_nnunet_3d(tmp_path / "data", n=5, shape=(8, 20, 24), classes=2, channels=1)
    for path in sorted((data / "labelsTr").glob("*.nii.gz")):
        label: Any = nib.load(path)  # type: ignore[attr-defined]
        inner = signed(np.asarray(label.dataobj).T > 0, SPACING) > 2
        save_nifti(tmp_path / "small" / path.name, inner.astype(np.uint8))
    stranger = tmp_path / "small" / "vol05.nii.gz"
    shutil.copyfile(path.with_name("vol00.nii.gz"), stranger)
    turned: Any = nib.load(tmp_path / "small" / "vol01.nii.gz")  # type: ignore[attr-defined]
    nib.save(turned.as_reoriented([[0, -1], [1, 1], [2, 1]]), tmp_path / "small" / "vol01.nii.gz")  # type: ignore[attr-defined]
    write_list(tmp_path / "verified.txt", ["vol00", "vol01", "vol02", "vol03"])
    answer = debride(*words(data, tmp_path / "small", tmp_path / "out"))
    assert answer.code == 0 and "mm" in answer.out and f"{tmp_path / 'out'}: 6 masks" in answer.out
    calibration = json.loads((tmp_path / "out" / "calibration.json").read_text())["calibration"]
    assert calibration["unit"] == "mm" and calibration["shifts"][1] > 0.5
    for name in ("vol00", "vol01", "vol05"):
        image: Any = nib.load(next(data.glob(f"images*/{name}_0000.nii.gz")))  # type: ignore[attr-defined]
        mask: Any = nib.load(tmp_path / "out" / f"{name}.nii.gz")  # type: ignore[attr-defined]
        np.testing.assert_allclose(mask.affine, image.affine)
        given: Any = nib.load(tmp_path / "small" / f"{name}.nii.gz")  # type: ignore[attr-defined]
        given = nib.as_closest_canonical(given)  # type: ignore[attr-defined]
        expected = signed(np.asarray(given.dataobj).T > 0, SPACING) + calibration["shifts"][1] > 0
        np.testing.assert_array_equal(np.asarray(nib.as_closest_canonical(mask).dataobj).T, expected)  # type: ignore[attr-defined]


def test_nothing_is_changed_where_nothing_is_wrong(data: Path, debride: Command, tmp_path: Path) -> None:
    shutil.copytree(data / "masks", tmp_path / "right")
    answer = debride(*words(data, tmp_path / "right", tmp_path / "out"))
    assert answer.code == 0 and "Nothing is changed: 6 verified cases show no bias" in answer.out
    for name, mask in labels(data).items():
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / f"{name}.png")), mask * 255)


def test_it_goes_on_after_a_bad_prediction(data: Path, small: Path, debride: Command, tmp_path: Path) -> None:
    bad = small / "case008.png"
    whole = bad.read_bytes()
    bad.write_bytes(whole[: len(whole) // 2])
    ask = words(data, small, tmp_path / "out")
    answer = debride(*ask)
    assert answer.code == 2 and str(bad) in answer.err and "--resume" in answer.err
    assert debride(*ask).code == 2  # not without --resume
    answer = debride(*ask, "--resume", "--keep-going")
    assert answer.code == 1 and f"{tmp_path / 'out'}: 9 masks" in answer.out
    with (tmp_path / "out" / "left_out.csv").open(newline="") as file:
        assert [row["case"] for row in csv.DictReader(file)] == ["case008"]
    bad.write_bytes(whole)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.png")}
    assert debride(*ask, "--resume").code == 0
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.png")}
    assert [name for name, when in after.items() if before.get(name) != when] == ["case008.png"]
    assert not (tmp_path / "out" / "left_out.csv").exists()
    answer = debride(*ask, "--resume", "--no-shifts")
    assert answer.code == 2 and "was made with another `calibration`" in answer.err


def test_predictions_of_some_cases(data: Path, small: Path, debride: Command, tmp_path: Path) -> None:
    for name in ("case000", "case009"):
        (small / f"{name}.png").unlink()
    answer = debride(*words(data, small, tmp_path / "out"))
    assert answer.code == 0 and "1 of 6 verified cases have no prediction" in answer.err
    assert f"{tmp_path / 'out'}: 8 masks" in answer.out
    (small / "predictions.json").write_text('{"trained_on": ["case001", "case008"]}')
    answer = debride(*words(data, small, tmp_path / "again"))
    assert answer.code == 0 and "The network was trained on 1 of these 5 verified cases" in answer.err
    for name in TRUSTED[1:]:
        (small / f"{name}.png").unlink()
    answer = debride(*words(data, small, tmp_path / "none"))
    assert answer.code == 2 and "has no prediction of the verified case000, case001" in answer.err
    assert not (tmp_path / "none").exists()


def test_an_image_of_several_raters_has_one_mask(debride: Command, tmp_path: Path) -> None:
    data = build_manifest(tmp_path / "data", n=4)
    for path in (data / "masks" / "rater1").glob("*.png"):
        mask = np.asarray(Image.open(path)) > 0
        save_png(tmp_path / "small" / path.name, (signed(mask) > 1).astype(np.uint8))
    write_list(tmp_path / "verified.txt", [f"scan{number}@rater1" for number in range(4)])
    answer = debride(*words(data, tmp_path / "small", tmp_path / "out"))
    assert answer.code == 0 and f"{tmp_path / 'out'}: 4 masks" in answer.out
    assert "4 verified cases of 2 patients" in answer.out
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == [f"scan{number}.png" for number in range(4)]


def test_no_network_is_needed(data: Path, small: Path, tmp_path: Path) -> None:
    code = """
import sys
from debride.cli import main
assert main(sys.argv[1:]) == 0
sys.exit(f"imported {loaded}" if (loaded := {"torch", "monai"} & set(sys.modules)) else 0)
"""
    ask = [sys.executable, "-c", code, *map(str, words(data, small, tmp_path / "out", "--jobs", "1"))]
    done = subprocess.run(ask, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_one_form_or_the_other(data: Path, small: Path, debride: Command, tmp_path: Path) -> None:
    out, run = tmp_path / "out", tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text("{}")
    verified = ["--trusted", data.parent / "verified.txt"]
    for ask, said in (
        (["calibrate", run, data, "--predictions", small, "--out", out], "--predictions: is given beside the run"),
        (["calibrate", data], "is given alone, with neither a run nor --predictions"),
        (["calibrate", run], "is given alone, with no data set"),
        (["calibrate", data, run], "is a run, in the place of the data set"),
        (["calibrate", data, "--predictions", small], "--out: is missing"),
        (["calibrate", run, data, "--out", out], "--out: is for predictions in a folder"),
        (["calibrate", run, data, "--resume"], "--resume: is for predictions in a folder"),
        (words(data, small, out, "--checkpoint", "last"), "--checkpoint: is for a run"),
        (words(data, run, out), "holds runs, not predictions"),
        (words(data, small, data / "out"), "lies in the data set"),
        (words(data, small, small / "out"), "lies in the folder of predictions"),
        (words(data, small, out, "--confidence", "2"), "--confidence: is 2"),
        (words(data, tmp_path / "nowhere", out), "nowhere"),
        (["calibrate", data, "--predictions", small, "--out", out], "has no verified case"),
    ):
        answer = debride(*ask, *(verified if "run" in said else []))
        assert answer.code == 2 and said in answer.err, (ask, answer)
        assert not out.exists()
