"""UNICON: what is selected and by whom, the contrastive term, and what a step optimises."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from debride.methods.base import Look
from debride.methods.parts.semi_supervised import Division, UniformConfig, divided_losses, uniform_division
from debride.methods.unicon import UNICON
from debride.networks.network import Network
from debride.settings import check_bounds
from debride.types import IGNORE, DataError

K, CASES = 3, 10
LABEL = torch.tensor([0, 1, 2, IGNORE, 1, 0, 2, 2, 0, 1])
SELECTED = torch.tensor([True, False, True, False, False, True, False, True, True, True])


def network(seed: int) -> Network:
    torch.manual_seed(seed)
    return Network(nn.Sequential(nn.Flatten(), nn.Linear(8, 5), nn.Tanh()), nn.Linear(5, K)).double()


def method(**config: Any) -> UNICON:
    made = iter((network(1), network(2)))
    built = UNICON(UNICON.Config(**{"projection": 4, **config}), lambda: next(made), K).double()
    built.divisions = dict.fromkeys(("first", "second"), Division(SELECTED, torch.linspace(0.1, 1, CASES)))
    return built


def batch_of(rows: list[int]) -> Any:
    images = torch.randn(4, len(rows), 2, 2, 2, generator=torch.Generator().manual_seed(sum(rows)), dtype=torch.float64)
    seen = tuple(SimpleNamespace(image=image, label=LABEL[rows]) for image in images)
    return SimpleNamespace(views=seen, image=images[0], label=LABEL[rows], index=torch.tensor(rows))


def run_at(epoch: int, phase: str = "train", **more: Any) -> Any:
    kept: list[Any] = []
    logged: dict[str, float] = {}
    return SimpleNamespace(
        epoch=epoch,
        epochs=100,
        phase=phase,
        cases=CASES,
        own=np.arange(CASES),
        kept=kept,
        logged=logged,
        generator=torch.Generator().manual_seed(7),
        optimise=lambda loss, networks=None: kept.append((loss, networks)),
        log=lambda **values: logged.update(values),
        summed=lambda values: values,
        **more,
    )


def slow_contrast(own: Network, projection: nn.Module, first: Tensor, second: Tensor) -> float:
    """SimCLR, Eq. 1, of what the linear layer and the normalisation over both views give."""
    linear, norm = projection.layers  # type: ignore[union-attr, misc]
    raw = linear(own.trunk(torch.cat((first, second)))).detach().numpy()
    raw = (raw - raw.mean(axis=0)) / np.sqrt(raw.var(axis=0) + norm.eps)
    units = [row / math.sqrt(sum(value**2 for value in row)) for row in raw]
    count, losses = len(first), []
    for i in range(2 * count):
        like = [math.exp(float(sum(units[i] * units[j])) / 0.05) for j in range(2 * count)]
        losses.append(-math.log(like[(i + count) % (2 * count)] / (sum(like) - like[i])))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("phase", ["first", "second"])
def test_the_loss_adds_the_contrast_of_what_is_not_selected(phase: str) -> None:
    built, rows = method(), [0, 1, 3, 6, 7, 4]
    batch = batch_of(rows)
    terms = {name: float(term.detach()) for name, term in built.loss(batch, run_at(30, phase)).items()}
    own, other = (built.first, built.second) if phase == "first" else (built.second, built.first)
    expected = divided_losses(built.config, run_at(30, phase), batch, own, other, built.divisions[phase])
    for name, term in expected.items():
        assert terms[name] == pytest.approx(float(term.detach()))
    left = [number for number, row in enumerate(rows) if not SELECTED[row]]
    strong = [batch.views[view].image[left] for view in (2, 3)]
    contrast = slow_contrast(own, built.projections[phase], *strong)
    assert terms["contrastive"] == pytest.approx(0.025 * contrast, rel=1e-5)
    assert set(terms) == {"supervised", "unsupervised", "prior", "contrastive"}


def test_targets_come_from_weak_views_and_mixtures_are_of_strong_ones() -> None:
    built, rows = method(), [0, 1, 3, 6, 7, 4]
    batch = batch_of(rows)
    for view in batch.views:
        view.image.requires_grad_()
    terms = built.loss(batch, run_at(30, "first"))
    torch.stack([terms[name] for name in ("supervised", "unsupervised")]).sum().backward()
    assert [view.image.grad is not None for view in batch.views] == [False, False, True, True]
    before = float(built.loss(batch, run_at(30, "first"))["supervised"].detach())
    batch.views[1].image = batch.views[1].image + 1
    assert float(built.loss(batch, run_at(30, "first"))["supervised"].detach()) != pytest.approx(before)


@pytest.mark.parametrize(("rows", "empty"), [([1, 3, 4], {"supervised"}), ([0, 2, 5], {"unsupervised", "contrastive"})])
def test_an_empty_part_has_no_loss(rows: list[int], empty: set[str]) -> None:
    built = method()
    terms = built.loss(batch_of(rows), run_at(30, "second"))
    assert {name for name, term in terms.items() if term == 0} == empty
    torch.stack(list(terms.values())).sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in built.second.parameters())
    assert all(parameter.grad is None for parameter in built.first.parameters())


def test_a_step_optimises_a_network_with_its_projection() -> None:
    built = method()
    for name, own in (("first", built.first), ("second", built.second)):
        run = run_at(30, name)
        built.step(batch_of([0, 1, 2, 3]), run)
        ((loss, networks),) = run.kept
        assert networks == [own, built.projections[name]]
        loss.backward()
        assert all(p.grad is not None and (p.grad != 0).any() for p in own.parameters())
        assert built.projections[name].layers[0].weight.grad.abs().sum() > 0
        assert run.logged["selected"] == pytest.approx(0.6)
    run = run_at(3)
    built.step(batch_of([0, 1, 2, 3]), run)
    assert run.kept[0][1] is None and set(run.logged) == {"first", "second"}


def sweeps(built: UNICON) -> Any:
    """Predictions that give the labels' classes these probabilities: of the first network, of the second, of both."""
    likelihood = {
        id(built.first): torch.linspace(0.05, 0.95, CASES),
        id(built.second): torch.linspace(0.9, 0.1, CASES),
        id(None): torch.tensor([0.9, 0.2, 0.8, 0.3, 0.1, 0.4, 0.7, 0.95, 0.6, 0.5]),
    }

    def sweep(rows: Any, swept: Network | None = None) -> Any:
        for part in (rows[:4], rows[4:]):
            p = ((1 - likelihood[id(swept)][part]) / (K - 1))[:, None].repeat(1, K)
            p.scatter_(1, LABEL[part].where(LABEL[part] != IGNORE, 0)[:, None], likelihood[id(swept)][part][:, None])
            yield SimpleNamespace(rows=part, label=LABEL[part], probability=p)

    return sweep, likelihood


