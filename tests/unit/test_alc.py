"""ALC: its loss term by term against Eq. 1 to 11 written out, one pixel at a time, and that given labels go nowhere else."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tests.datasets import save_png
from tests.meta_stubs import labelled, slow_dice, small_network
from tests.sweep_stubs import Sweeping, certain
from tests.training_jobs import same, small_job, weights
from tests.two_networks import at, probabilities, random_labels
from torch import Tensor, nn

from debride.data.augmentation import Augmentation
from debride.losses.region import segmentation_loss
from debride.methods import alc
from debride.methods.alc import ALC
from debride.methods.ce import CrossEntropy
from debride.networks import build
from debride.settings import paper_values
from debride.training.fit import fit
from debride.training.job import Job
from debride.types import IGNORE

TRUSTED = torch.tensor([True, False, False, True, False, False, False])
OTHERS = [1, 2, 4, 5, 6]
SIZES = {2: (6, 7), 3: (3, 4, 5)}
PASSES = 3
PRINTED: Any = {"given": "kept", "ranking": "variance"}
"""Eq. 7, 9 and 11 as they are printed."""


def method(ndim: int = 2, **config: Any) -> ALC:
    """A student and a teacher that has other weights, whose passes differ by noise alone."""
    settings = {"passes": PASSES, "at_once": 2, "share": 0.6, "weight": 0.2, "alpha": 2.5, "beta": 1.5, **PRINTED, **config}
    made = ALC(ALC.Config(**settings), lambda: small_network(ndim, 3), 3)
    with torch.no_grad():
        for number, parameter in enumerate(made.teacher.parameters()):
            parameter += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)).to(parameter)
    return made


def batch_of(ndim: int = 2, trusted: Tensor = TRUSTED, seed: int = 0) -> Any:
    label = random_labels(len(trusted), *SIZES[ndim], seed=seed)
    label[1, :, 0] = IGNORE
    image = torch.randn((len(label), 2, *SIZES[ndim]), generator=torch.Generator().manual_seed(seed)).double()
    return SimpleNamespace(image=image, label=label, trusted=trusted)


def run_at(epoch: int = 50, **more: Any) -> Any:
    return SimpleNamespace(epoch=epoch, epochs=100, step=0, **more)


class Said:
    """Stands for the teacher's passes: known ones, of images in the middle of which it is surest, and what was asked."""

    def __init__(self, taught: ALC, size: tuple[int, ...], number: int = PASSES) -> None:
        generator = torch.Generator().manual_seed(7)
        shape = (number, len(OTHERS), 3, *size)
        spread = torch.tensor([1.5, 0.9, 0.3, 0.6, 1.2]).reshape(1, -1, *(1,) * (1 + len(size)))
        common = torch.randn(shape[1:], generator=generator, dtype=torch.float64)
        self.passes = (common + spread * torch.randn(shape, generator=generator, dtype=torch.float64)).softmax(dim=2)
        self.asked: list[tuple[Tensor, int, float, int | None]] = []
        taught.teacher.passes = self.said  # type: ignore[method-assign]

    def said(self, image: Tensor, number: int, noise: float, at_once: int | None) -> Tensor:
        self.asked.append((image, number, noise, at_once))
        return self.passes


def detached(terms: dict[str, Tensor]) -> dict[str, float]:
    return {name: float(term.detach()) for name, term in terms.items()}


def slow_label(passes: Tensor, image: int, where: tuple[int, ...], targets: str) -> int:
    """The class that a selected case is taught at a pixel: by Eq. 4 to 6, the passes' mean, or the first pass."""
    pixel = [at(p.numpy(), (image, *where)) for p in passes]
    mean = [sum(p[k] for p in pixel) / len(pixel) for k in range(3)]
    certainty = [math.exp(-sum(q * math.log(q / p[k]) for k, q in enumerate(mean))) for p in pixel]
    found = {
        "refined": [sum(p[k] * c / sum(certainty) for p, c in zip(pixel, certainty, strict=True)) for k in range(3)],
        "mean": mean,
        "pass": pixel[0],
    }[targets]
    return found.index(max(found))


def slow_uncertainty(passes: Tensor, image: int) -> float:
    """Eq. 7, with the square inside the sum."""
    places = list(np.ndindex(*passes.shape[3:]))
    total = 0.0
    for where in places:
        pixel = [at(p.numpy(), (image, *where)) for p in passes]
        for k in range(3):
            mean = sum(p[k] for p in pixel) / len(pixel)
            total += sum((p[k] - mean) ** 2 for p in pixel) / len(pixel)
    return total / len(places)


