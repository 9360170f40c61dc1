"""The loops of ``examples/own_loop_*.py`` learn, the code on the page of losses runs, and its table of shapes is right."""

from __future__ import annotations

import importlib
import math
import re
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

from debride import losses
from debride.types import IGNORE, DataError

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "losses.md"
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
    assert 2 * (found & masks).sum() / (found.sum() + masks.sum()) > 0.75


def plain_loader(cases: Cases) -> Any:
    images, _, labels = cases
    rows = [(torch.from_numpy(images[i])[None], torch.from_numpy(labels[i]).long(), i) for i in range(CASES)]
    return DataLoader(rows, batch_size=2)  # type: ignore[arg-type]


def trusted(cases: Cases) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(cases[0][:3])[:, None], torch.from_numpy(cases[1][:3]).long()


@pytest.mark.parametrize("name", losses.__all__)
@pytest.mark.parametrize("library", ["own_loop_torch", "own_loop_monai"])
def test_every_loss_in_both_loops(library: str, name: str, cases: Cases) -> None:
    """Its values fall, and what it has of its own is learnt or remembered."""
    module, net = importlib.import_module(library), network()
    loader = plain_loader(cases) if library == "own_loop_torch" else monai_loader(cases)
    remembers = name == "EarlyLearningRegularizationLoss"
    loss = getattr(losses, name)(*((CASES, 2, (SIDE, SIDE)) if remembers else ()))
    history = (module.remembering if remembers else module.robust)(net, loader, EPOCHS, loss)
    each = len(history) // EPOCHS
    assert np.isfinite(history).all() and np.mean(history[-each:]) < np.mean(history[:each])
    if name == "TLoss":
        assert abs(loss.nu - math.e) > 1e-3
    if remembers:
        sums = loss.state_dict()["remembered"].sum(dim=1)
        torch.testing.assert_close(sums, torch.full_like(sums, 1 - 0.7**EPOCHS))  # each case was seen once an epoch


@pytest.mark.parametrize("name", ["from_the_inside_out", "relabelling"])
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


def monai_loader(cases: Cases) -> Any:
    from own_loop_monai import loader_of

    images, _, labels = cases
    return loader_of([{"image": images[i], "label": labels[i].astype(np.float32), "index": i} for i in range(CASES)])


@pytest.mark.parametrize("name", ["selecting", "weighing", "looking_ahead", "refining"])
def test_monai_loops(name: str, cases: Cases) -> None:
    import own_loop_monai

    net, more = network(), ()
    if name == "looking_ahead":
        image, label = trusted(cases)
        more = ({"image": image, "label": label[:, None]},)
    loop: Callable[..., list[float]] = getattr(own_loop_monai, name)
    learnt(loop(net, monai_loader(cases), 3 * EPOCHS, *more), net, cases, 3 * EPOCHS)


def test_the_code_on_the_page_runs(cases: Cases) -> None:
    """Block by block, with what the page takes for granted: a network, a loader, a batch and trusted cases."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) > 8
    (image, label), (trusted_image, trusted_label) = next(iter(plain_loader(cases)))[:2], trusted(cases)
    known: dict[str, Any] = {"network": network(), "loader": monai_loader(cases), "epoch": 3, "epochs": 10}
    for block in blocks:
        known.update(image=image, label=label, trusted_image=trusted_image, trusted_label=trusted_label)
        exec(block, known)
    assert known["saved"]["remembered"].shape == (100, 3) and known["bytes_needed"] == 640e6
    assert known["value"].isfinite() and known["weighed"].weights.shape == label.shape
    assert known["target"].shape == known["wrong"].shape == label.shape


MEANS = {
    "NoiseRobustDiceLoss": "images and classes",
    "TLoss": "values of the error",
}
"""What a mean runs over, where it is not labelled pixels."""


def shape_of(name: str, target: Tensor, **options: Any) -> str:
    """The shape of what a loss gives without a reduction, for logits (2, 3, 4, 5); "refused" where it is."""
    more: tuple[Any, ...] = (9, 3, (4, 5)) if name.startswith("EarlyLearning") else ()
    places = (torch.arange(2),) if more else ()
    try:
        loss = getattr(losses, name)(*more, reduction="none", **options)
        return str(tuple(loss(torch.zeros(2, 3, 4, 5), target, *places).shape))
    except DataError:
        return "refused"


def test_the_table_of_shapes_is_right() -> None:
    ids, regions = torch.zeros(2, 4, 5, dtype=torch.long), torch.zeros(2, 3, 4, 5)
    one_hot = torch.nn.functional.one_hot(ids, 3).movedim(-1, 1)
    rows = []
    for name in losses.__all__:
        forms = [shape_of(name, each) for each in (ids, ids[:, None], one_hot)]
        assert shape_of(name, one_hot * 0.5 + 1 / 6) == forms[2]
        forms.append(shape_of(name, regions, sigmoid=True))
        mean = MEANS.get(name, "labelled pixels" + (", and of regions" if forms[3] != "refused" else ""))
        rows.append(f"| `{name}` | {' | '.join(forms)} | {mean} |")
    written = PAGE.read_text(encoding="utf-8").split("|---|---|---|---|---|---|\n")[1].split("<!-- end -->")[0]
    assert written.splitlines() == rows, "the table should be\n" + "\n".join(rows)
