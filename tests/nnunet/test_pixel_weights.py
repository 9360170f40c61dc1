"""Maps of weights: on the grid of preprocessed cases, under each patch, and in the loss."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("nnunetv2", reason="nnU-Net is not installed: `make test-nnunet` runs this test")

from batchgenerators.dataloading.single_threaded_augmenter import SingleThreadedAugmenter
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from tests.nnunet.test_places import LABELS, pipeline

from debride.nnunet.pixel_weights import PixelWeights, brought, on_grid, read_weights
from debride.nnunet.places import PlacedLoader, Places
from debride.nnunet.robust_losses import CrossEntropyLoss, LossBesideDice, with_weights
from debride.types import DataError

LINEAR = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
RESAMPLE = {
    f"resampling_fn_{what}{suffix}": value
    for what in ("data", "seg", "probabilities")
    for suffix, value in (("", "resample_data_or_seg_to_shape"), ("_kwargs", LINEAR))
}
PLANS = {
    "dataset_name": "Dataset501_Heart",
    "transpose_forward": [1, 0, 2],
    "image_reader_writer": "SimpleITKIO",
    "foreground_intensity_properties_per_channel": {"0": {}},
    "configurations": {
        "3d_fullres": {
            "spacing": [1.0, 2.0, 0.7],
            "patch_size": [8, 8, 8],
            "normalization_schemes": ["NoNormalization"],
            "use_mask_for_norm": [False],
            "architecture": {},
            **RESAMPLE,
        }
    },
}
DESCRIPTION = {"labels": {"background": 0, "a": 1}, "channel_names": {"0": "MR"}, "file_ending": ".nii.gz"}


@pytest.fixture
def case(tmp_path: Path) -> SimpleNamespace:
    """A map of weights, and what nnU-Net makes of an image that holds the same numbers as doubts."""
    sitk = pytest.importorskip("SimpleITK")
    generator = np.random.default_rng(0)
    doubt = generator.integers(0, 256, (9, 12, 10)).astype(np.uint8)
    doubt[:2], doubt[:, :, :1] = 0, 0  # nnU-Net crops what is zero
    image = sitk.GetImageFromArray(255 - doubt)
    image.SetSpacing((0.9, 1.3, 2.5))
    sitk.WriteImage(image, str(tmp_path / "one.nii.gz"))
    plans = PlansManager(PLANS)
    configuration = plans.get_configuration("3d_fullres")
    properties = {"spacing": [2.5, 1.3, 0.9]}
    data, _, properties = DefaultPreprocessor(verbose=False).run_case_npy(
        doubt[None].astype(np.float32), None, properties, plans, configuration, DESCRIPTION
    )
    dataset = SimpleNamespace(identifiers=["one", "two"], load_case=lambda key: (data, None, None, properties))
    return SimpleNamespace(folder=tmp_path, plans=plans, configuration=configuration, dataset=dataset, data=data[0])


def test_a_map_goes_the_way_of_its_image(case: SimpleNamespace) -> None:
    """It is turned, cropped and resampled as nnU-Net does with an image of the same numbers."""
    _, _, _, properties = case.dataset.load_case("one")
    found = on_grid(case.folder / "one.nii.gz", case.data.shape, properties, case.plans, case.configuration)
    assert found.shape == case.data.shape != (12, 9, 10) and found.dtype == np.uint8
    assert np.abs(found - case.data.clip(0, 255)).max() <= 0.5 + 1e-3 and len(np.unique(found)) > 100


def test_maps_are_brought_once_and_anew_when_they_change(case: SimpleNamespace) -> None:
    said: list[str] = []
    arguments = (case.plans, case.configuration, case.dataset, case.folder / "kept")
    weights = read_weights(case.folder, ".nii.gz", *arguments, said.append)
    assert set(weights.doubts) == {"one"} and said[0].startswith("1 of 2 training cases have a map")
    kept = list((case.folder / "kept").iterdir())
    before = kept[0].stat().st_mtime_ns
    brought(case.folder / "one.nii.gz", "one", *arguments)
    assert kept[0].stat().st_mtime_ns == before
    other = case.folder / "one.nii.gz"
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.ReadImage(str(other))
    sitk.WriteImage(image * 0, str(other))
    assert (brought(other, "one", *arguments)[...] == 255).any() and len(list((case.folder / "kept").iterdir())) == 1
    sitk.WriteImage(image[:, :, 1:], str(other))
    with pytest.raises(DataError, match=r"one.nii.gz: is \(12, 8, 10\), and the image that it belongs to \(12, 9, 10\)"):
        brought(other, "one", *arguments)
    with pytest.raises(DataError, match="holds no maps of weights"):
        read_weights(case.folder, ".png", *arguments, said.append)


class Marked:
    """Cases of two labels in blocks; the doubt of each is full where the label is 1."""

    identifiers = ("a", "b")

    def __init__(self) -> None:
        blocks = np.indices((6, 40, 44)) // 7
        self.seg = ((blocks[1] + blocks[2]) % 2)[None].astype(np.int16)
        self.doubts = {"a": (255 * self.seg[0]).astype(np.uint8)}

    def load_case(self, key: str) -> tuple[Any, Any, None, dict[str, Any]]:
        places = np.argwhere(self.seg == 1)
        return self.seg.astype(np.float32), self.seg, None, {"class_locations": {1: places}}


@pytest.mark.parametrize(("patch", "wide", "flat"), [((24, 28), (34, 40), False), ((4, 24, 28), (4, 34, 40), True)])
def test_weights_lie_where_labels_do(patch: tuple[int, ...], wide: tuple[int, ...], flat: bool) -> None:
    """Of a map that doubts one label, under patches that were turned, zoomed, mirrored and cut: linear beside nearest."""
    np.random.seed(0)  # noqa: NPY002 (the generator that nnU-Net draws from)
    torch.manual_seed(0)
    cases = Marked()
    loader = PlacedLoader(cases, 4, wide, patch, LABELS, oversample_foreground_percent=0.33, transforms=pipeline(patch, flat))
    weights, same, number, seen = PixelWeights(cases.doubts), 0, 0, set()
    for batch in (next(SingleThreadedAugmenter(loader, None)) for _ in range(4)):
        found = weights.at(Places.of(batch))
        target = batch["target"][0] if isinstance(batch["target"], list) else batch["target"]
        assert found.shape == target.shape
        for each, label, key in zip(found, target, batch["keys"], strict=True):
            seen.add(key)
            assert key == "a" or bool((each == 1).all())
            if key == "a":
                same, number = same + int(((each < 0.5) == (label == 1)).sum()), number + label.numel()
    assert seen == {"a", "b"} and same > 0.97 * number > 0


@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("regions", [False, True])
def test_with_full_weights_it_is_the_loss_of_nnunet(regions: bool, ignored: bool) -> None:
    generator = torch.Generator().manual_seed(3)
    output = torch.randn(2, 3, 6, 5, generator=generator)
    options: dict[str, Any] = {"batch_dice": True, "smooth": 1e-5, "do_bg": regions, "ddp": False}
    if regions:
        target = torch.rand(2, 3 + ignored, 6, 5, generator=generator) < 0.3
        stock: Any = DC_and_BCE_loss({}, options, use_ignore_label=ignored, dice_class=MemoryEfficientSoftDiceLoss)
    else:
        target = torch.randint(0, 3 + ignored, (2, 1, 6, 5), generator=generator).short()
        stock = DC_and_CE_loss(options, {}, ignore_label=3 if ignored else None, dice_class=MemoryEfficientSoftDiceLoss)
    robust = CrossEntropyLoss(reduction="none", sigmoid=regions)
    ignore = 3 if ignored else None
    ours = LossBesideDice(robust, stock.dc, 1.0, regions=regions, ignore=ignore, scale=3 if regions and ignored else 1)
    full = torch.ones(2, 1, 6, 5)
    torch.testing.assert_close(ours(output, with_weights(target, full)), stock(output, target), rtol=1e-5, atol=1e-6)
    less = float(ours(output, with_weights(target, full.where(full.cumsum(dim=2) > 3, 0.25))))
    assert abs(less - float(stock(output, target))) > 1e-3
