"""Kvasir-SEG, ISIC 2018, Shenzhen and JSRT from tiny archives of their shapes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from tests.known_archives import converted, unpacked, zipped

from debride.api.known_sets import convert_dataset
from debride.known import isic, jsrt, kvasir, shenzhen
from debride.types import DataError

Pixels = npt.NDArray[np.uint8]


def picture(pixels: npt.NDArray[Any], kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **({"quality": 90} if kind == "JPEG" else {}))
    return file.getvalue()


def disc(side: int, seed: int) -> Pixels:
    """A white disc, larger with the seed."""
    y, x = np.mgrid[:side, :side] - side / 2
    return np.where(y * y + x * x < (4 + seed) ** 2, np.uint8(255), np.uint8(0))


def colours(side: int, seed: int) -> Pixels:
    return np.random.default_rng(seed).integers(0, 255, (side, side, 3)).astype(np.uint8)


def kvasir_files(count: int = 3) -> dict[str, bytes]:
    files = {"Kvasir-SEG/kavsir_bboxes.json": b"{}"}
    for seed in range(count):
        files[f"Kvasir-SEG/images/cju{seed}.jpg"] = picture(colours(48, seed), "JPEG")
        files[f"Kvasir-SEG/masks/cju{seed}.jpg"] = picture(np.stack([disc(48, seed)] * 3, -1), "JPEG")
    return files


def test_kvasir_masks_lose_the_blur_of_jpeg(tmp_path: Path) -> None:
    cases = converted(kvasir.convert, tmp_path / "out", zipped(tmp_path / "kvasir-seg.zip", kvasir_files()), jobs=2)
    assert list(cases) == ["cju0", "cju1", "cju2"]
    for seed, (image, label, _) in enumerate(cases.values()):
        assert image.shape == (3, 48, 48) and (label == disc(48, seed) // 255).all()
    stored = (tmp_path / "out/images/cju1.jpg").read_bytes()
    assert stored == kvasir_files()["Kvasir-SEG/images/cju1.jpg"], "pictures stay byte for byte"
    assert sorted(np.unique(np.asarray(Image.open(tmp_path / "out/masks/cju1.png")))) == [0, 1]


def grey_disc() -> bytes:
    return picture(np.stack([disc(48, 6) // 2] * 3, -1) + np.stack([disc(48, 0) // 2] * 3, -1), "JPEG")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("masks/cju1.jpg", grey_disc(), "grey"),
        ("masks/cju1.jpg", picture(disc(32, 1), "JPEG"), "32 x 32 pixels, and its picture cju1.jpg 48 x 48"),
        ("masks/cju1.jpg", b"no picture", "masks/cju1.jpg"),
        ("masks/cju1.jpg", None, "is a picture without its mask"),
        ("images/cju1.jpg", None, "is a mask without its picture"),
        ("more/masks/cju1.jpg", picture(disc(48, 1), "JPEG"), "stands for cju1, and so does"),
    ],
)
def test_wrong_files_of_pictures_are_refused_by_name(tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    files = kvasir_files()
    files |= {} if content is None else {f"Kvasir-SEG/{name}": content}
    if content is None:
        del files[f"Kvasir-SEG/{name}"]
    archive = zipped(tmp_path / "kvasir-seg.zip", files)
    with pytest.raises(DataError, match=r"kvasir-seg\.zip: Kvasir-SEG/") as raised:
        convert_dataset("kvasir-seg", archive, tmp_path / "out", jobs=1)
    assert said in str(raised.value) and "cju1" in raised.value.where
    assert not (tmp_path / "out").exists(), "all of it or nothing"


def isic_zips(folder: Path) -> list[Path]:
    zips, number = [], 0
    for part, count in (("Training", 3), ("Validation", 1), ("Test", 2)):
        pictures: dict[str, bytes] = {f"ISIC2018_Task1-2_{part}_Input/LICENSE.txt": b"CC"}
        masks: dict[str, bytes] = {}
        for _ in range(count):
            name = f"ISIC_{number:07d}"
            pictures[f"ISIC2018_Task1-2_{part}_Input/{name}.jpg"] = picture(colours(40, number), "JPEG")
            masks[f"ISIC2018_Task1_{part}_GroundTruth/{name}_segmentation.png"] = picture(disc(40, number))
            number += 1
        zips.append(zipped(folder / f"ISIC2018_Task1-2_{part}_Input.zip", pictures))
        zips.append(zipped(folder / f"ISIC2018_Task1_{part}_GroundTruth.zip", masks))
    return zips


def test_isic_parts_keep_their_splits(tmp_path: Path) -> None:
    zips = isic_zips(tmp_path)
    cases = converted(isic.convert, tmp_path / "out", *zips)
    assert [case.split for _, _, case in cases.values()] == ["train"] * 3 + ["val"] + ["test"] * 2
    assert all((label == disc(40, seed) // 255).all() for seed, (_, label, _) in enumerate(cases.values()))
    assert (tmp_path / "out/LICENSE.txt").read_text() == "CC"
    alone = converted(isic.convert, tmp_path / "alone", *zips[:2])
    assert len(alone) == 3 and {case.split for _, _, case in alone.values()} <= {"train", "val"}
    with pytest.raises(DataError, match=r"Test_Input.zip: .*is a picture without its mask \(and 1 more\)"):
        converted(isic.convert, tmp_path / "no", *zips[:5])
    moved = zipped(tmp_path / "all.zip", {"ISIC_1.jpg": picture(colours(9, 1), "JPEG"), "ISIC_1_segmentation.png": b""})
    with pytest.raises(DataError, match="lies in no folder that says its part"):
        converted(isic.convert, tmp_path / "moved", moved)


def test_shenzhen_leaves_out_what_has_no_mask(tmp_path: Path) -> None:
    radiographs = {f"ChinaSet_AllFiles/CXR_png/CHNCXR_000{n}_{n % 2}.png": picture(colours(40, n)[..., 0]) for n in range(1, 5)}
    masks = {f"mask/mask/CHNCXR_000{n}_{n % 2}_mask.png": picture(disc(40, n)) for n in (1, 3)}
    folder = unpacked(tmp_path / "masks", {**masks, "mask/MCUCXR_0001_0.png": b"of another set"})
    cases = converted(shenzhen.convert, tmp_path / "out", zipped(tmp_path / "ChinaSet_AllFiles.zip", radiographs), folder)
    assert list(cases) == ["CHNCXR_0001_1", "CHNCXR_0003_1"]
    assert (cases["CHNCXR_0003_1"][1] == disc(40, 3) // 255).all()
    with pytest.raises(DataError, match="holds no masks of the set"):
        converted(shenzhen.convert, tmp_path / "no", tmp_path / "ChinaSet_AllFiles.zip")
    grey = {**masks, "mask/mask/CHNCXR_0001_1_mask.png": picture(disc(40, 1) // 2)}
    with pytest.raises(DataError, match="has the values 0, 127") as raised:
        converted(shenzhen.convert, tmp_path / "grey", tmp_path / "ChinaSet_AllFiles.zip", zipped(tmp_path / "g.zip", grey))
    assert "CHNCXR_0001_1_mask.png" in raised.value.where


SIDE = 32


def raw(seed: int) -> npt.NDArray[np.uint16]:
    """Twice as fine as its masks."""
    return np.random.default_rng(seed).integers(0, 4096, (2 * SIDE, 2 * SIDE)).astype(np.uint16)


def structures() -> dict[str, Pixels]:
    """Boxes that overlap: a clavicle over each lung, the heart over the left one."""
    boxes = {
        "left lung": np.s_[4:28, 17:30],
        "right lung": np.s_[4:28, 2:14],
        "heart": np.s_[16:26, 10:22],
        "left clavicle": np.s_[3:6, 16:28],
        "right clavicle": np.s_[3:6, 3:15],
    }
    drawn = {name: np.zeros((SIDE, SIDE), np.uint8) for name in boxes}
    for name, box in boxes.items():
        drawn[name][box] = 255
    return drawn


def jsrt_files() -> tuple[dict[str, bytes], dict[str, bytes]]:
    images = {f"All247images/JPCLN00{n}.IMG": raw(n).astype(">u2").tobytes() for n in (1, 2)}
    images["All247images/JPCNN001.IMG"] = raw(3).astype(">u2").tobytes()
    masks = {"scratch/fold1/landmarks/JPCLN001.txt": b"not looked at"}
    for case, fold in (("JPCLN001", 1), ("JPCLN002", 2), ("JPCNN001", 1)):
        for name, drawn in structures().items():
            masks[f"scratch/fold{fold}/masks/{name}/{case}.gif"] = picture(drawn, "GIF")
    return images, masks


def test_jsrt_is_averaged_and_painted_in_order(tmp_path: Path) -> None:
    images, masks = jsrt_files()
    zips = zipped(tmp_path / "JSRT.zip", images), zipped(tmp_path / "SCR.zip", masks)
    cases = converted(jsrt.convert, tmp_path / "out", *zips, test_fold=2, inverted=False)
    assert {id: case.split == "test" for id, (_, _, case) in cases.items()} == {
        "JPCLN001": False,
        "JPCLN002": True,
        "JPCNN001": False,
    }
    image, label, _ = cases["JPCLN002"]
    for y, x in ((0, 0), (5, 9), (31, 31)):
        assert image[0, y, x] == round(float(sum(int(raw(2)[2 * y + i, 2 * x + j]) for i in (0, 1) for j in (0, 1))) / 4)
    drawn = structures()
    for y, x in np.ndindex(SIDE, SIDE):
        order = (("right lung", 1), ("left lung", 1), ("heart", 2), ("right clavicle", 3), ("left clavicle", 3))
        assert label[y, x] == max([value for name, value in order if drawn[name][y, x]], default=0)
    inverted = converted(jsrt.convert, tmp_path / "inverted", *zips, test_fold=0, inverted=True)
    assert (inverted["JPCLN002"][0] == 4095 - image).all()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("JPCLN001.IMG", raw(1).tobytes()[:-2], "which are no square"),
        ("JPCLN001.IMG", np.full((64, 64), 4096, ">u2").tobytes(), "above the 4095"),
        ("JPCLN001.IMG", np.zeros((33, 33), ">u2").tobytes(), "no whole multiple"),
        ("heart/JPCLN001.gif", picture(structures()["heart"] // 2, "GIF"), "other greys"),
        ("heart/JPCLN001.gif", b"GIF89a", "cannot be read as GIF"),
        ("heart/JPCLN001.gif", None, "has no mask of heart"),
    ],
)
def test_wrong_files_of_jsrt_are_refused_by_name(tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    images, masks = jsrt_files()
    for files in (images, masks):
        for full in [full for full in files if full.endswith(name)]:
            if content is None:
                del files[full]
            else:
                files[full] = content
    with pytest.raises(DataError, match=said) as raised:
        archives = [zipped(tmp_path / "JSRT.zip", images), zipped(tmp_path / "SCR.zip", masks)]
        convert_dataset("jsrt", archives, tmp_path / "out", jobs=1)
    assert "JPCLN001" in raised.value.where