def divergence(q: float) -> float:
    return 1 - ((1 + q) * math.log2(1 + q) - q * math.log2(q)) / 2


def slow_selected(likelihood: list[float], mu: float) -> list[int]:
    """The cut-off, its share, and as many of every class."""
    d = [divergence(q) for q in likelihood]
    rows = [row for row in range(CASES) if LABEL[row] != IGNORE]
    mean, least = sum(d[row] for row in rows) / len(rows), min(d[row] for row in rows)
    limit = mean - (mean - least) / 5 if mean > mu else mean
    count = sum(d[row] <= limit for row in rows) // K
    chosen = [sorted((row for row in rows if LABEL[row] == k), key=lambda row: d[row])[:count] for k in range(K)]
    return sorted(row for rows in chosen for row in rows)


@pytest.mark.parametrize("mu", [0.7, 0.1])
@pytest.mark.parametrize("split", ["mean", "other"])
def test_both_learn_from_the_mean_or_each_from_the_others_selection(split: str, mu: float) -> None:
    built = method(split=split, mu=mu)
    sweep, likelihood = sweeps(built)
    built.start_epoch(run_at(9, sweep=sweep))
    assert torch.equal(built.divisions["first"].selected, SELECTED)
    built.start_epoch(run_at(10, sweep=sweep))
    sources = (None, None) if split == "mean" else (built.second, built.first)
    for name, source in zip(("first", "second"), sources, strict=True):
        q = likelihood[id(source)].tolist()
        found = built.divisions[name]
        assert found.selected.nonzero()[:, 0].tolist() == slow_selected(q, mu)
        labelled = [row for row in range(CASES) if LABEL[row] != IGNORE]
        assert found.trust[labelled].tolist() == pytest.approx([1 - divergence(q[row]) for row in labelled], abs=1e-6)


