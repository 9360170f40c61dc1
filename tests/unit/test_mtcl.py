"""MTCL: what the loss is made of, how labels are refined, how the teacher follows, and what is said of labels afterwards."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tests.meta_stubs import small_network
from tests.sweep_stubs import Sweeping
from tests.two_networks import random_labels
from torch import Tensor

from debride.losses.region import segmentation_loss
from debride.methods.mtcl import MTCL, one_hot, refined, soft_loss, uncertainty
from debride.refine.confident import label_errors
from debride.settings import check_bounds
from debride.types import IGNORE, DataError

TRUSTED = torch.tensor([True, False, False, True, False])
PLACES = [(2, 2, (6, 7)), (2, 4, (6, 7)), (3, 3, (3, 5, 4))]
"""Spatial axes, classes, and the size of an image."""


def method(ndim: int = 2, classes: int = 3, **config: Any) -> MTCL:
    """A student, and a teacher that has other weights."""
    made = MTCL(MTCL.Config(**{"at_once": 2, **config}), lambda: small_network(ndim, classes), classes)
    with torch.no_grad():
        for number, parameter in enumerate(made.teacher.parameters()):
            parameter += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)).to(parameter)
    return made


def batch_of(label: Tensor, trusted: Tensor = TRUSTED, seed: int = 0) -> Any:
    image = torch.randn((len(label), 2, *label.shape[1:]), generator=torch.Generator().manual_seed(seed)).double()
    return SimpleNamespace(image=image, label=label, trusted=trusted)


def run_at(epoch: int = 50, epochs: int = 100, **more: Any) -> Any:
    logged: dict[str, float] = {}

    def log(**values: Tensor) -> None:
        logged.update(detached(values))

    return SimpleNamespace(epoch=epoch, epochs=epochs, step=0, log=log, logged=logged, **more)


def random_probability(*size: int, seed: int = 0, scale: float = 1.5) -> Tensor:
    logits = scale * torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return logits.softmax(dim=1)


class Said:
    """Stands for the teacher's passes: known predictions without noise and with it, and what was asked for."""

    def __init__(self, taught: MTCL, image: Tensor, size: tuple[int, ...]) -> None:
        self.clean, self.image = random_probability(*size, seed=1, scale=3), image
        self.noisy = torch.stack([random_probability(*size, seed=seed) for seed in range(2, 12)])
        self.asked: list[tuple[int, float]] = []
        taught.teacher.passes = self.passes  # type: ignore[method-assign]

    def passes(self, image: Tensor, number: int, noise: float, at_once: int | None) -> Tensor:
        assert torch.equal(image, self.image) and at_once == 2
        self.asked.append((number, noise))
        return self.noisy[:number] if noise else self.clean[None]


def detached(terms: dict[str, Tensor]) -> dict[str, float]:
    return {name: float(term.detach()) for name, term in terms.items()}


def pixels(label: Tensor) -> list[tuple[int, ...]]:
    return [where for where in np.ndindex(*label.shape) if label[where] != IGNORE]


def both_at(values: Tensor, where: Sequence[int]) -> list[float]:
    """The classes' values at a pixel (image, *position)."""
    found: list[float] = values[(where[0], slice(None), *where[1:])].tolist()
    return found


def slow_target(
    label: Tensor, clean: Tensor, noisy: Tensor, refine: str, smoothing: float, rule: Any = "both"
) -> dict[tuple[int, ...], list[float]]:
    """The refined label of each labelled pixel: flagged ones move to the teacher's class."""
    classes, flagged = clean.shape[1], label_errors(clean, label, rule)
    found = {}
    for where in pixels(label):
        target = [float(k == label[where]) for k in range(classes)]
        if flagged[where]:
            mean = [sum(both_at(each, where)[k] for each in noisy) / len(noisy) for k in range(classes)]
            entropy = -sum(p * math.log(p) for p in mean) / math.log(classes)
            share = {"hard": 1.0, "fixed": smoothing, "uncertainty": 1 - entropy}[refine]
            said = both_at(clean, where)
            target = [(1 - share) * y + share * (said[k] == max(said)) for k, y in enumerate(target)]
        found[where] = target
    return found


