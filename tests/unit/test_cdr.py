"""CDR: which gradients are kept, against a slow version and the authors' code; when a noise rate is found, and what it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.meta_stubs import small_network
from tests.sweep_stubs import Sweeping, batch_of
from tests.training_jobs import small_class_job, small_job
from tests.two_networks import random_labels
from torch import Tensor, nn

from debride.methods.cdr import CDR, keep_critical
from debride.settings import check_bounds
from debride.training.fit import fit
from debride.types import IGNORE, DataError


def with_gradients(*shapes: tuple[int, ...]) -> list[nn.Parameter]:
    """Parameters of these shapes with random values and gradients."""
    generator = torch.Generator().manual_seed(0)
    parameters = [nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64)) for shape in shapes]
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return parameters


@pytest.mark.parametrize("share", [1.0, 0.8, 0.29, 0.01])
def test_the_most_important_weights_of_all_layers_together_keep_their_gradient(share: float) -> None:
    parameters = with_gradients((4, 5), (7,), (2, 3, 2, 2), (1, 2, 3, 3, 3), (2, 2))
    parameters[-1].grad = None
    before = [None if p.grad is None else p.grad.clone() for p in parameters]
    keep_critical(parameters, share)
    layers = [0, 2, 3]
    numbered: list[tuple[float, int, int]] = []
    for layer in layers:
        grad = before[layer]
        assert grad is not None
        products = zip(parameters[layer].flatten().tolist(), grad.flatten().tolist(), strict=True)
        numbered += [(abs(weight * slope), layer, at) for at, (weight, slope) in enumerate(products)]
    best = {(layer, at) for _, layer, at in sorted(numbered, reverse=True)[: max(1, int(round(share * len(numbered), 6)))]}
    assert len(numbered) == 98
    for layer in layers:
        old, new = before[layer], parameters[layer].grad
        assert old is not None and new is not None
        expected = [float(g) * share if (layer, at) in best else 0.0 for at, g in enumerate(old.flatten())]
        assert new.flatten().tolist() == pytest.approx(expected)
    assert before[1] is not None and parameters[1].grad is not None and torch.equal(parameters[1].grad, before[1])
    assert parameters[-1].grad is None


def test_three_steps_are_those_of_the_authors_code() -> None:
    """The weights after three steps of SGD are what ``train_one_step`` of xiaoboxia/CDR, commit 6665a8ba, main.py, gives with a
    ratio and a clip of 0.6."""
    network = nn.Sequential(nn.Conv2d(1, 2, 2), nn.Flatten(), nn.Linear(8, 2))
    values = [
        [0.0, 0.5, -0.8, -0.7, -0.4, 0.3, 0.0, 0.8],
        [-0.1, 0.3],
        [-0.2, -0.1, -0.7, -0.5, -0.3, 0.0, 0.3, 0.4, -0.5, -0.3, 0.3, 0.6, -0.1, 0.5, -0.1, 0.1],
        [0.6, -0.7],
    ]
    with torch.no_grad():
        for parameter, numbers in zip(network.parameters(), values, strict=True):
            parameter.copy_(torch.tensor(numbers).reshape(parameter.shape))
    image = torch.tensor(
        [
            [[0.2, 0.9, -0.1], [-0.1, -0.6, 0.0], [-0.5, 0.2, 0.6]],
            [[-0.4, -0.8, -2.3], [-0.1, 0.8, -0.3], [0.1, -0.2, -0.7]],
            [[0.9, 0.5, -0.6], [0.9, 1.1, 1.3], [-1.5, 2.6, -0.5]],
            [[0.3, -1.6, -0.5], [-0.5, -0.5, -1.1], [1.1, -0.1, 0.8]],
        ]
    )[:, None]
    label = torch.tensor([0, 1, 1, 0])
    optimiser = torch.optim.SGD(network.parameters(), lr=0.5, momentum=0.9, weight_decay=0.01)
    for _ in range(3):
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(image), label).backward()
        keep_critical(list(network.parameters()), 0.6)
        optimiser.step()
    after = [
        [0.0, 1.19733, -0.671498, -0.545043, -0.504177, -0.092761, 0.0, 0.817529],
        [0.651564, 0.309035],
        [
            *(0.145674, 0.571073, -0.712148, -0.322521, -0.598744, 0.0, -0.252281, 0.428864),
            *(-0.883227, -0.959901, 0.32332, 0.419728, -0.097207, 0.674055, -0.012857, 0.097207),
        ],
        [0.087494, -0.184701],
    ]
    for parameter, numbers in zip(network.parameters(), after, strict=True):
        assert parameter.flatten().tolist() == pytest.approx(numbers, abs=2e-5)


def slow_rate(label: Tensor, held: Tensor) -> float:
    """The share of labelled pixels that are contradicted, half of them at most."""
    pairs = [(int(y), int(h)) for y, h in zip(label.flatten(), held.flatten(), strict=True) if y != IGNORE]
    return min(0.5, sum(y != h for y, h in pairs) / len(pairs))


@pytest.mark.parametrize("size", [(7, 5, 6), (4, 3, 4, 5), (40,)], ids=["2D", "3D", "classes"])
@pytest.mark.parametrize("wrong", [0.2, 0.9])
def test_an_unknown_rate_without_trusted_cases_is_what_is_contradicted(size: tuple[int, ...], wrong: float) -> None:
    """It is read once; until then all parameters are critical."""
    method = CDR(CDR.Config(noise_rate=None, search=0.25), lambda: small_network(2, 3), 3)
    label = random_labels(*size) if len(size) > 1 else torch.arange(size[0]) % 3
    generator = torch.Generator().manual_seed(1)
    other = torch.rand(label.shape, generator=generator) < wrong
    held = torch.where(other, (label + 1) % 3, label.clamp(max=2))
    run: Any = Sweeping(method, label, nn.functional.one_hot(held, 3).movedim(-1, 1).double(), epochs=20)
    shares = []
    for run.epoch in range(20):
        method.start_epoch(run)
        shares.append(method.critical)
    rate = slow_rate(label, held)
    assert 0.1 < rate <= 0.5
    assert shares == pytest.approx([1.0] * 5 + [1 - rate] * 15)
    assert [epoch for epoch, _ in run.asked] == [5]
    again = CDR(CDR.Config(noise_rate=None), lambda: small_network(2, 3), 3)
    again.load_state_dict(method.state_dict())
    again.start_epoch(run)
    assert again.critical == method.critical, "a resumed training knows what was found"


def test_trusted_cases_tell_how_much_is_contradicted_of_right_labels() -> None:
    """Half of label 1 is held for 0, and of trusted cases a quarter, in every one alike: a quarter of the others is wrong."""
    label = torch.tensor([[0, 0, 0, 0, 1, 1, 1, 1]]).repeat(12, 1)
    held = label.clone()
    held[:, 4:6] = 0
    held[8:, 5] = 1
    method = CDR(CDR.Config(noise_rate=None, search=0.0), lambda: small_network(2, 2), 2)
    probability = nn.functional.one_hot(held, 2).movedim(-1, 1).double()
    run: Any = Sweeping(method, label, probability, trusted=[8, 9, 10, 11], epoch=1)
    method.start_epoch(run)
    assert 1 - method.critical == pytest.approx(8 * 4 * 0.25 / (12 * 8))


@pytest.mark.parametrize("size", [(3, 5, 6), (2, 3, 4, 5), (9,)], ids=["2D", "3D", "classes"])
def test_the_loss_is_the_mean_over_labelled_pixels_or_images(size: tuple[int, ...]) -> None:
    network = small_network(len(size) - 1, 3) if len(size) > 1 else nn.Linear(2, 3).double()
    method = CDR(CDR.Config(), lambda: network, 3)  # type: ignore[arg-type,return-value]
    label = random_labels(*size) if len(size) > 1 else torch.tensor([0, 1, 2, IGNORE, 0, 1, 2, 0, IGNORE])
    image = torch.randn(size[0], 2, *size[1:], generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    log = network(image).log_softmax(dim=1).detach().movedim(1, -1).reshape(-1, 3)
    given = [-float(row[int(y)]) for row, y in zip(log, label.flatten(), strict=True) if y != IGNORE]
    run: Any = None
    (loss,) = method.loss(batch_of(image, label, {}), run).values()
    assert loss.item() == pytest.approx(sum(given) / len(given))


def first_gradient(monkeypatch: pytest.MonkeyPatch, root: Path, precision: str) -> tuple[float, list[float]]:
    """The norm of the first step's gradients as they come to be changed, and the shares of weights that are kept."""
    norms, kept = [], []
    divide = CDR._divide

    def watched(method: CDR, parameters: Sequence[nn.Parameter]) -> None:
        norms.append(float(torch.stack([p.grad.norm() for p in parameters if p.grad is not None]).norm()))
        divide(method, parameters)
        weights = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None and p.ndim > 1])
        kept.append(float((weights != 0).double().mean()))

    monkeypatch.setattr(CDR, "_divide", watched)
    config = {"epochs": 1, "n": 8, "precision": precision, "clip": 1e-9, "out": f"run-{precision}"}
    fit(small_job(root, "cdr", **config))
    return norms[0], kept


def test_gradients_come_to_be_changed_unscaled_and_before_they_are_clipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In half precision a loss is scaled by 65536, and a clip of 1e-9 leaves next to nothing."""
    whole, kept = first_gradient(monkeypatch, tmp_path, "32")
    half, _ = first_gradient(monkeypatch, tmp_path, "16")
    assert whole > 1e-3 and half == pytest.approx(whole, rel=0.1)
    assert all(share == pytest.approx(0.8, abs=0.02) for share in kept)


def test_images_with_one_class_each_are_learnt_too(tmp_path: Path) -> None:
    job = small_class_job(tmp_path, "cdr", epochs=2, config={"noise_rate": None, "search": 0.0})
    fit(job)
    assert (job.out / "metrics.jsonl").read_text().count("critical") == 2


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_a_rate_out_of_range_is_refused(rate: float) -> None:
    with pytest.raises(DataError, match=f"noise_rate: is {rate}"):
        check_bounds(CDR.Config(noise_rate=rate))
