"""Hearts of three regions, some with errors, and sigmoid maps of them; and audits by regions written by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from debride.audit.findings import REGIONS as RECORD
from debride.audit.findings.region_record import entries_of
from debride.data.label_regions import region_view
from debride.types import Dataset
from tests.datasets import save_json, save_png
from tests.region_sets import LABELS, ORDER
from tests.written_audits import Change, write_audit

Label = npt.NDArray[np.uint8]
SIZE = 40

ERRORS: dict[str, Callable[[Label], Label]] = {
    "mirrored": lambda label: label[:, ::-1].copy(),
    "without the left": lambda label: np.where(label > 1, 0, label).astype(np.uint8),
    "cavity filled": lambda label: np.where(label == 3, 2, label).astype(np.uint8),
    "grown": lambda label: np.where((label == 0) & (ndimage.grey_dilation(label, size=(7, 7)) > 0), 1, label).astype(np.uint8),
}
"""What is done to a right label."""


def heart(rng: np.random.Generator, size: int = SIZE) -> Label:
    """A ring (2) around a cavity (3), and a bowl (1) at its side: no mirror image of itself."""
    y, x = np.mgrid[:size, :size] / size
    cy, cx = 0.5 + rng.normal(0, 0.02), 0.62 + rng.normal(0, 0.02)
    scale = rng.uniform(0.9, 1.1)
    far = np.hypot(y - cy, x - cx) / scale
    bowl = np.hypot((y - cy + 0.06) / 1.2, x - cx + 0.3) / scale < 0.15
    label = np.where(bowl, 1, 0)
    label[far < 0.2] = 2
    label[far < 0.11] = 3
    return label.astype(np.uint8)


def maps_of(label: Label, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """What a good network's sigmoids say: the regions (R, H, W) with soft outlines and a little noise."""
    sharp = np.stack([np.isin(label, held) for held in ([1, 2, 3], [2, 3], [3])]).astype(np.float32)
    soft = ndimage.gaussian_filter(sharp, (0, 1, 1)) * 0.96 + 0.02 + rng.normal(0, 0.005, sharp.shape)
    return soft.clip(0, 1).astype(np.float32)


def heart_set(root: Path, n: int = 24, errors: Sequence[str] = (), every: int = 4) -> dict[str, str]:
    """A raw data set of nnU-Net with regions in ``data``, each ``every``-th case with one of the ``errors``; the right labels
    in ``right``, and a cross-validation's maps in ``maps``. Returns the errors by case."""
    rng, planted = np.random.default_rng(0), dict[str, str]()
    for at in range(n):
        right, id = heart(rng), f"heart{at:02d}"
        image = 60 + 50 * right + rng.normal(0, 6, right.shape)
        if errors and at % every == every - 1:
            planted[id] = errors[len(planted) % len(errors)]
        given = ERRORS[planted[id]](right) if id in planted else right
        save_png(root / "data" / "imagesTr" / f"{id}_0000.png", image.clip(0, 255).astype(np.uint8))
        save_png(root / "data" / "labelsTr" / f"{id}.png", given)
        save_png(root / "right" / f"{id}.png", right)
        maps = root / "maps" / f"fold_{at % 2}" / "validation" / f"{id}.npz"
        maps.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(maps, probabilities=maps_of(right, rng)[:, None])
    description = {"channel_names": {"0": "MRI"}, "numTraining": n, "file_ending": ".png"}
    save_json(root / "data" / "dataset.json", {**description, "labels": LABELS, "regions_class_order": ORDER})
    return planted


def write_region_audit(
    folder: Path, dataset: Dataset, changes: Mapping[str, Mapping[str, Sequence[Change]]], flagged: Sequence[str] = ()
) -> Path:
    """A folder of an audit by regions that finds ``changes`` in the regions and cases named, as ``write_audit`` takes them."""
    for region, entry in zip(dataset.regions, entries_of(dataset), strict=True):
        write_audit(folder / entry.folder, region_view(dataset, region), changes.get(region.name, {}), flagged)
    rows = [{"name": e.name, "classes": list(e.classes), "paints": e.paints, "folder": e.folder} for e in entries_of(dataset)]
    save_json(folder / RECORD, {"version": "0", "dataset": {"root": str(dataset.root)}, "regions": rows})
    return folder