def test_labels_with_a_small_divergence_can_be_kept_as_they_are() -> None:
    d = torch.tensor([0.1, 0.4, 0.5, 0.8], dtype=torch.float64)
    label = torch.tensor([0, 1, 0, 1])
    assert uniform_division(d, label, 2, UniformConfig(kept=0.5)).trust.tolist() == pytest.approx([1, 1, 0.5, 0.2])
    assert uniform_division(d, label, 2, UniformConfig()).trust.tolist() == pytest.approx([0.9, 0.6, 0.5, 0.2])
    assert not uniform_division(d, torch.full((4,), IGNORE), 2, UniformConfig()).selected.any()


def test_images_without_a_label_do_not_move_the_cutoff() -> None:
    d = torch.tensor([0.1, 0.4, 0.5, 0.8] + [0.0] * 8, dtype=torch.float64)
    label = torch.tensor([0, 1, 0, 1] + [IGNORE] * 8)
    for cut in ("mean", "mixture"):
        assert uniform_division(d, label, 2, UniformConfig(cut=cut)).selected.nonzero()[:, 0].tolist() == [0, 1]  # type: ignore[arg-type]


def test_the_share_can_be_that_of_the_smaller_gaussian() -> None:
    """Of 15 divergences 6 are below the mean, and two Gaussians tell 3 small ones from the others."""
    d = torch.tensor([[0.1, 0.5, 0.9, 0.9, 0.9], [0.12, 0.5, 0.9, 0.9, 0.9], [0.11, 0.5, 0.9, 0.9, 0.9]], dtype=torch.float64)
    label = torch.arange(3).repeat_interleave(5)
    for cut, expected in (("mean", [0, 1, 5, 6, 10, 11]), ("mixture", [0, 5, 10])):
        found = uniform_division(d.flatten(), label, 3, UniformConfig(cut=cut))  # type: ignore[arg-type]
        assert found.selected.nonzero()[:, 0].tolist() == expected
        assert found.trust.tolist() == pytest.approx((1 - d.flatten()).tolist())


def test_an_epoch_after_the_warm_up_has_two_weak_and_two_strong_views() -> None:
    built = method()
    assert [phase.name for phase in built.plan(run_at(9))] == ["train"]
    phases = built.plan(run_at(10))
    strong = Look("strong", own_warp=True)
    assert [phase.name for phase in phases] == ["first", "second"]
    assert all(phase.looks == (Look(), Look(own_warp=True), strong, strong) for phase in phases)
    assert [stream.cases.tolist() for stream in phases[0].streams if stream.cases is not None] == [
        [0, 2, 5, 7, 8, 9],
        [1, 3, 4, 6],
    ]


def test_doubt_is_the_divergence_of_the_mean_and_networks_differ() -> None:
    built = method()
    sweep, likelihood = sweeps(built)
    expected = [divergence(q) if LABEL[row] != IGNORE else 0 for row, q in enumerate(likelihood[id(None)].tolist())]
    assert built.doubt(run_at(99, sweep=sweep)).tolist() == pytest.approx(expected, abs=1e-6)
    image = batch_of([0, 1]).image
    mean = (built.first(image).softmax(1) + built.second(image).softmax(1)) / 2
    assert torch.allclose(built.predict(image).double(), mean, atol=1e-6)
    assert not torch.equal(built.projections["first"].layers[0].weight, built.projections["second"].layers[0].weight)
    assert UNICON.tasks == {"classification"} and UNICON.Config().lambda_u == 30


@pytest.mark.parametrize(
    ("name", "value"),
    [("mu", 1.1), ("tau", 0.5), ("lambda_c", -1.0), ("kept", -0.1), ("projection", 0), ("contrast", 0.0), ("warm_up", 2.0)],
)
def test_settings_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(DataError, match=f"{name}: is"):
        check_bounds(UNICON.Config(**{name: value}))
