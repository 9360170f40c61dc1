"""Debias: its loss term by term against what is written out, that verified cases are held out, and how far labels are moved."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from tests.meta_stubs import small_network
from tests.sweep_stubs import Sweeping, certain, slow_soft_dice
from tests.training_jobs import small_job
from tests.two_networks import random_labels
from torch import Tensor

from debride.methods.debias import Debias
from debride.training.fit import fit
from debride.training.predict import trained_on
from debride.types import IGNORE, DataError


def method(**config: Any) -> Debias:
    """A student and a teacher that has other weights."""
    made = Debias(Debias.Config(**{"noise": 0.0, "weight": 0.7, **config}), lambda: small_network(2, 3), 3)
    with torch.no_grad():
        for number, parameter in enumerate(made.teacher.parameters()):
            parameter += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)).to(parameter)
    return made


def batch_of(label: Tensor, **fields: Tensor) -> Any:
    image = torch.randn((len(label), 2, *label.shape[1:]), generator=torch.Generator().manual_seed(5)).double()
    return SimpleNamespace(image=image, label=label, fields=fields)


def run_at(epoch: int, seed: int = 3) -> Any:
    return SimpleNamespace(epoch=epoch, epochs=101, step=0, generator=torch.Generator().manual_seed(seed))


def labels(seed: int = 0) -> Tensor:
    made = random_labels(4, 6, 7, seed=seed)
    made[1, :, 0] = IGNORE
    return made


def slow_fit(logits: Tensor, label: Tensor) -> float:
    """Eq. 2: half the mean cross-entropy of an image's labelled pixels, half its soft Dice; the mean over images."""
    losses = []
    for image, own in zip(logits.double().softmax(dim=1), label, strict=True):
        known = [at for at in np.ndindex(*own.shape) if own[at] != IGNORE]
        ce = sum(-math.log(float(image[(int(own[at]), *at)])) for at in known) / len(known)
        losses.append((ce + slow_soft_dice(image[None], own[None], False)) / 2)
    return sum(losses) / len(losses)


def slow_distance(student: Tensor, teacher: Tensor) -> float:
    """Eq. 4 without its weight."""
    squares = [((student[:, :, r, c] - teacher[:, :, r, c]) ** 2).sum() for r in range(6) for c in range(7)]
    return float(sum(squares)) / (len(student) * 42)


@pytest.mark.parametrize("epoch", [0, 29, 31, 100])
def test_the_loss_is_that_of_labels_mixed_images_and_the_teacher(epoch: int) -> None:
    made, label = method(), labels()
    batch, run = batch_of(label), run_at(epoch)
    found = {name: float(term.detach()) for name, term in made.loss(batch, run).items()}
    rate = 0.7 * math.exp(-5 * (1 - epoch / 100) ** 2)
    with torch.no_grad():
        logits, taught = made.network(batch.image), made.teacher(batch.image).softmax(dim=1)
    assert found["labels"] == pytest.approx(slow_fit(logits, label), rel=1e-5)
    assert found["teacher"] == pytest.approx(rate * slow_distance(logits.softmax(dim=1), taught), rel=1e-5)
    assert ("mixed" in found) == (epoch >= 31)
    if epoch < 31:
        return
    from debride.methods.parts.transfer import draw_regions

    donor, mask = draw_regions(label, run_at(epoch).generator, region="class", by_chance=False)
    image, mixed, mixed_taught = batch.image.clone(), label.clone(), taught.clone()
    for row in range(4):
        for at in np.ndindex(6, 7):
            if mask[(row, *at)]:
                image[(row, slice(None), *at)] = batch.image[(int(donor[row]), slice(None), *at)]
                mixed[(row, *at)] = label[(int(donor[row]), *at)]
                mixed_taught[(row, slice(None), *at)] = taught[(int(donor[row]), slice(None), *at)]
    assert (mixed != label).any()
    with torch.no_grad():
        logits = made.network(image)
    assert found["mixed"] == pytest.approx(slow_fit(logits, mixed), rel=1e-5)
    assert found["mixed_teacher"] == pytest.approx(rate * slow_distance(logits.softmax(dim=1), mixed_taught), rel=1e-5)