def slow_soft_loss(logits: Tensor, target: dict[tuple[int, ...], list[float]], dice: str) -> float:
    """Half the mean cross-entropy, half the mean over foreground classes (and images) of soft Dice with 1 added."""
    probability = logits.detach().softmax(dim=1)
    entropies = [-sum(y * math.log(p) for y, p in zip(y_, both_at(probability, at), strict=True)) for at, y_ in target.items()]
    groups = [range(len(logits))] if dice == "batch" else [[image] for image in range(len(logits))]
    losses = []
    for images in groups:
        for kind in range(1, logits.shape[1]):
            both = total = 0.0
            for at, y in target.items():
                if at[0] in images:
                    p = both_at(probability, at)[kind]
                    both, total = both + p * y[kind], total + p + y[kind]
            losses.append(1 - (2 * both + 1) / (total + 1))
    return (sum(entropies) / len(entropies) + sum(losses) / len(losses)) / 2


@pytest.mark.parametrize("dice", ["batch", "image"])
@pytest.mark.parametrize("refine", ["hard", "fixed", "uncertainty"])
@pytest.mark.parametrize(("ndim", "classes", "size"), PLACES)
def test_the_loss_is_that_of_the_equations(ndim: int, classes: int, size: tuple[int, ...], refine: str, dice: str) -> None:
    taught = method(ndim, classes, refine=refine, dice=dice, smoothing=0.7, passes=3, weight=0.2, other_weight=4.0)
    batch, run = batch_of(random_labels(5, *size, classes=classes)), run_at(30)
    other = ~TRUSTED
    label, logits = batch.label[other], taught.network(batch.image)
    said = Said(taught, batch.image[other], (3, classes, *size))
    terms = detached(taught.loss(batch, run))
    assert list(terms) == ["trusted", "consistency", "refined"]
    weight = 0.2 * math.exp(-5 * (1 - 30 / (0.75 * 99)) ** 2)
    given = {at: [float(k == batch.label[TRUSTED][at]) for k in range(classes)] for at in pixels(batch.label[TRUSTED])}
    assert terms["trusted"] == pytest.approx(slow_soft_loss(logits[TRUSTED], given, dice))
    noisy = said.noisy[: 3 if refine == "uncertainty" else 1]
    target = slow_target(label, said.clean, noisy, refine, 0.7)
    assert terms["refined"] == pytest.approx(weight * 4 * slow_soft_loss(logits[other], target, dice))
    student = logits[other].detach().softmax(dim=1)
    squares = [
        (p - q) ** 2
        for at in np.ndindex(*label.shape)
        for p, q in zip(both_at(student, at), both_at(said.noisy[0], at), strict=True)
    ]
    assert terms["consistency"] == pytest.approx(weight * sum(squares) / len(squares))
    flagged = int(label_errors(said.clean, label, "both").sum())
    assert flagged > 3
    assert run.logged["flagged"] == pytest.approx(flagged / len(pixels(label)), rel=1e-6)


@pytest.mark.parametrize(("refine", "number"), [("hard", 1), ("fixed", 1), ("uncertainty", 6)])
def test_the_teacher_is_asked_for_what_is_needed(refine: str, number: int) -> None:
    taught, batch = method(refine=refine), batch_of(random_labels(5, 6, 7))
    said = Said(taught, batch.image[~TRUSTED], (3, 3, 6, 7))
    taught.loss(batch, run_at())
    assert said.asked == [(1, 0.0), (number, 0.1)], "one pass as it is, the others with noise"


