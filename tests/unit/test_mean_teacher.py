"""Mean teacher, and what it shares with ALC: batches of both kinds of cases, and settings out of range."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tests.datasets import save_png
from tests.meta_stubs import labelled, slow_dice, small_network
from tests.training_jobs import same, small_job, weights
from tests.two_networks import at, probabilities, random_labels
from torch import Tensor, nn

from debride.batch import Batch
from debride.methods import METHODS
from debride.methods.alc import ALC
from debride.methods.base import two_kinds
from debride.methods.mean_teacher import MeanTeacher
from debride.networks.network import Network
from debride.settings import check_bounds
from debride.training.config import TrainConfig
from debride.training.fit import fit
from debride.training.run import TrainingRun
from debride.types import DataError

TRUSTED = torch.tensor([True, False, False, True, False])
SIZES = {2: (6, 7), 3: (3, 4, 5)}


def method(ndim: int = 2, **config: Any) -> MeanTeacher:
    """A student, and a teacher that has other weights."""
    made = MeanTeacher(MeanTeacher.Config(**{"at_once": 2, "weight": 0.2, **config}), lambda: small_network(ndim, 3), 3)
    with torch.no_grad():
        for number, parameter in enumerate(made.teacher.parameters()):
            parameter += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)).to(parameter)
    return made


def batch_of(ndim: int = 2, trusted: Tensor = TRUSTED) -> Any:
    label = random_labels(len(trusted), *SIZES[ndim])
    image = torch.randn((len(label), 2, *SIZES[ndim]), generator=torch.Generator().manual_seed(0)).double()
    return SimpleNamespace(image=image, label=label, trusted=trusted)


def normalising() -> Network:
    """A network that normalises by its batch, in training."""
    torch.manual_seed(0)
    return Network(nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)), nn.Conv2d(4, 3, 1)).double().train()


def run_at(epoch: int = 30, **more: Any) -> Any:
    return SimpleNamespace(epoch=epoch, epochs=100, step=0, **more)


def slow_trusted(logits: Tensor, label: Tensor, images: list[int]) -> float:
    """Eq. 1 and 2 of ALC."""
    losses = []
    for image in images:
        one, p = label[image : image + 1], probabilities(logits)[image : image + 1]
        pixels = labelled(one)
        ce = sum(-math.log(at(p, where)[int(one[where])]) for where in pixels) / len(pixels)
        losses.append((ce + slow_dice(p, one)) / 2)
    return sum(losses) / len(losses)


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_loss_is_that_of_trusted_cases_and_the_distance_to_the_teacher(ndim: int) -> None:
    taught, batch = method(ndim, noise=0.25, ramp=0.5), batch_of(ndim)
    torch.manual_seed(8)
    terms = taught.loss(batch, run_at())
    torch.manual_seed(8)
    noise = (0.25 * torch.randn(3, 2, *SIZES[ndim], dtype=torch.float64)).clamp(-0.5, 0.5)
    student = probabilities(taught.network(batch.image)[~TRUSTED])
    teacher = probabilities(taught.teacher.network(batch.image[~TRUSTED] + noise))
    assert list(terms) == ["trusted", "consistency"]
    places = list(np.ndindex(3, *SIZES[ndim]))
    squares = sum((p - q) ** 2 for w in places for p, q in zip(at(student, w), at(teacher, w), strict=True))
    rate = 0.2 * math.exp(-5 * (1 - 30 / (0.5 * 99)) ** 2)
    assert float(terms["consistency"].detach()) == pytest.approx(rate * squares / len(places))
    expected = slow_trusted(taught.network(batch.image).detach(), batch.label, [0, 3])
    assert float(terms["trusted"].detach()) == pytest.approx(expected)
    assert taught.predict(batch.image).shape == (5, 3, *SIZES[ndim])


def test_no_gradient_reaches_the_teacher_and_other_cases_teach_by_consistency_alone() -> None:
    taught, batch = method(noise=0.0), batch_of()
    batch.image.requires_grad_()
    terms = taught.loss(batch, run_at())
    (trusted,) = torch.autograd.grad(terms["trusted"], batch.image, retain_graph=True)
    (agreed,) = torch.autograd.grad(terms["consistency"], batch.image, retain_graph=True)
    for part, seen in ((trusted, TRUSTED), (agreed, ~TRUSTED)):
        assert (part[~seen] == 0).all() and all((image != 0).any() for image in part[seen])
    torch.stack(list(terms.values())).sum().backward()
    assert all(p.grad is None for p in taught.teacher.parameters())
    assert all(p.grad is not None and (p.grad != 0).any() for p in taught.network.parameters())


def test_without_weight_other_cases_pass_through_the_networks_and_teach_nothing() -> None:
    """They share the batch's normalisation as with a weight: what is learnt of trusted cases, and running statistics, are the
    same; those of trusted cases alone would be others."""
    seen, found = batch_of(), {}
    for weight in (0.0, 0.2, None):
        taught = method(weight=weight or 0.0)
        taught.network = normalising()
        kept = torch.ones(5, dtype=torch.bool) if weight is not None else TRUSTED
        batch = SimpleNamespace(image=seen.image[kept], label=seen.label[kept], trusted=TRUSTED[kept])
        terms = taught.loss(batch, run_at())
        gradients = torch.autograd.grad(terms["trusted"], list(taught.network.parameters()), retain_graph=True)
        statistics = [buffer.clone() for buffer in taught.network.buffers()]
        if weight == 0.0:
            whole = torch.autograd.grad(torch.stack(list(terms.values())).sum(), list(taught.network.parameters()))
            assert float(terms["consistency"].detach()) == 0
            assert all(torch.equal(a, b) for a, b in zip(whole, gradients, strict=True))
        found[weight] = [*gradients, *statistics]
    assert all(torch.equal(a, b) for a, b in zip(found[0.0], found[0.2], strict=True))
    assert not all(torch.allclose(a, b) for a, b in zip(found[0.0], found[None], strict=True))


def test_a_batch_of_one_kind_has_the_terms_of_that_kind() -> None:
    taught = method()
    everything = batch_of(trusted=torch.ones(5, dtype=torch.bool))
    terms = taught.loss(everything, run_at())
    expected = slow_trusted(taught.network(everything.image).detach(), everything.label, [0, 1, 2, 3, 4])
    assert list(terms) == ["trusted"] and float(terms["trusted"].detach()) == pytest.approx(expected)
    terms = taught.loss(batch_of(trusted=torch.zeros(5, dtype=torch.bool)), run_at())
    assert float(terms["trusted"].detach()) == 0 and float(terms["consistency"].detach()) > 0


@pytest.mark.parametrize("step", [0, 1, 9])
def test_the_teacher_follows_what_the_student_has_become(step: int) -> None:
    taught = method(decay=0.8)
    mine = [parameter.clone() for parameter in taught.teacher.parameters()]

    def optimise(loss: Tensor) -> None:
        with torch.no_grad():
            for parameter in taught.network.parameters():
                parameter += 1

    run = run_at(optimise=optimise, log=lambda **values: None)
    run.step = step
    taught.step(batch_of(), run)
    g = min(1 - 1 / (step + 1), 0.8)
    for before, theirs, now in zip(mine, taught.network.parameters(), taught.teacher.parameters(), strict=True):
        torch.testing.assert_close(now, g * before + (1 - g) * theirs.detach(), rtol=1e-6, atol=1e-9)


def test_the_student_predicts() -> None:
    taught, image = method().eval(), batch_of().image
    found = taught.predict(image).detach().numpy()
    student, teacher = (probabilities(network(image)) for network in (taught.network, taught.teacher))
    assert np.allclose(found, student, atol=1e-6) and not np.allclose(found, teacher, atol=1e-3)


def garbled(root: Path, garbage: bool, **changes: Any) -> Path:
    """A training with two trusted cases of eight, with the labels of the others as they are or not."""
    root.mkdir()
    (root / "trusted.txt").write_text("case001\ncase004\n")
    small_job(root, "ce")  # makes the images
    for row in (0, 2, 3, 5, 6, 7) if garbage else ():
        save_png(root / "data" / "masks" / f"case{row:03d}.png", random_labels(32, 32, seed=row).numpy().astype(np.uint8) % 3)
    job = small_job(root, "mean-teacher", trusted=root / "trusted.txt")
    fit(replace(job, method_config=MeanTeacher.Config(ramp=0.0), config=replace(job.config, **changes)))
    return job.out


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"patch_size": (16, 16), "foreground": 1.0}])
def test_a_training_never_looks_at_labels_of_other_cases(changes: dict[str, Any], tmp_path: Path) -> None:
    true, garbage = (weights(garbled(tmp_path / f"{kind}", kind, **changes), "epoch-0002") for kind in (False, True))
    assert same(true, garbage)


# Batches of both kinds


def test_a_phase_goes_through_the_other_cases_with_trusted_ones_in_every_batch() -> None:
    run: Any = SimpleNamespace(cases=6, trusted=np.array([1, 4]), kinds=(2, 3))
    (phase,) = two_kinds(run)
    others, verified = phase.streams
    assert others.cases is not None and others.cases.tolist() == [0, 2, 3, 5] and others.size == 3
    assert verified.cases is not None and verified.cases.tolist() == [1, 4] and verified.size == 2
    (phase,) = two_kinds(SimpleNamespace(cases=2, trusted=np.arange(2)))  # type: ignore[arg-type]  # never asked for kinds
    (alone,) = phase.streams
    assert alone.cases is not None and alone.cases.tolist() == [0, 1] and alone.size is None


@pytest.mark.parametrize("name", ["alc", "mean-teacher"])
def test_without_a_trusted_case_it_says_what_to_do(name: str, tmp_path: Path) -> None:
    job = small_job(tmp_path, name)
    bare = replace(job.dataset, cases=tuple(replace(case, trusted=False) for case in job.dataset.cases))
    with pytest.raises(DataError, match="needs trusted training cases") as caught:
        fit(replace(job, dataset=bare))
    assert "`trusted`" in caught.value.remedy and not job.out.exists()
    planned = METHODS[name](job.method_config, lambda: small_network(2, 3), 3)
    with pytest.raises(DataError, match="`trusted`: names no case of the training set") as caught:
        planned.plan(SimpleNamespace(cases=3, trusted=np.array([], np.int64), kinds=(1, 2)))  # type: ignore[arg-type]
    assert "List verified cases" in caught.value.remedy


@pytest.mark.parametrize("name", ["alc", "mean-teacher"])
@pytest.mark.parametrize(
    ("settings", "kinds", "steps"),
    [
        ({"batch_size": 5, "trusted_per_batch": 2, "steps_per_epoch": 3}, (2, 3), 3),
        ({"batch_size": 5}, (1, 4), 2),  # six other cases: the second batch has the two that are left
        ({"batch_size": 12, "steps_per_epoch": 1}, (2, 10), 1),
    ],
)
def test_batches_hold_as_many_of_each_kind_as_was_asked(
    name: str, settings: dict[str, int], kinds: tuple[int, int], steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Batch] = []
    batches: Callable[..., Iterator[Batch]] = TrainingRun.batches

    def watched(self: TrainingRun, number: int, phase: Any) -> Iterator[Batch]:
        assert self.kinds == kinds
        for batch in batches(self, number, phase):
            seen.append(batch)
            yield batch

    monkeypatch.setattr(TrainingRun, "batches", watched)
    (tmp_path / "trusted.txt").write_text("case001\ncase004\n")
    fit(small_job(tmp_path, name, trusted=tmp_path / "trusted.txt", epochs=1, **settings))
    assert len(seen) == steps
    for number, batch in enumerate(seen):
        wanted = 2 if "steps_per_epoch" not in settings and number == 1 else kinds[1]
        assert Counter(batch.trusted.tolist()) == {True: kinds[0], False: wanted}
        assert batch.trusted.tolist() == [row in (1, 4) for row in batch.index.tolist()]
        assert batch.stream.tolist() == [int(trusted) for trusted in batch.trusted.tolist()]


@pytest.mark.parametrize(
    ("size", "trusted", "kinds"), [(24, None, (4, 20)), (8, None, (1, 7)), (2, None, (1, 1)), (8, 3, (3, 5)), (2, 1, (1, 1))]
)
def test_a_sixth_of_a_batch_is_trusted_unless_told_otherwise(size: int, trusted: int | None, kinds: tuple[int, int]) -> None:
    config = TrainConfig(batch_size=size, trusted_per_batch=trusted)
    assert TrainingRun.kinds.fget(SimpleNamespace(config=config)) == kinds  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["alc", "mean-teacher"])
def test_a_batch_of_one_case_has_no_room_for_both_kinds(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="`batch_size`: is 1, too few") as caught:
        fit(small_job(tmp_path, name, batch_size=1))
    assert "at least 2" in caught.value.remedy


# Settings


@pytest.mark.parametrize(
    ("make", "name", "values"),
    [
        (MeanTeacher.Config, "decay", (-0.1, 1.0, math.nan)),
        (MeanTeacher.Config, "noise", (-0.1, math.inf, math.nan)),
        (MeanTeacher.Config, "weight", (-1.0, math.inf, math.nan)),
        (MeanTeacher.Config, "ramp", (-0.1, 1.1, math.nan)),
        (MeanTeacher.Config, "at_once", (0, -2)),
        (ALC.Config, "decay", (1.0,)),
        (ALC.Config, "noise", (-0.1,)),
        (ALC.Config, "passes", (0, -1)),
        (ALC.Config, "share", (-0.1, 1.1, math.nan)),
        (ALC.Config, "alpha", (-0.1, math.inf, math.nan)),
        (ALC.Config, "beta", (-0.1, math.inf, math.nan)),
        (TrainConfig, "foreground", (-0.1, 1.1, math.nan)),
        (TrainConfig, "steps_per_epoch", (0, -1)),
        (TrainConfig, "trusted_per_batch", (0, -1, 8, 9)),
    ],
)
def test_settings_out_of_range_are_refused_by_name(make: Callable[..., Any], name: str, values: tuple[float, ...]) -> None:
    for value in values:
        with pytest.raises(DataError) as caught:
            check_bounds(make(**{name: value}))
        assert caught.value.where.endswith(f"Config.{name}")
        assert str(value) in caught.value.problem and caught.value.remedy.endswith(".")


def test_settings_at_the_ends_of_their_ranges_are_accepted() -> None:
    least = ALC.Config(decay=0.0, noise=0.0, weight=0.0, ramp=0.0, passes=1, share=0.0, alpha=0.0, beta=0.0, at_once=1)
    for settings in (least, ALC.Config(ramp=1.0, share=1.0)):
        check_bounds(settings)
    check_bounds(TrainConfig(foreground=0.0, steps_per_epoch=1, trusted_per_batch=7))
    check_bounds(TrainConfig(foreground=1.0))
