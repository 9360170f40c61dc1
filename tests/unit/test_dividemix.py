"""DivideMix: who is labelled for whom, targets and losses against their equations, and what it shares with UNICON and DCD."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tests.training_jobs import small_class_job
from torch import Tensor, nn

from debride.losses.semi import mixing_share
from debride.methods import METHODS
from debride.methods.base import Look
from debride.methods.dividemix import DivideMix, divide
from debride.methods.parts.semi_supervised import Division, divided_phases, evaluating, mixed_losses, refined_and_guessed
from debride.networks.network import Network
from debride.settings import check_bounds, paper_values
from debride.training.fit import fit
from debride.types import IGNORE, DataError

K, CASES = 3, 8
LABEL = torch.tensor([0, 1, 2, IGNORE, 1, 0, 2, 2])
SELECTED = torch.tensor([True, False, True, False, False, True, False, True])
TRUST = torch.linspace(0.1, 0.8, CASES)


def network(seed: int) -> Network:
    """Smooth, in float64, and different in training and evaluation mode."""
    torch.manual_seed(seed)
    trunk = nn.Sequential(nn.Flatten(), nn.Linear(8, 5), nn.BatchNorm1d(5), nn.Tanh())
    return Network(trunk, nn.Linear(5, K)).double()


def method(**config: Any) -> DivideMix:
    made = iter((network(1), network(2)))
    divided = DivideMix(DivideMix.Config(**{**paper_values(DivideMix.Config), **config}), lambda: next(made), K)
    divided.divisions = {"first": Division(SELECTED, TRUST), "second": Division(~SELECTED & (LABEL != IGNORE), 1 - TRUST)}
    return divided


def batch_of(rows: list[int], views: int = 2) -> Any:
    generator = torch.Generator().manual_seed(sum(rows))
    images = torch.randn(views, len(rows), 2, 2, 2, generator=generator, dtype=torch.float64)
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


def probabilities(module: nn.Module, image: Tensor) -> list[list[float]]:
    rows = []
    for row in module(image).detach().tolist():
        total = sum(math.exp(value) for value in row)
        rows.append([math.exp(value) / total for value in row])
    return rows


def slow_targets(
    own: nn.Module, other: nn.Module, views: list[Tensor], rows: list[int], division: Division
) -> list[list[float]]:
    """Eq. 3 and 4, and line 18 of Algorithm 1."""
    mine = [probabilities(own, view) for view in views]
    other.eval()
    theirs = [probabilities(other, view) for view in views]
    other.train()
    targets = []
    for number, row in enumerate(rows):
        if division.selected[row]:
            w, p = float(division.trust[row]), [sum(view[number][k] for view in mine) / len(views) for k in range(K)]
            target = [w * (k == int(LABEL[row])) + (1 - w) * p[k] for k in range(K)]
        else:
            target = [sum(view[number][k] for view in mine + theirs) / (2 * len(views)) for k in range(K)]
        powers = [value**2 for value in target]
        targets.append([power / sum(powers) for power in powers])
    return targets


def slow_terms(
    own: nn.Module, views: list[Tensor], targets: list[list[float]], selected: list[bool], weight: list[float]
) -> tuple[float, float, float]:
    """L_X, L_U and L_reg (Eq. 5 to 11), with the draws of a generator seeded by 7."""
    generator = torch.Generator().manual_seed(7)
    image, many = torch.cat(views), len(targets) * len(views)
    share = mixing_share(4.0, generator)
    partner = torch.randperm(many, generator=generator).tolist()
    mixed = torch.stack([share * image[i] + (1 - share) * image[partner[i]] for i in range(many)])
    p = probabilities(own, mixed)
    labelled, others = [], []
    for i in range(many):
        a, b = i % len(targets), partner[i] % len(targets)
        t = [share * targets[a][k] + (1 - share) * targets[b][k] for k in range(K)]
        if selected[a]:
            w = share * weight[a] + (1 - share) * weight[b]
            labelled.append(-w * sum(t[k] * math.log(p[i][k]) for k in range(K)))
        else:
            others.append(sum((t[k] - p[i][k]) ** 2 for k in range(K)) / K)
    mean = [sum(row[k] for row in p) / many for k in range(K)]
    prior = sum(1 / K * math.log(1 / K / mean[k]) for k in range(K))
    return sum(labelled) / max(1, len(labelled)), sum(others) / max(1, len(others)), prior


def slow_agreement(own: nn.Module, other: nn.Module, views: list[Tensor], rows: list[int], division: Division) -> float:
    """The share of images that are not labelled whose likeliest class is the same for both networks."""
    other.eval()
    sides = [[probabilities(each, view) for view in views] for each in (own, other)]
    other.train()
    same = []
    for number, row in enumerate(rows):
        if not division.selected[row]:
            sums = [[sum(view[number][k] for view in side) for k in range(K)] for side in sides]
            same.append(sums[0].index(max(sums[0])) == sums[1].index(max(sums[1])))
    return sum(same) / len(same)


@pytest.mark.parametrize("agreement", [True, False])
@pytest.mark.parametrize("phase", ["first", "second"])
def test_the_losses_equal_the_slow_version(phase: str, agreement: bool) -> None:
    divided, rows = method(lambda_r=0.5, agreement=agreement), [6, 0, 3, 1, 7, 5, 2, 4]
    batch = batch_of(rows)
    own, other = (divided.first, divided.second) if phase == "first" else (divided.second, divided.first)
    run = run_at(12, phase)
    terms = {name: float(term.detach()) for name, term in divided.loss(batch, run).items()}
    views, division = [view.image for view in batch.views], divided.divisions[phase]
    targets = slow_targets(own, other, views, rows, division)
    selected = [bool(division.selected[row]) for row in rows]
    supervised, unsupervised, prior = slow_terms(own, views, targets, selected, [1.0] * len(rows))
    assert terms["supervised"] == pytest.approx(supervised, rel=1e-6)
    share = slow_agreement(own, other, views, rows, division)
    assert 0 < share < 1 and float(run.logged["agreement"]) == pytest.approx(share)
    assert terms["unsupervised"] == pytest.approx(25 * 2 / 5.3 * (share if agreement else 1) * unsupervised, rel=1e-6)
    assert terms["prior"] == pytest.approx(0.5 * prior, rel=1e-6)


def test_weights_are_mixed_like_targets() -> None:
    own, other, rows = network(1), network(2), [0, 2, 4, 6, 7]
    views = [view.image for view in batch_of(rows).views]
    selected, weight = SELECTED[rows], torch.tensor([0.2, 3.0, 1.0, 1.0, 0.7], dtype=torch.float64)
    targets, _ = refined_and_guessed(own, other, views, LABEL[rows], selected, TRUST[rows], 0.5)
    generator = torch.Generator().manual_seed(7)
    found = mixed_losses(own, views, targets, selected, 4.0, generator, weight)
    expected = slow_terms(own, views, targets.tolist(), selected.tolist(), weight.tolist())
    assert [float(term.detach()) for term in found.values()] == pytest.approx(list(expected))
    plain = mixed_losses(own, views, targets, selected, 4.0, torch.Generator().manual_seed(7))
    ones = mixed_losses(own, views, targets, selected, 4.0, torch.Generator().manual_seed(7), torch.ones(5).double())
    assert float(plain["supervised"].detach()) == pytest.approx(float(ones["supervised"].detach()))


@pytest.mark.parametrize(("rows", "empty"), [([1, 3, 4], "supervised"), ([0, 2, 5], "unsupervised")])
def test_an_empty_part_has_no_loss_and_a_gradient_of_zero(rows: list[int], empty: str) -> None:
    divided = method()
    terms = divided.loss(batch_of(rows), run_at(40, "first"))
    assert all((term == 0) == (name == empty) for name, term in terms.items())
    torch.stack(list(terms.values())).sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in divided.first.parameters())
    assert all(parameter.grad is None for parameter in divided.second.parameters())


def test_a_phase_updates_its_own_network_and_the_other_stays_in_training() -> None:
    divided = method()
    before = [buffer.clone() for buffer in divided.second.buffers()]
    run = run_at(40, "first")
    divided.step(batch_of([0, 1, 2, 3]), run)
    ((_, networks),) = run.kept
    assert len(networks) == 1 and networks[0] is divided.first
    assert divided.second.training and all(map(torch.equal, before, divided.second.buffers()))
    assert run.logged["selected"] == 0.5
    run = run_at(40, "second")
    divided.step(batch_of([0, 1, 2, 3]), run)
    assert run.kept[0][1] == [divided.second]


def test_evaluation_ends_where_something_fails() -> None:
    own = network(1)
    with pytest.raises(RuntimeError), evaluating(own):
        assert not own.training
        raise RuntimeError
    assert own.training


@pytest.mark.parametrize("penalise", [False, True])
def test_the_warm_up_teaches_both_networks_the_given_labels(penalise: bool) -> None:
    divided, rows, run = method(penalise_confidence=penalise), [0, 3, 6, 7], run_at(9)
    assert [phase.name for phase in divided.plan(run)] == ["train"]
    batch = batch_of(rows)
    for name, own in (("first", divided.first), ("second", divided.second)):
        losses = []
        for number, p in enumerate(probabilities(own, batch.image)):
            if rows[number] != 3:
                loss = -math.log(p[int(LABEL[rows[number]])])
                losses.append(loss + (sum(q * math.log(q) for q in p) if penalise else 0))
        assert float(divided.loss(batch, run)[name].detach()) == pytest.approx(sum(losses) / 3)
    divided.step(batch, run)
    assert run.kept[0][1] is None


@pytest.mark.parametrize(("epoch", "length"), [("all", 7), ("labelled", None)])
def test_phases_pass_over_what_is_learnt_and_leave_empty_parts_out(epoch: Any, length: int | None) -> None:
    looks = (Look(), Look(own_warp=True))
    none, everything = torch.zeros(CASES, dtype=torch.bool), torch.ones(CASES, dtype=torch.bool)
    learnt = np.array([0, 1, 2, 3, 4, 6, 7])
    for selected, expected in (
        (SELECTED, [[0, 2, 7], [1, 3, 4, 6]]),
        (none, [learnt.tolist()]),
        (everything, [learnt.tolist()]),
    ):
        (phase,) = divided_phases({"second": Division(selected, TRUST)}, looks, learnt, epoch)
        assert phase.name == "second" and phase.looks == looks and phase.length == length
        rows = [stream.cases for stream in phase.streams]
        assert [each.tolist() for each in rows if each is not None] == expected
        assert all(stream.size is None for stream in phase.streams)
    phases = method().plan(run_at(10))
    assert [phase.name for phase in phases] == ["first", "second"]
    assert phases[0].looks == looks


@pytest.mark.parametrize("epoch", ["all", "labelled"])
def test_after_the_warm_up_a_network_takes_as_many_steps_as_all_images_make(
    epoch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[tuple[str, int]] = []
    labelled: list[int] = []

    class Counted(DivideMix):
        def step(self, batch: Any, run: Any) -> None:
            taken.append((run.phase, run.epoch))
            super().step(batch, run)

        def end_epoch(self, run: Any) -> None:
            labelled.extend(int(division.selected.sum()) for division in self.divisions.values())

    monkeypatch.setitem(METHODS, "counted", Counted)
    job = small_class_job(tmp_path, "counted", epochs=2, config={"warm_up": 0.5, "epoch": epoch})
    fit(job)
    size, images = job.config.batch_size, len(job.dataset.of("train"))
    lengths = [images, *([images] * 2 if epoch == "all" else labelled)]
    assert len(lengths) == 3 and all(0 < part < images for part in labelled)
    expected = []
    for (phase, number), length in zip((("train", 0), ("first", 1), ("second", 1)), lengths, strict=True):
        steps = math.ceil(length / size)
        expected += [(phase, number)] * steps
    assert taken == expected


def test_each_network_learns_from_what_the_other_divides() -> None:
    divided = method()
    clean = {id(divided.first): [0, 1, 4, 5, 6, 7], id(divided.second): [0, 2, 4, 5, 7]}

    def sweep(rows: Any, swept: Network | None = None) -> Any:
        assert rows.tolist() == list(range(CASES))
        likelihood = torch.full((CASES, K), 0.02)
        for row in range(CASES):
            spread = 0.01 * (row % 3)
            if LABEL[row] != IGNORE:
                likelihood[row, LABEL[row]] = 0.95 - spread if row in clean[id(swept)] else 0.1 - spread
        for part in (rows[:5], rows[5:]):
            yield SimpleNamespace(rows=part, label=LABEL[part], probability=likelihood[part])

    divided.start_epoch(run_at(9, sweep=sweep))
    assert torch.equal(divided.divisions["first"].selected, SELECTED)  # the warm-up leaves them
    divided.start_epoch(run_at(10, sweep=sweep))
    found = {name: division.selected.nonzero()[:, 0].tolist() for name, division in divided.divisions.items()}
    assert found == {"first": clean[id(divided.second)], "second": clean[id(divided.first)]}


def test_the_division_follows_the_smaller_gaussian() -> None:
    loss = torch.tensor([0.1, 0.12, 0.15, 0.2, 3.0, 3.2, 3.1, 3.3, 0.0], dtype=torch.float64)
    label = torch.tensor([0] * 8 + [IGNORE])
    found = divide(loss, label, 0.5)
    assert found.selected.tolist() == [True] * 4 + [False] * 5
    assert found.trust[:4].min() > 0.99 and found.trust[4:].max() < 0.01
    same = divide(torch.ones(9).double(), label, 0.5)
    assert same.selected.tolist() == [True] * 8 + [False] and same.trust.tolist() == [1.0] * 8 + [0.0]
    assert not divide(loss, torch.full_like(label, IGNORE), 0.5).selected.any()


def test_predicts_the_mean_and_doubts_by_the_loss() -> None:
    divided = method().eval()
    image = batch_of([0, 1]).image
    p, q = (probabilities(own, image) for own in (divided.first, divided.second))
    for number, row in enumerate(divided.predict(image).tolist()):
        assert row == pytest.approx([(a + b) / 2 for a, b in zip(p[number], q[number], strict=True)], abs=1e-6)
    swept = SimpleNamespace(
        rows=np.array([2, 0]), label=torch.tensor([1, IGNORE]), probability=torch.tensor([[0.7, 0.2, 0.1], [1.0, 0, 0]])
    )
    doubt = divided.doubt(run_at(50, sweep=lambda rows, swept_network=None: [swept]))
    assert doubt.tolist() == pytest.approx([0, 0, -math.log(0.2), 0, 0, 0, 0, 0])


def test_it_says_what_network_it_needs_and_what_it_is_for() -> None:
    with pytest.raises(DataError, match="has no features"):
        DivideMix(DivideMix.Config(), lambda: Network(nn.Flatten()), K)
    assert DivideMix.tasks == {"classification"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("warm_up", 1.5),
        ("ramp", -0.1),
        ("temperature", 0.0),
        ("alpha", 0.0),
        ("lambda_u", -1.0),
        ("lambda_u", math.nan),
        ("lambda_r", math.inf),
        ("threshold", 1.0),
    ],
)
def test_settings_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(DataError, match=f"{name}: is"):
        check_bounds(DivideMix.Config(**{name: value}))