@pytest.mark.parametrize("prune", ["both", "class", "noise-rate", "joint", "confusion"])
def test_errors_are_found_by_the_rule_that_is_chosen(prune: Any) -> None:
    taught = method(refine="hard", prune=prune, ramp=0.0, weight=1.0, other_weight=1.0)
    label = random_labels(5, 15, 16)
    batch = batch_of(label)
    said = Said(taught, batch.image[~TRUSTED], (3, 3, 15, 16))
    right = torch.rand(label.shape, generator=torch.Generator().manual_seed(3)) < 0.6
    right[TRUSTED] = False
    label[right] = said.clean.argmax(dim=1)[right[~TRUSTED]]
    targets = {
        rule: slow_target(label[~TRUSTED], said.clean, said.noisy[:1], "hard", 0.0, rule)
        for rule in ("both", "class", "noise-rate", "joint", "confusion")
    }
    alike = [rule for rule, target in targets.items() if target == targets[prune]]
    assert alike in ([prune], ["both", "noise-rate"]), "here by noise rate finds nothing that by class does not"
    expected = slow_soft_loss(taught.network(batch.image)[~TRUSTED], targets[prune], "batch")
    assert float(taught.loss(batch, run_at())["refined"].detach()) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("ramp", "epoch", "share"),
    [(0.75, 0, math.exp(-5)), (0.75, 75, 1.0), (0.5, 33, math.exp(-5 / 9)), (0.75, 99, 1.0), (0.0, 0, 1.0)],
)
def test_both_terms_of_other_cases_are_ramped_up(ramp: float, epoch: int, share: float) -> None:
    taught, batch = method(ramp=ramp), batch_of(random_labels(5, 6, 7))
    Said(taught, batch.image[~TRUSTED], (3, 3, 6, 7))
    full = method(ramp=0.0)
    Said(full, batch.image[~TRUSTED], (3, 3, 6, 7))
    terms, whole = detached(taught.loss(batch, run_at(epoch))), detached(full.loss(batch, run_at(99)))
    assert terms["trusted"] == whole["trusted"]
    for name in ("consistency", "refined"):
        assert terms[name] == pytest.approx(share * whole[name])


def test_trusted_labels_count_in_their_own_term_alone_and_others_in_theirs() -> None:
    taught, label = method(), random_labels(5, 6, 7)
    Said(taught, batch_of(label).image[~TRUSTED], (3, 3, 6, 7))
    first = detached(taught.loss(batch_of(label), run_at()))
    for changed, same in ((TRUSTED, ("consistency", "refined")), (~TRUSTED, ("trusted",))):
        others = label.where(~changed[:, None, None] | (label == IGNORE), (label + 1) % 3)
        terms = detached(taught.loss(batch_of(others), run_at()))
        for name in ("trusted", "refined"):
            assert (terms[name] == first[name]) == (name in same), name
        assert terms["consistency"] == first["consistency"]


def test_ignored_pixels_have_no_say() -> None:
    """Neither in the losses to labels nor in what confident learning counts: whatever the teacher predicts there."""
    taught, batch = method(), batch_of(random_labels(5, 6, 7))
    said = Said(taught, batch.image[~TRUSTED], (3, 3, 6, 7))
    label = batch.label[~TRUSTED]
    batch.label[1, :3] = IGNORE
    first = detached(taught.loss(batch, run_at()))
    ignored = (batch.label[~TRUSTED] == IGNORE)[:, None]
    assert ignored.any() and not torch.equal(label, batch.label[~TRUSTED])
    said.clean = said.clean.where(~ignored, said.clean.flip(1))
    said.noisy = said.noisy.where(~ignored, said.noisy.flip(2))
    again = detached(taught.loss(batch, run_at()))
    assert again["consistency"] != first["consistency"]
    assert (again["trusted"], again["refined"]) == (first["trusted"], first["refined"])


@pytest.mark.parametrize("trusted", [True, False])
def test_a_batch_of_one_kind(trusted: bool) -> None:
    taught, batch = method(), batch_of(random_labels(5, 6, 7), torch.full((5,), trusted))
    terms = taught.loss(batch, run_at())
    if trusted:
        assert list(terms) == ["trusted"] and float(terms["trusted"].detach()) > 0
    else:
        assert float(terms["trusted"].detach()) == 0 and float(terms["refined"].detach()) > 0
    torch.stack(list(terms.values())).sum().backward()
    assert all(parameter.grad is not None for parameter in taught.network.parameters())


