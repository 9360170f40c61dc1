"""Small homes of nnU-Net that several test files share."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.nnunet_sets import HEART, Home

from debride.nnunet import ext

SHORT = {"DEBRIDE_NNUNET_EPOCHS": 3, "DEBRIDE_NNUNET_ITERATIONS": 3, "DEBRIDE_NNUNET_VAL_ITERATIONS": 1}
"""A training of seconds."""


def found(**more: object) -> dict[str, object]:
    """What makes nnU-Net find our trainers, and nothing else of ours but what is given."""
    return {"nnUNet_extTrainer": ext.__path__[0], **more}


def weights_of(checkpoint: Path) -> dict[str, Any]:
    """What a checkpoint holds."""
    import torch

    held: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=False)
    return held


def kill_after_checkpoint(home: Home, trainer: str, fold: int = 0, configuration: str = "2d", **more: object) -> Path:
    """Starts a training and kills it at once, with SIGKILL, when its latest checkpoint is there; returns the fold's folder."""
    words = ["nnUNetv2_train", str(HEART), configuration, str(fold), "-tr", trainer, "-device", "cpu"]
    words[0] = str(home.bin / words[0])
    folder = home.fold(trainer, fold, configuration)
    process = subprocess.Popen(
        words, env=home.environment(**more), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    deadline = time.monotonic() + 300
    while not (folder / "checkpoint_latest.pth").exists():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0].decode()[-3000:]
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (folder / "checkpoint_final.pth").exists(), "it was over before it was killed"
    return folder
