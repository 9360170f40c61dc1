"""The memory of ``debride predict`` is that of stitching windows: 4 bytes per voxel, channel and class, and 4 for weights."""

from __future__ import annotations

import math
import multiprocessing
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.large_volume import make_volume, predict, untrained_run
from benchmarks.memory import MB, peak_of
from torch import nn

from debride.training.inference import segment

SHAPE = (64, 384, 384)
VOXELS = math.prod(SHAPE)
PATCH = (16, 96, 96)
SMALL = (34, 194, 194)
"""Larger than a patch, resampled or not."""

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")


@pytest.fixture(scope="module", autouse=True)
def one_import_for_all() -> None:
    multiprocessing.get_context("forkserver").set_forkserver_preload(["benchmarks.large_volume", "debride.training.predict"])


def pointwise(ndim: int, in_channels: int, classes: int) -> nn.Module:
    """A network that takes no time and no memory."""
    assert ndim == 3
    return nn.Conv3d(in_channels, classes, 1)


def bytes_per_voxel(root: Path, classes: int, options: tuple[str, ...] = (), **settings: Any) -> float:
    """The peak of a prediction beyond that of a volume of a few windows, by the voxels of both."""
    peaks = []
    for name, shape in (("small", SMALL), ("large", SHAPE)):
        make_volume(root / name / "images" / "volume.nii.gz", shape)
        network = "tests.e2e.test_large_volume:pointwise"
        untrained_run(root / name / "run", classes, network=network, patch_size=PATCH, **settings)
        peaks.append(
            peak_of(predict, root / name, 1, ("--device", "cpu", "--network", network, *options), start="forkserver").resident
        )
        assert (root / name / "masks" / "volume.nii.gz").exists()
    return (peaks[1] - peaks[0]) * MB / (VOXELS - math.prod(SMALL))


@pytest.mark.parametrize("crop", [False, pytest.param(True, marks=pytest.mark.system)])
def test_a_volume_of_two_classes(crop: bool, tmp_path: Path) -> None:
    """16 bytes; a copy of the file that is not given back would be 18, one in float32 20."""
    found = bytes_per_voxel(tmp_path, 2, ("--largest-component",), crop=crop)
    assert 14 < found < 17.5


@pytest.mark.system
def test_a_volume_that_was_resampled(tmp_path: Path) -> None:
    """Four classes at an eighth of the voxels take 2 bytes, and 11 each by itself in the file's size; all together, 24."""
    found = bytes_per_voxel(tmp_path, 4, spacing=(2.0, 2.0, 2.0))
    assert 10 < found < 20


def make_probabilities(then_segment: bool) -> None:
    torch.set_num_threads(1)
    probability = torch.rand(2, *SHAPE)
    if then_segment:
        segment(probability, SHAPE)


def test_ids_are_never_held_in_eight_bytes() -> None:
    """6 bytes per voxel at most beside the probabilities; argmax takes 8, and one for the ids."""
    base, peak = (peak_of(make_probabilities, then, start="forkserver").resident for then in (False, True))
    assert 0 < (peak - base) * MB / VOXELS < 7.5