def test_each_part_can_be_left_out() -> None:
    batch, run = batch_of(labels()), run_at(60)
    assert set(method(transfer=False).loss(batch, run)) == {"labels", "teacher"}
    with torch.no_grad():
        plain = float(method(dice=False, transfer=False).loss(batch, run)["labels"])
        logits = method().network(batch.image)
    known = batch.label != IGNORE
    ce = torch.nn.functional.cross_entropy(logits, batch.label.where(known, 0), reduction="none")[known].mean()
    assert plain == pytest.approx(float(ce), rel=1e-5)


def test_moved_labels_are_learnt_in_place_of_given_ones_and_no_label_stays_none() -> None:
    made, label = method(move=True, transfer=False), labels()
    moved = labels(seed=9).where(labels(seed=9) != IGNORE, 2)
    with torch.no_grad():
        found = float(made.loss(batch_of(label, moved=moved), run_at(60))["labels"])
        logits = made.network(batch_of(label).image)
    assert found == pytest.approx(slow_fit(logits, moved.where(label != IGNORE, IGNORE)), rel=1e-5)


def discs(count: int, radius: float) -> Tensor:
    rows, columns = np.mgrid[:24, :24]
    made = [((rows - 11.5) ** 2 + (columns - 11.5) ** 2 < (radius + 0.2 * k) ** 2) for k in range(count)]
    return torch.from_numpy(np.stack(made)).long()


def test_labels_are_moved_by_what_verified_cases_show() -> None:
    """Predictions are discs whose radius is 2 pixels too small: all labels but the verified ones grow by about 2 pixels."""
    made = Debias(Debias.Config(move=True), lambda: small_network(2, 2), 2)
    verified, given = discs(6, 8.0), discs(3, 5.0)
    label, said = torch.cat([verified, given]), torch.cat([discs(6, 6.0), discs(3, 5.0)])
    run: Any = Sweeping(made, label, certain(said, 2), trusted=range(6))
    for run.epoch in range(31):
        made.start_epoch(run)
    assert 1.5 <= float(made.shifts[1]) <= 2.5 and run.logged["moved_1"] == float(made.shifts[1])
    moved = run.store.read("moved", range(9)).long()
    assert (moved[:6] == verified).all()
    for own, now in zip(given, moved[6:], strict=True):
        distance = ndimage.distance_transform_edt(own.numpy() == 0)
        grown = distance - 0.5 < float(made.shifts[1])
        assert (now.numpy() == grown).mean() > 0.99


def test_labels_stay_where_nothing_is_to_be_moved() -> None:
    made = Debias(Debias.Config(move=True), lambda: small_network(2, 2), 2)
    label = torch.cat([discs(6, 8.0), discs(3, 5.0)])
    run: Any = Sweeping(made, label, certain(label, 2), trusted=range(6), epoch=30)
    run.store.write("moved", range(9), label)
    made.start_epoch(run)
    assert float(made.shifts[1]) == 0 and (run.store.read("moved", range(9)).long() == label).all()


def test_verified_cases_are_held_out_and_said_to_be(tmp_path: Path) -> None:
    made = method()
    run: Any = SimpleNamespace(trusted=np.array([1, 3]), cases=5)
    (phase,) = made.plan(run)
    assert phase.streams[0].cases is not None and phase.streams[0].cases.tolist() == [0, 2, 4]
    with pytest.raises(DataError, match="names no case"):
        made.plan(SimpleNamespace(trusted=np.array([], np.int64), cases=5))  # type: ignore[arg-type]
    job = small_job(tmp_path, "debias")
    fit(job)
    description = json.loads((job.out / "run.json").read_text())
    assert description["held_out"] == description["trusted"] != []
    known = trained_on(job.out, "last")
    assert known is not None and not set(known) & set(description["trusted"])
    assert len(known) == len(description["train"]) - len(description["trusted"])


def test_the_teacher_predicts() -> None:
    made, image = method().eval(), batch_of(labels()).image
    with torch.no_grad():
        assert torch.allclose(made.predict(image), made.teacher.network(image).softmax(dim=1))