def slow_segmentation(logits: Tensor, label: Tensor, image: int) -> float:
    """Eq. 2."""
    one, p = label[image : image + 1], probabilities(logits)[image : image + 1]
    pixels = labelled(one)
    ce = sum(-math.log(at(p, where)[int(one[where])]) for where in pixels) / len(pixels)
    return (ce + slow_dice(p, one)) / 2


def slow_labels(label: Tensor, passes: Tensor, selected: list[int], targets: str) -> Tensor:
    """The labels that cases are taught: what passes say for the selected, where they have a label."""
    taught = label.clone()
    for image in selected if targets != "given" else []:
        for where in np.ndindex(*label.shape[1:]):
            if label[(image, *where)] != IGNORE:
                taught[(image, *where)] = slow_label(passes, OTHERS.index(image), where, targets)
    return taught


@pytest.mark.parametrize("divisor", ["cases", "printed"])
@pytest.mark.parametrize("selection", [True, False])
@pytest.mark.parametrize("targets", ["refined", "mean", "pass", "given"])
@pytest.mark.parametrize("ndim", [2, 3])
def test_the_loss_is_that_of_the_equations(ndim: int, targets: Any, selection: bool, divisor: Any) -> None:
    taught = method(ndim, targets=targets, selection=selection, divisor=divisor, ramp=0.8, noise=0.17)
    batch, said = batch_of(ndim), Said(taught, SIZES[ndim])
    before = batch.label.clone()
    terms = detached(taught.loss(batch, run_at(30)))
    assert torch.equal(batch.label, before), "given labels are left as they are"
    ((image, *asked),) = said.asked
    assert torch.equal(image, batch.image[OTHERS]) and asked == [PASSES, 0.17, 2]

    order = sorted(range(5), key=lambda image: slow_uncertainty(said.passes, image))
    chosen = [OTHERS[image] for image in order[:3]] if selection else OTHERS
    assert not selection or sorted(chosen) == [2, 4, 5]
    label = slow_labels(batch.label, said.passes, chosen, targets)
    logits = taught.network(batch.image).detach()
    loss = [slow_segmentation(logits, label, image) for image in range(7)]
    rate = 0.2 * math.exp(-5 * (1 - 30 / (0.8 * 99)) ** 2)
    rest = [image for image in OTHERS if image not in chosen]
    below = max(1, len(rest)) if divisor == "cases" else len(rest) + 1
    student, squares = probabilities(logits), 0.0
    for number, image in enumerate(OTHERS):
        for where in np.ndindex(*SIZES[ndim]):
            mean = [sum(at(p.numpy(), (number, *where))[k] for p in said.passes) / PASSES for k in range(3)]
            squares += sum((p - q) ** 2 for p, q in zip(at(student, (image, *where)), mean, strict=True))
    assert terms == {
        "trusted": pytest.approx((loss[0] + loss[3]) / 2),
        "refined": pytest.approx(rate * 2.5 * sum(loss[image] for image in chosen) / len(chosen)),
        "given": pytest.approx(rate * 1.5 * sum(loss[image] for image in rest) / below),
        "consistency": pytest.approx(rate * squares / (5 * math.prod(SIZES[ndim]))),
    }
    assert (terms["given"] > 0) is selection


def slow_disagreement(passes: Tensor, image: int) -> float:
    """1 - Dice of the foreground classes of two passes, the mean over their pairs."""
    places = list(np.ndindex(*passes.shape[3:]))
    sets = []
    for one in passes.numpy():
        likeliest = {where: at(one, (image, *where)) for where in places}
        sets.append({(where, p.index(max(p))) for where, p in likeliest.items() if p.index(max(p))})
    pairs = [(a, b) for number, a in enumerate(sets) for b in sets[:number]]
    return sum(1 - 2 * len(a & b) / (len(a) + len(b)) for a, b in pairs) / len(pairs)