def test_labels_of_one_class_stay_as_they_are() -> None:
    label = torch.zeros(5, 6, 7, dtype=torch.int64)
    taught, batch, run = method(weight=1.0, other_weight=1.0, ramp=0.0), batch_of(label), run_at()
    terms = detached(taught.loss(batch, run))
    assert run.logged["flagged"] == 0
    target = {at: [1.0, 0.0, 0.0] for at in pixels(label[~TRUSTED])}
    assert terms["refined"] == pytest.approx(slow_soft_loss(taught.network(batch.image)[~TRUSTED], target, "batch"))


@pytest.mark.parametrize("share", [1.0, 0.8, None])
def test_with_two_classes_the_refined_label_is_the_published_one(share: float | None) -> None:
    """y + X_err (-1)^y s as the foreground's, for labels of the other class than the teacher's."""
    label, clean = random_labels(3, 8, 9, classes=2), random_probability(3, 2, 8, 9, scale=3)
    errors = label_errors(clean, label, "both")
    s = 1 - uncertainty(clean) if share is None else torch.full(label.shape, share, dtype=torch.float64)
    found = refined(label, clean, errors * s)
    expected = label + errors * (-1.0) ** label * s
    valid = label != IGNORE
    assert errors.any()
    torch.testing.assert_close(found[:, 1][valid], expected[valid])
    torch.testing.assert_close(found.sum(dim=1), torch.ones(label.shape, dtype=torch.float64))


def test_uncertainty_runs_from_sure_to_not_knowing() -> None:
    p = torch.tensor([[1.0, 0, 0, 0], [0.25] * 4, [0.5, 0.5, 0, 0], [0.7, 0.1, 0.1, 0.1]], dtype=torch.float64)
    slow = [-sum(each * math.log(each) for each in row if each) / math.log(4) for row in p.tolist()]
    assert uncertainty(p.T[None])[0].tolist() == pytest.approx(slow)
    assert slow[:3] == pytest.approx([0, 1, 0.5])


