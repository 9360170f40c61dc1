"""Data sets with errors in their labels, audits of them, and what these wrote."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from debride.data.open import open_dataset
from tests.datasets import save_json, save_png, save_rows

Label = npt.NDArray[np.uint8]
KINDS = ("missing", "extra", "swap", "flip", "shift", "boundary")
QUICK = ["--planted", 6, "--pictures", 0]


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def right_label(rng: np.random.Generator, shape: tuple[int, ...]) -> Label:
    """Two ellipses (of classes 1 and 2) and a small one (of class 1), side by side: no mirror image of itself."""
    height, width = shape[-2:]
    y, x = np.mgrid[:height, :width]
    label = np.zeros(shape, np.uint8)
    for value, cy, cx, ry, rx in ((1, 0.35, 0.25, 0.16, 0.12), (2, 0.62, 0.42, 0.12, 0.2), (1, 0.2, 0.7, 0.08, 0.08)):
        cy, cx = (cy + rng.normal(0, 0.02)) * height, (cx + rng.normal(0, 0.02)) * width
        inside = ((y - cy) / (ry * height)) ** 2 + ((x - cx) / (rx * width)) ** 2 < rng.uniform(0.8, 1.2)
        label[..., inside] = value
    if len(shape) == 3:
        label[:2], label[-2:] = 0, 0
    return label


def with_error(label: Label, kind: str) -> Label:
    """A label with one error."""
    wrong = label.copy()
    height, width = label.shape[-2:]
    if kind == "missing":
        wrong[..., : height // 2, width // 2 + 3 :] = 0
    elif kind == "extra":
        place = np.zeros(label.shape, bool)
        place[..., -10:-3, -10:-3] = (label > 0).any(axis=(-2, -1), keepdims=True)
        wrong[place] = 1
    elif kind == "swap":
        wrong = np.array([0, 2, 1], np.uint8)[label]
    elif kind == "flip":
        wrong = label[..., ::-1].copy()
    elif kind == "shift":
        wrong = np.roll(label, (height // 6, width // 6), (-2, -1))
    elif kind == "boundary":
        size = (1,) * (label.ndim - 2) + (9, 9)
        grown = ndimage.grey_dilation(np.where(label == 2, 2, 0), size=size)
        wrong = np.where((label == 0) & (grown > 0), np.uint8(2), label)
    return wrong


def probability_of(label: Label, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """What a good network says: soft outlines, a little noise."""
    sharp = np.stack([label == value for value in range(3)]).astype(np.float32)
    soft = ndimage.gaussian_filter(sharp, (0,) * (label.ndim - 1) + (1, 1)) + rng.random(sharp.shape) * 0.05 + 1e-3
    shares: npt.NDArray[np.float32] = (soft / soft.sum(axis=0)).astype(np.float32)
    return shares


def picture_set(root: Path, n: int = 30, size: int = 40, every: int = 5) -> dict[str, str]:
    """A data set of pictures in ``data``, each ``every``-th with an error, probabilities in ``probability``; two per patient.
    Returns the kinds by case."""
    rng, rows = np.random.default_rng(0), []
    errors: dict[str, str] = {}
    for at in range(n):
        label, name = right_label(rng, (size, size)), f"p{at // 2:02d}_{at}"
        image = 60 + 70 * label + rng.normal(0, 6, label.shape)
        save_png(root / "data" / "images" / f"{name}.png", image.clip(0, 255).astype(np.uint8))
        (root / "probability").mkdir(exist_ok=True)
        np.save(root / "probability" / f"{name}.npy", probability_of(label, rng))
        if every and at % every == every - 1:
            errors[name] = KINDS[len(errors) % len(KINDS)]
        save_png(root / "data" / "masks" / f"{name}.png", with_error(label, errors.get(name, "")))
        row = {"case": name, "patient": name[:3], "image": f"images/{name}.png", "label": f"masks/{name}.png"}
        rows.append({**row, "split": "train" if at % 4 else "val", "trusted": "0"})
    save_rows(root / "data" / "manifest.csv", rows)
    save_json(root / "data" / "dataset.json", {"classes": ["background", "round", "flat"]})
    return errors


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def about(audit: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((audit / "audit.json").read_text())
    return value


def refused(answer: Any, *words: str) -> None:
    """One message, code 2, no traceback (the fixture looks for one)."""
    assert answer.code == 2, answer.err
    *_, line = answer.err.strip().splitlines()  # after what a training says
    assert line.startswith("debride: ") and answer.err.count("debride: ") == 1
    for word in words:
        assert word in line, line


class Audited:
    """Pictures with errors, and an audit of them by a folder of probabilities; the name of a case, to be trusted later."""

    def __init__(self, root: Path) -> None:
        self.root, self.data, self.audit = root, root / "data", root / "audit"
        self.errors = picture_set(root)
        self.before = contents(self.data)
        self.trusted = root / "trusted.txt"
        self.trusted.write_text("p04_9\n")

    def dataset(self) -> Any:
        return open_dataset(self.data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])