@pytest.mark.parametrize("ndim", [2, 3])
def test_by_default_given_labels_of_all_other_cases_fade_and_agreement_selects(ndim: int) -> None:
    assert paper_values(ALC.Config) == {**PRINTED, "weight": 0.1}
    taught = method(ndim, given="fading", ranking="agreement", ramp=0.8)
    batch, said = batch_of(ndim), Said(taught, SIZES[ndim])
    logits = taught.network(batch.image).detach()
    given = [slow_segmentation(logits, batch.label, image) for image in OTHERS]
    order = sorted(range(5), key=lambda image: slow_disagreement(said.passes, image))
    label = slow_labels(batch.label, said.passes, OTHERS, "refined")
    refined = [slow_segmentation(logits, label, OTHERS[image]) for image in order[:3]]
    for epoch, grown in ((0, math.exp(-5)), (30, math.exp(-5 * (1 - 30 / (0.8 * 99)) ** 2)), (90, 1.0)):
        terms = detached(taught.loss(batch, run_at(epoch)))
        assert terms["refined"] == pytest.approx(0.2 * grown * 2.5 * sum(refined) / 3)
        assert terms["given"] == pytest.approx(0.2 * (1 - grown) * 1.5 * sum(given) / 5, abs=1e-12)


def test_the_ways_to_label_selected_cases_differ_on_these_passes() -> None:
    said, label = Said(method(), SIZES[2]), batch_of().label
    found = [slow_labels(label, said.passes, OTHERS, targets) for targets in ("refined", "mean", "pass", "given")]
    assert all(not torch.equal(found[a], found[b]) for a in range(4) for b in range(a))


@pytest.mark.parametrize(("share", "selected"), [(0.0, []), (0.2, [4]), (0.4, [4, 5]), (0.5, [2, 4, 5]), (1.0, OTHERS)])
def test_the_share_says_how_many_are_selected_and_none_or_all_can_be(share: float, selected: list[int]) -> None:
    """A term of no case is nought and has a gradient."""
    for divisor in ("cases", "printed"):
        taught = method(share=share, divisor=divisor, weight=1.0, ramp=0.0, alpha=1.0, beta=1.0)
        batch, said = batch_of(), Said(taught, SIZES[2])
        terms = taught.loss(batch, run_at())
        label = slow_labels(batch.label, said.passes, selected, "refined")
        logits = taught.network(batch.image).detach()
        rest = [image for image in OTHERS if image not in selected]
        refined = sum(slow_segmentation(logits, label, image) for image in selected) / max(1, len(selected))
        given = sum(slow_segmentation(logits, label, image) for image in rest)
        assert float(terms["refined"].detach()) == pytest.approx(refined)
        assert float(terms["given"].detach()) == pytest.approx(
            given / (max(1, len(rest)) if divisor == "cases" else len(rest) + 1)
        )
        torch.stack(list(terms.values())).sum().backward()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in taught.network.parameters())


def test_without_other_cases_the_teacher_is_not_asked_and_without_trusted_ones_their_term_is_nought() -> None:
    taught, batch = method(), batch_of(trusted=torch.ones(7, dtype=torch.bool))
    said = Said(taught, SIZES[2])
    terms, logits = detached(taught.loss(batch, run_at())), taught.network(batch.image).detach()
    assert not said.asked
    assert terms == {"trusted": pytest.approx(sum(slow_segmentation(logits, batch.label, image) for image in range(7)) / 7)}
    batch = batch_of(trusted=torch.zeros(7, dtype=torch.bool))
    terms = detached(method().loss(batch, run_at()))
    assert terms["trusted"] == 0 and terms["refined"] > 0


