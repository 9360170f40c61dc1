"""A copy is the source with some pixels changed: what the files beside the masks say stays, text and order too."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from tests.datasets import build_folder, build_manifest, build_nnunet_2d, build_nnunet_3d, build_npz, save_json, save_png

from debride.audit.raters.compare import write_consensus
from debride.data.classes.corrupt_classes import corrupt_classes
from debride.data.copy import copy_dataset
from debride.data.open import open_dataset
from debride.data.pixels.images import copy_image
from debride.noise import make_class_noise
from debride.notes import take_notes
from debride.types import Case, Geometry, Split

Label = npt.NDArray[np.uint8]


def rolled(case: Case, ids: Label, geometry: Geometry) -> Label:
    return np.roll(ids, 3, axis=-1)


def copied(root: Path, out: Path, **options: Any) -> Path:
    take_notes()
    copy_dataset(open_dataset(root, **options), out, rolled)
    return out


def test_a_manifest_keeps_its_text(tmp_path: Path) -> None:
    root = build_manifest(tmp_path / "source")
    text = (root / "manifest.csv").read_text().splitlines()
    lines = [f"{line},{extra}" for line, extra in zip(text, ["Dose", *["007", "1e3", '"x,y"', ""] * 3], strict=True)]
    content = ("sep=;\r\n" + "\r\n".join(line.replace(",", ";") for line in lines) + "\r\n").encode()
    (root / "manifest.csv").write_bytes(content)
    assert (copied(root, tmp_path / "out") / "manifest.csv").read_bytes() == content


def test_a_manifest_gets_only_what_it_lacks(tmp_path: Path) -> None:
    root = build_manifest(tmp_path / "source", raters=1)
    rows = ["case;image;label;site;weight"]
    rows += [f" scan{i} ;{root}/images/scan{i}.png;masks/rater1/scan{i}.png;A;0{i}.50" for i in range(4)]
    (root / "manifest.csv").write_text("\n".join(rows) + "\n")
    source = open_dataset(root, patient_pattern="scan([0-9])")
    copy_dataset(source, tmp_path / "out", rolled)
    got = (tmp_path / "out" / "manifest.csv").read_text().splitlines()
    assert got[0] == rows[0] + ";patient;split"
    splits = {case.id: case.split for case in source.cases}
    for i in range(4):
        split = splits[f"scan{i}"]
        assert got[i + 1] == f" scan{i} ;images/scan{i}.png;masks/rater1/scan{i}.png;A;0{i}.50;{i};{split}"
    again = open_dataset(tmp_path / "out")
    assert [(c.id, c.patient, c.split) for c in again.cases] == [(c.id, c.patient, c.split) for c in source.cases]


def test_a_consensus_keeps_the_first_row_of_an_image(tmp_path: Path) -> None:
    root = build_manifest(tmp_path / "source")
    lines = (root / "manifest.csv").read_text().splitlines()
    (root / "manifest.csv").write_text("\n".join(f"{line},{i or 'note'}" for i, line in enumerate(lines)) + "\n")
    write_consensus(open_dataset(root), tmp_path / "out", "majority")
    got = (tmp_path / "out" / "manifest.csv").read_text().splitlines()
    assert got[0].endswith(",note") and len(got) == 5
    assert got[1] == "scan0,P0,images/scan0.png,labels/scan0.png,,train,0,1"
    assert [line.rpartition(",")[2] for line in got[1:]] == ["1", "4", "7", "10"]


def test_json_files_keep_their_bytes(tmp_path: Path) -> None:
    root = build_folder(tmp_path / "source")
    said = '{"licence": "CC0", "scale": 1.50,\n\n "classes": ["background", "polyp"], "values": {"0": 0, "255": 1}, "x": 1e3}'
    (root / "dataset.json").write_text(said)
    splits = (root / "splits.json").read_text().replace("train", "Training") + "\n\n"
    (root / "splits.json").write_text(splits)
    out = copied(root, tmp_path / "out")
    assert (out / "dataset.json").read_text() == said
    assert (out / "splits.json").read_text() == splits


def test_json_gets_only_what_it_lacks(tmp_path: Path) -> None:
    root = build_folder(tmp_path / "source", splits=False)
    save_json(root / "dataset.json", {"licence": "CC0", "patients": {"case001 ": "p1"}})
    source = open_dataset(root)
    copy_dataset(source, tmp_path / "out", rolled)
    said = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert said["licence"] == "CC0" and said["classes"] == ["background", "foreground"]
    assert said["patients"] == {"case001 ": "p1"}
    assert [case.split for case in open_dataset(tmp_path / "out", seed=9).cases] == [case.split for case in source.cases]


def test_all_folds_and_cases_are_in_a_copy(tmp_path: Path) -> None:
    root = build_nnunet_2d(tmp_path / "source", n=7)
    ids = [f"p{i // 2:02d}_s{i % 2}" for i in range(7)]
    text = json.dumps([{"train": ids[:3], "val": ids[3:5]}, {"val": ids[:3], "train": ids[3:]}], indent=4)
    (root / "splits_final.json").write_text(text)
    described = (root / "dataset.json").read_text().replace("numTraining", "licence").replace(": 7", ': "CC"')
    (root / "dataset.json").write_text(described)
    out = copied(root, tmp_path / "out")
    assert (out / "splits_final.json").read_text() == text and (out / "dataset.json").read_text() == described
    assert {path.name for path in (out / "imagesTr").iterdir()} == {path.name for path in (root / "imagesTr").iterdir()}
    for id in ids:
        same = (out / "labelsTr" / f"{id}.png").read_bytes() == (root / "labelsTr" / f"{id}.png").read_bytes()
        assert same == (id in ids[5:]), "cases that the fold leaves out are as they were"
    assert any("has 2 cases that fold 0 leaves out" in said for said in take_notes())
    assert len(open_dataset(out, fold=1).of("train")) == 4


def test_a_fold_without_folds_is_refused(tmp_path: Path) -> None:
    root = build_nnunet_3d(tmp_path)
    with pytest.raises(ValueError, match="fold 1 is asked for"):
        open_dataset(root, fold=1)


def test_other_files_are_carried_or_named(tmp_path: Path) -> None:
    root = build_folder(tmp_path / "source")
    for name in ("README.md", "LICENSE", "participants.tsv", "noise.json", ".hidden", "masks/.DS_Store", "masks/Thumbs.db"):
        (root / name).write_text(name)
    (root / "scripts").mkdir()
    (root / "masks" / "legend.txt").write_text("x")
    out = copied(root, tmp_path / "out")
    assert {path.name for path in out.iterdir()} == {
        *("README.md", "LICENSE", "participants.tsv", "dataset.json", "splits.json", "images", "masks"),
    }
    said = take_notes()
    assert len(said) == 1 and "scripts is no part of a case, and is not copied (and 1 more like it)" in said[0]


def test_a_class_table_keeps_its_text_and_places(tmp_path: Path) -> None:
    for i in range(4):
        save_png(tmp_path / "source" / "pictures" / f"i{i}.png", np.full((8, 8), 40 * i, np.uint8) + np.eye(8, dtype=np.uint8))
    text = "Image;Class;weight;split\r\n" + "".join(
        f"pictures/i{i}.png;{'ab'[i % 2]};0{i}.0;{'train' if i < 2 else 'val'}\r\n" for i in range(4)
    )
    (tmp_path / "source" / "labels.csv").write_bytes(text.encode())
    noise, splits = make_class_noise("symmetric", rate=1.0), frozenset[Split]({"train"})
    report = corrupt_classes(open_dataset(tmp_path / "source"), tmp_path / "out", noise, seed=0, splits=splits)
    want = text
    for case, (old, new) in report["cases"].items():
        want = want.replace(f"{case}.png;{old}", f"{case}.png;{new}")
    assert want != text
    assert (tmp_path / "out" / "labels.csv").read_bytes() == want.encode()
    assert (tmp_path / "out" / "pictures" / "i3.png").is_file()


def test_an_npz_folder_keeps_its_json(tmp_path: Path) -> None:
    root = build_npz(tmp_path / "source")
    said = json.loads((root / "dataset.json").read_text()) if (root / "dataset.json").exists() else {}
    classes = said.get("classes", ["a", "b", "c"])
    text = json.dumps({"licence": "CC", "classes": classes}, indent=3)
    (root / "dataset.json").write_text(text)
    corrupt_classes(open_dataset(root), tmp_path / "out", make_class_noise("symmetric", rate=0.5), seed=0)
    assert (tmp_path / "out" / "dataset.json").read_text() == text


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((9, 8), np.int16), ((9, 8, 1), np.uint8), ((9, 8, 5, 1), np.int16), ((9, 8, 5, 1, 1), np.float32), ((9, 8, 5), ">i2")],
)
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_what_a_nifti_label_keeps(tmp_path: Path, shape: tuple[int, ...], dtype: Any, kind: Any) -> None:
    root = tmp_path / "source"
    affine, other = np.diag([0.7, 0.8, 3.0, 1.0]), np.diag([-0.7, 0.8, 3.0, 1.0])
    for i in range(4):
        label = np.zeros(shape, dtype)
        label[2:6, 3 : 5 + i % 2] = 1
        for place, values in (("images", label * 50 + i), ("masks", label)):
            volume = kind(values, affine, dtype=np.dtype(dtype))
            header = volume.header
            header.set_xyzt_units("micron" if place == "none" else "mm", "sec")
            header["descrip"], header["cal_max"] = b"manual, Dr. X", 7
            header.set_intent("label", name="organs")
            volume.set_qform(other, code=1)
            volume.set_sform(affine, code=2)
            header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"by hand"))
            (root / place).mkdir(parents=True, exist_ok=True)
            nib.save(volume, root / place / f"c{i}.nii.gz")
    out = copied(root, tmp_path / "out")
    old: Any = nib.load(root / "masks" / "c0.nii.gz")
    new: Any = nib.load(out / "masks" / "c0.nii.gz")
    assert new.header == old.header and type(new) is kind
    assert [e.get_content() for e in new.header.extensions] == [e.get_content() for e in old.header.extensions]
    np.testing.assert_array_equal(new.dataobj, np.roll(np.asarray(old.dataobj), 3, axis=0))


@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_a_repaired_picture_says_foreground_as_before(tmp_path: Path, mode: str) -> None:
    """Other programs read ``mask > 127``: the changed pixels must not be in other numbers than the others."""
    root = build_folder(tmp_path / "source")
    for path in (root / "masks").iterdir():
        mask = Image.open(path).convert("L")
        picture = mask.convert("1") if mode == "1" else mask
        if mode == "P":
            picture = mask.point(lambda value: value // 255)
            picture.putpalette([0, 0, 0, 255, 255, 255])
        picture.save(path)
    out = copied(root, tmp_path / "out")
    for path in (root / "masks").iterdir():
        old, new = Image.open(path), Image.open(out / "masks" / path.name)
        assert new.mode == old.mode
        grey = np.asarray(old.convert("L"))
        np.testing.assert_array_equal(np.asarray(new.convert("L")), np.roll(grey, 3, axis=-1))


def test_one_change_leaves_the_numbers_of_other_pixels(tmp_path: Path) -> None:
    """Several raw values that mean one class stay what they were."""
    root = build_folder(tmp_path / "source", classes=3)
    save_json(root / "dataset.json", {"classes": ["background", "tumour"], "values": {"0": 0, "1": 1, "2": 1}})

    def erased(case: Case, ids: Label, geometry: Geometry) -> Label:
        changed = ids.copy()
        changed[:16] = 0
        changed[0, 0] = 1
        return changed

    copy_dataset(open_dataset(root), tmp_path / "out", erased)
    for path in (root / "masks").iterdir():
        want = np.asarray(Image.open(path)).copy()
        want[:16], want[0, 0] = 0, 1
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / "masks" / path.name)), want)


def test_a_copied_file_has_the_dates_of_its_source(tmp_path: Path) -> None:
    source = tmp_path / "a.png"
    save_png(source, np.zeros((4, 4), np.uint8))
    os.utime(source, ns=(1_000_000_000, 2_000_000_123))
    assert copy_image(source, tmp_path / "b" / "a.png").stat().st_mtime_ns == source.stat().st_mtime_ns
