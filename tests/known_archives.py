"""Tiny archives of the shapes that known data sets are published in, and what converters make of them."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt

from debride.api.datasets import check_dataset
from debride.data.open import open_dataset
from debride.data.pairs import image_grid, read_label_on
from debride.data.pixels.images import read_image
from debride.known.archive import Archive

SPACING = (1.5, 1.25, 4.0)
"""Of volumes, along x, y and z."""


def nifti(values: npt.NDArray[Any], *, packed: bool = True, origin: tuple[float, float, float] = (-7.0, 11.0, 3.5)) -> bytes:
    """A file of NIfTI; values are in its own order (x, y, z)."""
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = origin
    content = nibabel.Nifti1Image(values, affine).to_bytes()
    return gzip.compress(content, 1, mtime=0) if packed else content


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    """A zip file of these files, with the folders that macOS adds."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        archive.writestr("__MACOSX/._x", b"\0\5\x16\7")
    return path


def tarred(path: Path, files: dict[str, bytes]) -> Path:
    """A tar file of these files, each beside what macOS writes of it."""
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            for own, held in ((name, content), (f"{Path(name).parent}/._{Path(name).name}", b"\0\5\x16\7")):
                entry = tarfile.TarInfo(own)
                entry.size = len(held)
                archive.addfile(entry, io.BytesIO(held))
    return path


def unpacked(folder: Path, files: dict[str, bytes]) -> Path:
    """A folder with these files."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def converted(convert: Any, out: Path, *archives: Path, jobs: int = 1, **options: Any) -> dict[str, Any]:
    """Converts archives into the new folder ``out``, which must pass its check; gives image, label and facts of each case."""
    out.mkdir()
    convert([Archive(path) for path in archives], out, options, jobs=jobs)
    assert not any(path.name.startswith(".") for path in out.rglob("*")), "nothing temporary stays"
    checked = check_dataset(out)
    assert not checked.problems, checked.problems
    dataset = open_dataset(out)
    return {
        case.id: (
            read_image(case.image)[0],
            None if case.label is None else read_label_on(case, dataset, image_grid(case)),
            case,
        )
        for case in dataset.cases
    }


def described(out: Path) -> dict[str, Any]:
    """Its dataset.json."""
    found: dict[str, Any] = json.loads((out / "dataset.json").read_text())
    return found


def heart(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """An image and its label (x, y, z)."""
    image = np.random.default_rng(seed).integers(0, 900, (12, 10, 3)).astype(np.int16)
    label = np.zeros(image.shape, np.uint8)
    label[4:9, 3:8, 1:] = 2
    label[5:8, 4:7, 1:] = 3
    label[2:4, 3:8, 1:] = 1
    return image, label


def patient(number: int, split: str, group: str = "DCM", ending: str = ".nii.gz") -> dict[str, bytes]:
    """The files of a patient; the end of systole is frame 10."""
    name = f"patient{number:03d}"
    folder = f"ACDC/database/{split}/{name}"
    info = f"ED: 1\nES: 10\nGroup: {group}\nHeight: 184.0\nNbFrame: 30\nWeight: 95.0\n"
    files = {f"{folder}/Info.cfg": info.encode(), f"{folder}/{name}_4d.nii.gz": b"not looked at"}
    for frame in (1, 10):
        image, label = heart(number * 100 + frame)
        packed = ending == ".nii.gz"
        files[f"{folder}/{name}_frame{frame:02d}{ending}"] = nifti(image, packed=packed)
        files[f"{folder}/{name}_frame{frame:02d}_gt{ending}"] = nifti(label, packed=packed)
    return files


def acdc_archive(folder: Path) -> Path:
    files = patient(1, "training") | patient(2, "training", "NOR") | patient(101, "testing", ending=".nii")
    return zipped(folder / "ACDC.zip", files)


def intensities(seed: int, channels: int) -> np.ndarray:
    """(x, y, z) of one channel, (x, y, z, C) of several."""
    shape = (7, 6, 5) if channels == 1 else (7, 6, 5, channels)
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def zones(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 3, (7, 6, 5)).astype(np.uint8)


def decathlon_task(name: str = "Task05_Prostate", channels: int = 2, **more: Any) -> dict[str, bytes]:
    about = {
        "name": "PROSTATE",
        "description": "Prostate zones",
        "licence": "CC-BY-SA 4.0",
        "modality": {str(number): f"MRI{number}" for number in range(channels)},
        "labels": {"0": "background", "1": "PZ", "2": "TZ"},
        "training": [
            {"image": f"./imagesTr/prostate_{n:02d}.nii.gz", "label": f"./labelsTr/prostate_{n:02d}.nii.gz"} for n in (0, 4)
        ],
        "test": ["./imagesTs/prostate_07.nii.gz"],
        **more,
    }
    files = {f"{name}/dataset.json": json.dumps(about).encode()}
    for number in (0, 4, 7):
        files[f"{name}/images{'Ts' if number == 7 else 'Tr'}/prostate_{number:02d}.nii.gz"] = nifti(
            intensities(number, channels)
        )
    for number in (0, 4):
        files[f"{name}/labelsTr/prostate_{number:02d}.nii.gz"] = nifti(zones(number))
    return files
