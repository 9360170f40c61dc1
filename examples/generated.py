"""Generated images for the notebooks beside this file: their right labels are known, and the mistakes in them are planted.

Your own folders take the place of all this. Nothing here is a patient's.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK
from PIL import Image
from scipy.ndimage import binary_dilation, gaussian_filter

from debride import noise
from debride.bench.phantom import phantom, write_phantoms

Mask = npt.NDArray[Any]

MISTAKES: dict[str, Callable[[Mask, int], Mask]] = {
    "flip": lambda mask, seed: noise.flip(mask, 2, seed=seed),
    "shift": lambda mask, seed: noise.shift(mask, 2, seed=seed, smallest=5, largest=7),
    "missing": lambda mask, seed: noise.missing(mask, 2, seed=seed),
    "gaps": lambda mask, seed: noise.gaps(mask, 2, seed=seed, share=0.4),
    "too large": lambda mask, seed: binary_dilation(mask, iterations=3).astype(mask.dtype),
}
"""What is planted, a kind after the other."""


def fresh(name: str) -> Path:
    """An empty folder ``made/NAME`` beside the notebook; what an earlier run left there is removed."""
    folder = Path("made") / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def nnunet_result(root: Path, cases: int = 60, wrong: int = 12, side: int = 40, seed: int = 0) -> dict[str, str]:
    """``root/nnUNet_raw/Dataset501_Lesions``, and what five folds of ``nnUNetv2_train --npz`` leave in ``root/nnUNet_results``.

    No network is trained. The probabilities are made up from the right labels: blurred, and bent by a smooth random field.
    Then mistakes are planted into ``wrong`` of the labels; ``root/right`` keeps all as they were. Returns the kinds by case.
    """
    raw = root / "nnUNet_raw" / "Dataset501_Lesions"
    trained = root / "nnUNet_results" / raw.name / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    write_phantoms(raw, cases * 4 // 5, cases - cases * 4 // 5, 0, side, 2, seed, ndim=3)
    for empty in ("imagesTs", "labelsTs"):
        (raw / empty).rmdir()
    shutil.copytree(raw / "labelsTr", root / "right")
    for number in range(5):
        (trained / f"fold_{number}" / "validation").mkdir(parents=True)
    description = (raw / "dataset.json").read_text()
    (trained / "dataset.json").write_text(description)
    (trained / "plans.json").write_text(json.dumps({"plans_name": "nnUNetPlans", "dataset_name": raw.name}))
    files = sorted((raw / "labelsTr").glob("*.nii.gz"))
    rng = np.random.default_rng(seed)
    unlucky = dict(zip(rng.choice(len(files), wrong, replace=False).tolist(), list(MISTAKES) * wrong, strict=False))
    planted = {}
    for at, file in enumerate(files):
        case, image = file.name.removesuffix(".nii.gz"), SimpleITK.ReadImage(str(file))
        right = SimpleITK.GetArrayFromImage(image)
        probabilities = made_up(rng, right)
        beside = trained / f"fold_{at % 5}" / "validation" / case
        np.savez_compressed(f"{beside}.npz", probabilities=probabilities)
        save_like(image, probabilities.argmax(axis=0).astype(np.uint8), Path(f"{beside}.nii.gz"))
        if at in unlucky:
            planted[case] = unlucky[at]
            save_like(image, MISTAKES[unlucky[at]](right, at), file)
    return planted


def doubtful_pictures(root: Path, cases: int = 80, wrong: int = 12, side: int = 64, seed: int = 0) -> dict[str, str]:
    """``root/scans``: pictures with masks of a lesion, from two sites, and ``root/maps`` with probabilities of each.

    The probabilities are made up as for nnU-Net above. Mistakes are planted into ``wrong`` of the masks, most of them of site
    north; ``root/right`` keeps the masks as they were. Returns the kinds by case.
    """
    scans, maps = root / "scans", root / "maps"
    write_phantoms(scans, cases, 0, 0, side, 2, seed)
    (scans / "splits.json").unlink()
    shutil.copytree(scans / "masks", root / "right")
    maps.mkdir()
    (maps / "predictions.json").write_text('{"trained_on": []}')
    files = sorted((scans / "masks").glob("*.png"))
    sites = ["north" if at % 2 else "south" for at in range(cases)]
    odds = np.array([3.0 if site == "north" else 1.0 for site in sites])
    rng = np.random.default_rng(seed)
    kinds = [kind for kind in MISTAKES if kind != "gaps"]
    unlucky = dict(zip(rng.choice(cases, wrong, replace=False, p=odds / odds.sum()).tolist(), kinds * wrong, strict=False))
    planted, lines = {}, ["case,patient,image,label,site"]
    for at, file in enumerate(files):
        case, right = file.stem, np.asarray(Image.open(file))
        np.save(maps / f"{case}.npy", made_up(rng, right))
        lines.append(f"{case},{case[:4]},images/{file.name},masks/{file.name},{sites[at]}")
        if at in unlucky:
            planted[case] = unlucky[at]
            Image.fromarray(MISTAKES[unlucky[at]](right, at)).save(file)
    (scans / "manifest.csv").write_text("\n".join(lines) + "\n")
    return planted


def pictures(count: int, side: int = 64, seed: int = 0) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Images (N, 1, H, W) in [0, 1] and their right masks (N, H, W) of a lesion."""
    drawn = [phantom(np.random.default_rng((seed, at)), (side, side), 2) for at in range(count)]
    return np.stack([image for image, _ in drawn]), np.stack([mask for _, mask in drawn])


def pictures_with_splits(root: Path, side: int = 48, seed: int = 0) -> None:
    """A folder ``root`` of pictures and right masks of a lesion: 32 to train on, 8 to validate with, 24 to test on."""
    write_phantoms(root, 32, 8, 24, side, 2, seed)


def made_up(rng: np.random.Generator, right: Mask, classes: int = 2) -> npt.NDArray[np.float32]:
    """Probabilities (K, *S) as of a good network that has not seen the label ``right`` (*S)."""
    soft = np.stack([gaussian_filter((right == value).astype(np.float32), 0.8) for value in range(classes)]) + 1e-3
    bend = np.stack([gaussian_filter(rng.normal(size=right.shape), 4) for _ in range(classes)])
    soft *= np.exp(0.5 * bend / bend.std())
    shares: npt.NDArray[np.float32] = (soft / soft.sum(axis=0)).astype(np.float32)
    return shares


def save_like(image: Any, mask: Mask, file: Path) -> None:
    """A mask on the grid of an image."""
    written = SimpleITK.GetImageFromArray(mask)
    written.CopyInformation(image)
    SimpleITK.WriteImage(written, str(file))
