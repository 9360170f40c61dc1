"""The loops of ``examples/own_loop_*.py``, and the code on the page of losses, run and learn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from monai.networks.nets.unet import UNet
from torch import Tensor, nn
from torch.utils.data import DataLoader

from debride.losses import EarlyLearningRegularizationLoss
from debride.types import IGNORE

ROOT = Path(__file__).parents[2]
CASES, SIDE, EPOCHS = 8, 24, 4
Cases = tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8], npt.NDArray[np.uint8]]


@pytest.fixture(autouse=True)
def _examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples"))


@pytest.fixture
def cases() -> Cases:
    """Bright discs, their masks, and the same with a wrong corner in each second one and pixels without a label."""
    generator = np.random.default_rng(0)
    at = np.indices((SIDE, SIDE))
    centres, radii = generator.uniform(8, 16, (CASES, 2)), generator.uniform(4, 7, CASES)
    masks = np.stack(
        [((at - centre[:, None, None]) ** 2).sum(axis=0) < r * r for centre, r in zip(centres, radii, strict=True)]
    )
    images = masks + generator.normal(0, 0.3, masks.shape)
    images = (images - images.min(axis=(1, 2), keepdims=True)) / np.ptp(images, axis=(1, 2), keepdims=True)
    labels = masks.astype(np.uint8)
    labels[::2, :5, :5] = 1
    labels[:, -1] = IGNORE
    return images.astype(np.float32), masks.astype(np.uint8), labels


def network() -> nn.Module:
    torch.manual_seed(0)
    return UNet(spatial_dims=2, in_channels=1, out_channels=2, channels=(8, 16), strides=(2,), num_res_units=1)


def learnt(history: list[float], net: nn.Module, cases: Cases, epochs: int = EPOCHS) -> None:
    """The loss falls from the first epoch to the last, and the discs are found."""
    each = len(history) // epochs
    assert np.isfinite(history).all() and np.mean(history[-each:]) < np.mean(history[:each])
    images, masks, _ = cases
    net.eval()
    with torch.no_grad():
        found = net(torch.from_numpy(images)[:, None]).argmax(dim=1).numpy()
    assert 2 * (found & masks).sum() / (found.sum() + masks.sum()) > 0.8


def plain_loader(cases: Cases) -> Any:
    images, _, labels = cases
    rows = [(torch.from_numpy(images[i])[None], torch.from_numpy(labels[i]).long(), i) for i in range(CASES)]
    return DataLoader(rows, batch_size=2)  # type: ignore[arg-type]


def trusted(cases: Cases) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(cases[0][:3])[:, None], torch.from_numpy(cases[1][:3]).long()


@pytest.mark.parametrize("name", ["learning_its_tails", "from_the_inside_out", "relabelling"])
def test_plain_loops(name: str, cases: Cases) -> None:
    import own_loop_torch

    net = network()
    learnt(getattr(own_loop_torch, name)(net, plain_loader(cases), EPOCHS), net, cases)


def test_plain_loops_with_more(cases: Cases) -> None:
    import own_loop_torch

    net = network()
    learnt(own_loop_torch.asking_trusted_cases(net, plain_loader(cases), EPOCHS, *trusted(cases)), net, cases)
    nets = [network(), network()]
    learnt(own_loop_torch.co_teaching(nets, plain_loader(cases), EPOCHS), nets[1], cases)
    net, loss = network(), EarlyLearningRegularizationLoss(CASES, 2, (SIDE, SIDE), lam=0.3)
    learnt(own_loop_torch.remembering(net, plain_loader(cases), EPOCHS, loss), net, cases)
    sums = loss.state_dict()["remembered"].sum(dim=1)
    torch.testing.assert_close(sums, torch.full_like(sums, 1 - 0.7**EPOCHS))  # each case was seen once an epoch


def monai_loader(cases: Cases) -> Any:
    from own_loop_monai import loader_of

    images, _, labels = cases
    return loader_of([{"image": images[i], "label": labels[i].astype(np.float32)} for i in range(CASES)])


@pytest.mark.parametrize("name", ["robust", "selecting", "weighing", "looking_ahead", "refining"])
def test_monai_loops(name: str, cases: Cases) -> None:
    import own_loop_monai

    net, more = network(), ()
    if name == "looking_ahead":
        image, label = trusted(cases)
        more = ({"image": image, "label": label[:, None]},)
    loop: Callable[..., list[float]] = getattr(own_loop_monai, name)
    learnt(loop(net, monai_loader(cases), 3 * EPOCHS, *more), net, cases, 3 * EPOCHS)