def recorded(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The labels that the segmentation loss is asked for."""
    labels: list[Tensor] = []

    def watched(logits: Tensor, label: Tensor) -> Tensor:
        labels.append(label.clone())
        return segmentation_loss(logits, label)

    monkeypatch.setattr(alc, "segmentation_loss", watched)
    return labels


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("targets", ["refined", "mean", "pass"])
def test_pixels_without_a_given_label_get_no_refined_one(targets: Any, ndim: int, monkeypatch: pytest.MonkeyPatch) -> None:
    taught, labels = method(ndim, targets=targets), recorded(monkeypatch)
    batch, said = batch_of(ndim), Said(taught, SIZES[ndim])
    batch.label[4] = IGNORE  # the surest case: nothing of it is labelled
    terms = detached(taught.loss(batch, run_at()))
    (label,) = labels
    assert torch.equal(label == IGNORE, batch.label == IGNORE)
    assert torch.equal(label, slow_labels(batch.label, said.passes, [2, 4, 5], targets))
    assert not torch.equal(label[[2, 5]], batch.label[[2, 5]]) and torch.equal(label[[0, 1, 3, 6]], batch.label[[0, 1, 3, 6]])
    assert all(math.isfinite(term) for term in terms.values())


def tiny(name: str, ndim: int = 3) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        torch.manual_seed(1)
        layout = torch.channels_last if ndim == 2 else torch.channels_last_3d
        return build(name, ndim=ndim, in_channels=1, classes=3, width=2).to(memory_format=layout)  # type: ignore[call-overload]

    return make


@pytest.mark.slow
@pytest.mark.parametrize("network", ["stub", "unet-small", "vnet"])
def test_labels_of_other_cases_reach_the_given_term_alone(network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With garbage in place of them all else is the same bit for bit: terms, refined labels, and what the student learns."""
    trusted = torch.tensor([True, False, False, False, True, False])
    size = SIZES[3] if network == "stub" else (8, 16, 16)
    label = random_labels(6, *size)
    garbage = label.where(trusted.reshape(-1, 1, 1, 1) | (label == IGNORE), (random_labels(6, *size, seed=9) % 3).clamp(max=1))
    assert (garbage != label)[~trusted].double().mean() > 0.4
    image = torch.randn((6, 2 if network == "stub" else 1, *size), generator=torch.Generator().manual_seed(3))

    def learnt(given: Tensor, targets: str) -> tuple[dict[str, float], Tensor, list[Tensor]]:
        labels = recorded(monkeypatch)
        torch.manual_seed(0)
        if network == "stub":
            taught, seen = method(3, targets=targets, share=0.5), image.double()
        else:
            taught, seen = ALC(ALC.Config(targets=targets, noise=0.3, at_once=2, **PRINTED), tiny(network), 3), image
        torch.manual_seed(5)
        terms = taught.train().loss(SimpleNamespace(image=seen, label=given, trusted=trusted), run_at())
        torch.stack([term for name, term in terms.items() if name != "given"]).sum().backward()
        (used,) = labels
        gradients = [parameter.grad for parameter in taught.network.parameters() if parameter.grad is not None]
        assert len(gradients) == len(list(taught.network.parameters()))
        return detached(terms), used, gradients

    one, other = learnt(label, "refined"), learnt(garbage, "refined")
    assert {name for name in one[0] if one[0][name] != other[0][name]} == {"given"}
    assert all(torch.equal(a, b) for a, b in zip(one[2], other[2], strict=True))
    changed = (one[1] != other[1]).flatten(1).any(dim=1)
    assert int(changed.sum()) == 2 and not (changed & trusted).any(), "of four others two are selected, by round(0.5 * 4)"
    refined = [i for i in range(6) if not trusted[i] and not changed[i]]
    assert not torch.equal(one[1][refined], label[refined]), "their labels are refined"
    leaking = learnt(label, "given"), learnt(garbage, "given")
    assert {name for name in leaking[0][0] if leaking[0][0][name] != leaking[1][0][name]} == {"refined", "given"}
    assert not all(torch.equal(a, b) for a, b in zip(leaking[0][2], leaking[1][2], strict=True))


@pytest.mark.parametrize("ndim", [2, 3])
def test_passes_at_once_change_no_loss_where_there_is_neither_noise_nor_dropout(ndim: int) -> None:
    label = random_labels(6, *(16, 32, 16)[:ndim])
    image = torch.randn((6, 1, *label.shape[1:]), generator=torch.Generator().manual_seed(3))
    batch = SimpleNamespace(image=image, label=label, trusted=torch.tensor([True, False, False, False, True, False]))
    config = ALC.Config(noise=0.0, passes=5, selection=False)
    terms = []
    for at_once in (1, 2, 5, None):
        taught = ALC(replace(config, at_once=at_once), tiny("unet-small", ndim), 3).train()
        terms.append(detached(taught.loss(batch, run_at())))
    for other in terms[1:]:
        assert other == pytest.approx(terms[0], rel=1e-5, abs=1e-6)


def test_a_step_learns_with_the_sum_of_the_terms_and_then_the_teacher_follows() -> None:
    taught = method(decay=0.6, noise=0.1)
    batch, said = batch_of(), Said(taught, SIZES[2])
    logged: dict[str, float] = {}
    torch.manual_seed(2)
    terms = taught.loss(batch, run_at())
    parameters = list(taught.network.parameters())
    gradients = torch.autograd.grad(torch.stack(list(terms.values())).sum(), parameters)
    student = [(p.detach() - 0.5 * g).flatten().tolist() for p, g in zip(parameters, gradients, strict=True)]
    teacher = [p.flatten().tolist() for p in taught.teacher.parameters()]

    def optimise(loss: Tensor) -> None:
        loss.backward()
        with torch.no_grad():
            for parameter in taught.network.parameters():
                assert parameter.grad is not None
                parameter -= 0.5 * parameter.grad

    run = run_at(optimise=optimise, log=lambda **values: logged.update(detached(values)))
    run.step = 1
    taught.step(batch, run)
    assert logged == pytest.approx(detached(terms)) and len(said.asked) == 2
    for mine, theirs, found in zip(teacher, student, taught.teacher.parameters(), strict=True):
        expected = [0.5 * a + 0.5 * b for a, b in zip(mine, theirs, strict=True)]  # min(1 - 1 / 2, 0.6)
        assert found.flatten().tolist() == pytest.approx(expected, rel=1e-6, abs=1e-9) and found.grad is None


def test_the_student_predicts() -> None:
    taught, image = method().eval(), batch_of().image
    found = taught.predict(image).detach().numpy()
    student, teacher = (probabilities(network(image)) for network in (taught.network, taught.teacher))
    assert np.allclose(found, student, atol=1e-6) and not np.allclose(found, teacher, atol=1e-3)


def test_what_it_says_of_labels_is_by_its_predictions() -> None:
    taught, label = method(), random_labels(5, 6, 7)
    run = Sweeping(taught, label, certain(random_labels(5, 6, 7, seed=3) % 3, 3).float())
    doubt = taught.doubt(run).tolist()
    for case in range(5):
        pixels = labelled(label[case : case + 1])
        losses = [
            -math.log(at(run.probability[case : case + 1].numpy(), where)[int(label[(case, *where[1:])])]) for where in pixels
        ]
        assert doubt[case] == pytest.approx(sum(losses) / len(losses), rel=1e-5)
    assert ALC.relabels(ALC.Config())
    assert torch.equal(taught.cleansed(run.swept(np.arange(5)), run.store), random_labels(5, 6, 7, seed=3) % 3)


# Whole trainings


@pytest.mark.slow
@pytest.mark.parametrize("network", ["unet-small", "vnet"])
def test_where_all_cases_are_trusted_it_is_cross_entropy_and_dice(network: str, tmp_path: Path) -> None:
    found = []
    for name, config in (("alc", ALC.Config()), ("ce", CrossEntropy.Config(dice=True))):
        job = small_job(tmp_path, name, out=name, volumes=True, network=network, augmentation=Augmentation.none(), epochs=3)
        cases = tuple(replace(case, trusted=True) for case in job.dataset.cases)
        fit(replace(job, method_config=config, dataset=replace(job.dataset, cases=cases)))
        found.append([weights(job.out, epoch) for epoch in ("epoch-0001", "epoch-0003")])
    (first, alone), (_, plain) = found
    assert alone.keys() > plain.keys()
    for name, value in plain.items():
        torch.testing.assert_close(alone[name], value, rtol=1e-4, atol=1e-5, msg=name)
        assert not torch.equal(first[name], value) or not value.is_floating_point()


def trained(root: Path, garbage: bool, **config: Any) -> Job:
    """A training with two trusted cases of eight, with the labels of the others as they are or not."""
    (root / "trusted.txt").parent.mkdir(parents=True, exist_ok=True)
    (root / "trusted.txt").write_text("case001\ncase004\n")
    small_job(root, "ce")  # makes the images
    if garbage:
        for row in (0, 2, 3, 5, 6, 7):
            save_png(
                root / "data" / "masks" / f"case{row:03d}.png", random_labels(32, 32, seed=row).numpy().astype(np.uint8) % 3
            )
    job = small_job(root, "alc", trusted=root / "trusted.txt")
    job = replace(job, method_config=ALC.Config(ramp=0.0, weight=1.0, **PRINTED, **config))
    fit(job)
    return job


@pytest.mark.slow
def test_a_training_learns_labels_of_other_cases_through_the_given_term_alone(tmp_path: Path) -> None:
    for beta, equal in ((0.0, True), (2.0, False)):
        runs = [trained(tmp_path / f"{beta}-{garbage}", garbage, beta=beta).out for garbage in (False, True)]
        assert same(*(weights(run, "epoch-0002") for run in runs)) is equal
