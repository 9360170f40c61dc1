"""Memory does not grow with the number of cases: six times the data trains in the same memory."""

from __future__ import annotations

import multiprocessing
import sys
from pathlib import Path

import pytest
from benchmarks.memory import MB, Peak, make_dataset, peak_of, train
from tests.methods_under_test import Remembering

SHAPE = (32, 128, 128)
PREPARED = 5 * 32 * 128 * 128
"""Bytes of a case in the cache: an image in float32 and a label in uint8."""
PATCH = (16, 32, 32)
CASES = 20


def train_remembering(root: Path) -> None:
    """A training with label state, in a process that knows the method."""
    from debride.methods import METHODS

    METHODS["remembering"] = Remembering
    train(root, "remembering", PATCH, 4, 4, None)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_six_times_the_cases_in_the_same_memory(tmp_path: Path) -> None:
    """52 MB and 315 MB of prepared cases, and almost as much label state, differ by less than 30 MB at their peaks."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(["tests.training_jobs", "monai.networks.nets.basic_unet"])

    def peak(cases: int) -> Peak:
        root = tmp_path / str(cases)
        make_dataset(root / "data", cases, SHAPE)
        return peak_of(train_remembering, root, start="forkserver")

    few, many = peak(CASES), peak(6 * CASES)
    tolerance = 30.0
    assert 8 * tolerance < 5 * CASES * PREPARED / MB
    assert many.anonymous - few.anonymous < tolerance
