"""Networks of plans against nnU-Net's own: the same weights give the same output, and its checkpoints begin a training."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.small_plans import arguments
from torch import nn

from debride.methods import find_method
from debride.networks.planned import described, planned
from debride.training.initial import load_initial

IMPORTED = ["conv_op", "norm_op", "dropout_op", "nonlin"]


def architecture(cls: str, ndim: int, convs: str) -> dict[str, Any]:
    """That of small plans, of another class."""
    given = arguments(ndim)
    given[convs] = given.pop("n_conv_per_stage")
    return {"network_class_name": f"dynamic_network_architectures.architectures.unet.{cls}", "arch_kwargs": given}


CASES = [
    ("PlainConvUNet", "n_conv_per_stage", (0, 1)),
    ("PlainConvUNet", "n_conv_per_stage", (0, 1, 2)),
    ("PlainConvUNet", "n_conv_per_stage", (2, 0, 1)),
    ("ResidualEncoderUNet", "n_blocks_per_stage", (1, 0, 2)),
]


def theirs(said: dict[str, Any]) -> nn.Module:
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    arguments = copy.deepcopy(said["arch_kwargs"])
    name = said["network_class_name"]
    network: nn.Module = get_network_from_plans(name, arguments, IMPORTED, 2, 3, deep_supervision=False)
    with torch.no_grad():  # some begin as 0 or 1, and would hide what is not loaded
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel())) / 10)
    return network.eval()


@pytest.mark.parametrize(("cls", "convs", "axes"), CASES)
def test_the_same_weights_give_the_same_output(cls: str, convs: str, axes: tuple[int, ...], tmp_path: Path) -> None:
    """Loaded by ``init``, as from a checkpoint of nnU-Net; images are turned to the planned axes, and the result back."""
    said = architecture(cls, len(axes), convs)
    original = theirs(said)
    torch.save({"network_weights": original.state_dict()}, tmp_path / "checkpoint_final.pth")
    network = planned(described(said, axes, "plans"), ndim=len(axes), in_channels=2, classes=3).eval()
    method = find_method("ce")
    (loaded,) = load_initial(method(method.Config(), lambda: network, 3), tmp_path / "checkpoint_final.pth")
    assert not loaded.kept and not loaded.shapes
    assert len(loaded.loaded) == len(network.state_dict())
    size = np.array([4, 8, 12][-len(axes) :])
    turned = torch.randn(2, 2, *size.tolist())
    back = np.argsort(axes)
    image = turned.permute(0, 1, *(2 + int(axis) for axis in back))
    with torch.no_grad():
        expected = original(turned).permute(0, 1, *(2 + int(axis) for axis in back))
        torch.testing.assert_close(network(image), expected, rtol=1e-4, atol=1e-5)
