"""Images prepared by plans against nnU-Net's own preprocessor."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tests.datasets import build_nnunet_3d
from tests.small_plans import configuration, plans

from debride.data.cache import working_image
from debride.data.cropping import crop_box, cropped
from debride.data.open import open_dataset
from debride.data.pixels.images import read_image
from debride.data.preparation import Preparation
from debride.training.nnunet_plans import read_plans
from debride.types import Dataset

DATA = os.environ.get("DEBRIDE_DATA")
RESAMPLING = "resample_data_or_seg_to_shape"
ORDERS = {"order_z": 0, "force_separate_z": None}


def plans_of(order: list[int], spacing: list[float], scheme: str, masked: bool) -> dict[str, Any]:
    """Plans of nnU-Net for volumes of one channel."""
    how = {f"resampling_fn_{kind}": RESAMPLING for kind in ("data", "seg", "probabilities")}
    options = {
        "resampling_fn_data_kwargs": {"is_seg": False, "order": 3, **ORDERS},
        "resampling_fn_seg_kwargs": {"is_seg": True, "order": 1, **ORDERS},
        "resampling_fn_probabilities_kwargs": {"is_seg": False, "order": 1, **ORDERS},
    }
    said = plans((order[0], order[1], order[2]))
    chosen = {"spacing": spacing, "normalization_schemes": [scheme], "use_mask_for_norm": [masked]}
    said["configurations"]["3d_fullres"] = {**configuration(3), **chosen, **how, **options}
    return {**said, "label_manager": "LabelManager"}


def theirs(said: dict[str, Any], dataset: Dataset) -> npt.NDArray[np.float32]:
    """The first case as nnU-Net prepares it, in array order."""
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    case, manager = dataset.cases[0], PlansManager(said)
    images, description = [str(path) for path in case.image], json.loads((dataset.root / "dataset.json").read_text())
    configuration = manager.get_configuration("3d_fullres")
    made, _, _ = DefaultPreprocessor(verbose=False).run_case(images, None, manager, configuration, description)
    return np.asarray(made.transpose(0, *(1 + axis for axis in np.argsort(said["transpose_forward"]))))


@pytest.mark.parametrize(
    ("order", "factors", "scheme", "masked", "mean", "most"),
    [
        ([0, 1, 2], (1, 1, 1), "ZScoreNormalization", False, 1e-6, 1e-4),
        ([2, 0, 1], (1, 1, 1), "CTNormalization", False, 1e-6, 1e-4),
        ([0, 1, 2], (1, 1, 1), "ZScoreNormalization", True, 1e-6, 1e-4),
        ([0, 1, 2], (1, 1, 1), "RescaleTo01Normalization", False, 1e-6, 1e-4),
        ([0, 1, 2], (1, 1, 1), "NoNormalization", False, 1e-6, 1e-4),
        ([1, 2, 0], (1.2, 0.8, 0.9), "ZScoreNormalization", False, 0.1, 1.5),
        ([0, 1, 2], (1.5, 1.5, 1.5), "ZScoreNormalization", False, 0.15, 1.5),
    ],
)
def test_images_are_prepared_as_nnunet_prepares_them(
    tmp_path: Path, order: list[int], factors: tuple[float, ...], scheme: str, masked: bool, mean: float, most: float
) -> None:
    """The same to rounding where nothing is resampled. nnU-Net resamples by cubic splines, and here it is linear."""
    real = None if DATA is None else Path(DATA) / "nnUNet_raw" / "Dataset101_LeftAtrium"
    dataset = open_dataset(real if real and real.is_dir() else build_nnunet_3d(tmp_path / "data", channels=1))
    image, geometry = read_image(dataset.cases[0].image)
    assert geometry.spacing is not None
    own = [mm * factor for mm, factor in zip(geometry.spacing, factors, strict=True)]
    said = plans_of(order, [own[axis] for axis in order], scheme, masked)
    (tmp_path / "plans.json").write_text(json.dumps(said))
    settings = read_plans(tmp_path / "plans.json", "3d_fullres", dataset).settings
    assert settings["patch_size"] == tuple([8, 16, 24][order.index(axis)] for axis in range(3))
    np.testing.assert_allclose(settings["spacing"], own)
    preparation = Preparation(spacing=settings["spacing"], intensity=settings["intensity"], crop=settings["crop"])
    made, _ = working_image(cropped(image, crop_box(image)), geometry, preparation)
    expected = theirs(said, dataset)
    assert made.shape == expected.shape
    off = np.abs(made - expected)
    assert off.mean() <= mean and off.max() <= most, (off.mean(), off.max(), expected.std())
