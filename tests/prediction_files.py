"""Predictions in files of every kind: what writes them, and what is read of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from debride.audit.predictions.sources import FolderPredictions, Prediction
from debride.data.open import open_dataset
from debride.data.pixels.images import read_label
from debride.types import Case, Dataset
from tests.datasets import build_folder, build_nnunet_3d

Array = npt.NDArray[Any]


def random_map(classes: int, shape: tuple[int, ...], seed: int = 0) -> npt.NDArray[np.float32]:
    """Probabilities (K, *S) that sum to one."""
    raw = np.random.default_rng(seed).random((classes, *shape)) + 0.05
    return (raw / raw.sum(0)).astype(np.float32)


def predicted(source: Any, case: Case, dataset: Dataset) -> Prediction:
    """What ``source`` says of a case, asked with its label's own shape and geometry."""
    label, geometry = read_label(Path(str(case.label)), dataset)
    prediction: Prediction = source.of(case, label.shape, geometry)
    assert prediction.probability.shape == (len(dataset.classes), *label.shape)
    assert prediction.probability.dtype in (np.float16, np.float32)
    np.testing.assert_allclose(np.asarray(prediction.probability, np.float64).sum(0), 1, atol=2e-3)
    return prediction


def volumes(root: Path, classes: int = 3) -> Dataset:
    return open_dataset(build_nnunet_3d(root / "data", n=2, classes=classes, channels=1), val_fraction=0.0)


def pictures(root: Path, classes: int = 3, n: int = 3) -> Dataset:
    return open_dataset(build_folder(root / "data", n=n, size=12, classes=classes))


def save_map(path: Path, **arrays: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]


def save_npy(path: Path, array: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)


def save_nifti_map(path: Path, probability: Array, affine: Array | None = None) -> None:
    """(K, *S) as NIfTI (x, y, z, K)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    make: Any = nib.Nifti1Image
    voxels = probability if probability.ndim == 4 else probability[:, None]
    nib.save(make(voxels.T, np.diag([1.0, 1.5, 2.0, 1.0]) if affine is None else affine), path)


def only(dataset: Dataset, folder: Path, number: int = 1) -> FolderPredictions:
    """The predictions of the first cases alone."""
    return FolderPredictions(folder, dataset, dataset.cases[:number])