def test_for_hard_labels_of_images_the_soft_loss_is_the_shared_one() -> None:
    """Up to the mean over pixels, which is one over images where all have as many labelled pixels."""
    label = random_labels(4, 6, 7)
    label[:] = label[0]
    logits = torch.randn(4, 3, 6, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = soft_loss(logits, one_hot(label, 3), label != IGNORE, "image")
    assert float(found) == pytest.approx(float(segmentation_loss(logits, label).mean()))


@pytest.mark.parametrize("dice", ["batch", "image"])
def test_without_a_labelled_pixel_the_soft_loss_is_0(dice: Any) -> None:
    logits, label = torch.randn(2, 3, 6, 7, requires_grad=True), torch.zeros(2, 6, 7, dtype=torch.int64)
    for images in (2, 0):
        loss = soft_loss(logits[:images], one_hot(label[:images], 3), torch.zeros(images, 6, 7, dtype=torch.bool), dice)
        assert float(loss.detach()) == 0
        loss.backward()


def test_the_teacher_follows_after_the_students_step() -> None:
    taught = method(decay=0.9)
    batch = batch_of(random_labels(5, 6, 7))
    before = [parameter.clone() for parameter in taught.teacher.parameters()]

    def optimise(loss: Tensor) -> None:
        loss.backward()
        for parameter in taught.parameters():
            if parameter.requires_grad:
                parameter.data -= parameter.grad

    run = run_at(optimise=optimise)
    run.step = 100
    start = [parameter.detach().clone() for parameter in taught.network.parameters()]
    taught.step(batch, run)
    after, students = list(taught.teacher.parameters()), list(taught.network.parameters())
    assert not any(torch.equal(old, new) for old, new in zip(start, students, strict=True))
    for old, new, student in zip(before, after, students, strict=True):
        assert not new.requires_grad and new.grad is None
        torch.testing.assert_close(new, 0.9 * old + 0.1 * student.detach())
    assert set(run.logged) == {"trusted", "consistency", "refined", "flagged"}
    run.step = 0
    taught.step(batch, run)
    for new, student in zip(taught.teacher.parameters(), taught.network.parameters(), strict=True):
        torch.testing.assert_close(new, student.detach())


def test_predictions_are_the_students() -> None:
    taught, image = method(), torch.randn(2, 2, 6, 7, dtype=torch.float64)
    torch.testing.assert_close(taught.predict(image), taught.network(image).float().softmax(dim=1))


def test_batches_hold_trusted_and_other_cases() -> None:
    taught = method()
    run: Any = Sweeping(taught, random_labels(6, 4, 4), random_probability(6, 3, 4, 4), trusted=[1, 4])
    run.kinds = (2, 3)
    (phase,) = taught.plan(run)
    streams = [set(range(6)) if stream.cases is None else set(stream.cases.tolist()) for stream in phase.streams]
    assert sorted(streams, key=len) == [{1, 4}, {0, 2, 3, 5}]
    assert "trusted" in MTCL.paper.needs


def slow_flags(label: Tensor, probability: Tensor, spare: bool = True) -> dict[tuple[int, ...], int]:
    """The pixels that are confidently of another class and, to ``spare`` others, predicted to be, with the predicted class."""
    classes, limits = range(probability.shape[1]), []
    for kind in classes:
        own = [both_at(probability, at)[kind] for at in pixels(label) if label[at] == kind]
        limits.append(sum(own) / len(own))
    found = {}
    for at in pixels(label):
        p = both_at(probability, at)
        reached = [kind for kind in classes if p[kind] >= limits[kind]]
        predicted = max(classes, key=lambda kind: p[kind])
        if reached and max(reached, key=lambda kind: p[kind]) != label[at] and not (spare and predicted == label[at]):
            found[at] = predicted
    return found


@pytest.mark.parametrize("size", [(7, 5, 6), (5, 3, 4, 5)], ids=["2D", "3D"])
def test_what_is_said_of_labels(size: tuple[int, ...]) -> None:
    taught = method(len(size) - 1)
    label, probability = random_labels(*size), random_probability(size[0], 3, *size[1:], scale=0.6)
    probability[:, 0] *= 4  # foreground is seldom predicted, and confidently so below one half
    probability /= probability.sum(dim=1, keepdim=True)
    run: Any = Sweeping(taught, label, probability, trusted=[0, 3])
    assert torch.equal(taught.cleansed(run.swept(run.own), run.store), label), "before anything was said"
    flags = slow_flags(label, probability)
    assert len(flags) < len(slow_flags(label, probability, spare=False))
    doubt = taught.doubt(run)
    assert len(run.asked) == 2
    for row in range(size[0]):
        expected = sum(at[0] == row for at in flags) / sum(at[0] == row for at in pixels(label))
        assert 0 < expected == pytest.approx(float(doubt[row]))
    right = label.clone()
    for at, kind in flags.items():
        if at[0] not in (0, 3):
            right[at] = kind
    found = taught.cleansed(run.swept(run.own), run.store)
    assert found.dtype == torch.int64 and torch.equal(found, right)
    assert torch.equal(taught.cleansed(run.swept(np.array([2, 3])), run.store), right[2:4])
    assert MTCL.relabels(MTCL.Config())


def test_a_case_without_labels_is_not_doubted() -> None:
    taught, label = method(), random_labels(4, 5, 6)
    label[2] = IGNORE
    run: Any = Sweeping(taught, label, random_probability(4, 3, 5, 6))
    assert taught.doubt(run)[2] == 0
    assert (taught.cleansed(run.swept(run.own), run.store)[2] == IGNORE).all()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("smoothing", 1.2),
        ("decay", 1.0),
        ("other_weight", -1.0),
        ("weight", math.inf),
        ("ramp", 1.5),
        ("passes", 0),
    ],
)
def test_values_that_make_no_sense_are_refused(option: str, value: float) -> None:
    with pytest.raises(DataError, match=option):
        check_bounds(MTCL.Config(**{option: value}))  # type: ignore[arg-type]
