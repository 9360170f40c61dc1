"""Sets of regions as nnU-Net has them: it takes our copies, and paints masks as we do."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from tests.nnunet_sets import NAME, Home, prepare_home, write_heart

from debride.api.corrupting import corrupt_dataset
from debride.data.label_regions import paint, region_table
from debride.data.open import open_dataset


def test_nnunet_takes_a_noisy_copy_of_a_region_set(tmp_path: Path) -> None:
    data = Path(os.environ["DEBRIDE_DATA"]) if "DEBRIDE_DATA" in os.environ else None
    source = write_heart(tmp_path / "given", data, cases=6, tests=2, regions=True)
    home = Home(tmp_path / "home")
    home.raw.mkdir(parents=True)
    corrupt_dataset(source, home.raw / NAME, noise="markov", jobs=1)
    assert open_dataset(home.raw / NAME).regions == open_dataset(source).regions
    prepare_home(home)  # with --verify_dataset_integrity
    assert (home.preprocessed / NAME / "nnUNetPlans.json").is_file()


def test_masks_are_painted_as_nnunet_does(tmp_path: Path) -> None:
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

    source = write_heart(tmp_path, None, cases=4, regions=True)
    dataset = open_dataset(source)
    manager = LabelManager({"background": 0, "heart": [1, 2, 3], "left": [2, 3], "cavity": 3}, [1, 2, 3])
    maps = np.random.default_rng(0).random((3, 40, 50), dtype=np.float32)
    maps[:, 0] = 0.5
    painted = paint((map > 0.5 for map in maps), dataset.regions)
    assert np.array_equal(painted, manager.convert_probabilities_to_segmentation(maps))
    ids = np.arange(4, dtype=np.uint8)
    table = region_table(dataset.regions)
    for of_class, region in zip(table, manager.foreground_regions, strict=True):
        held = region if isinstance(region, tuple) else (region,)
        assert (of_class[ids] == 1).tolist() == [id in held for id in ids]
