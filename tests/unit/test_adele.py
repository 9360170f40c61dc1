"""ADELE: when a class is corrected, which pixels are, and what the loss is."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.meta_stubs import small_network
from tests.sweep_stubs import Sweeping, batch_of
from tests.training_jobs import same, small_job, weights
from tests.two_networks import random_labels
from torch import Tensor
from torch.nn import functional as F

from debride.files import read_jsonl
from debride.losses.scales import at_scale, scale_divergence
from debride.methods.adele import ADELE, SCALES
from debride.refine.memorising import confidently_corrected, fit_curve, flattened, iou_counts, slope_change
from debride.state import saved_files
from debride.training.fit import fit
from debride.training.run import TrainingRun
from debride.types import IGNORE

FAST = [0.42, 0.61, 0.68, 0.72, 0.74, 0.75, 0.76, 0.765, 0.77, 0.772]
SLOW = [0.15, 0.24, 0.32, 0.38, 0.43, 0.47, 0.5, 0.53, 0.55, 0.57, 0.585, 0.6]
SHORT = [0.3, 0.45, 0.52, 0.57, 0.6, 0.62, 0.63]


def method(ndim: int = 2, **config: Any) -> ADELE:
    return ADELE(ADELE.Config(**config), lambda: small_network(ndim, 3), 3)


def waves(*size: int, rate: float) -> Tensor:
    """Numbers from -3 to 3 that anyone can make again."""
    return 3 * torch.sin(rate * torch.arange(math.prod(size), dtype=torch.float64)).reshape(size)


@pytest.mark.parametrize(
    ("iou", "curve", "epoch"),
    [
        (FAST, (0.784802811885366, 1.4155918489364032, 0.4666773805848605), 5),
        (SLOW, (0.7540354950677578, 0.3438446580860213, 0.6160755092907908), 13),
        (SHORT, (0.6817199694934194, 0.9674511303938549, 0.5070376129588198), 6),
    ],
    ids=["fast", "slow", "short"],
)
def test_the_curve_is_that_of_the_authors_code(iou: list[float], curve: tuple[float, ...], epoch: int) -> None:
    """Kangningthu/ADELE at 7195bd0, SegThor/brat/label_correction.py: ``fit`` and ``label_update_epoch`` of 60 epochs, with one
    evaluation an epoch. There the n epochs lie at times from 0 to n, and 1 / c stands for b."""
    found = fit_curve(np.linspace(0, len(iou), len(iou)), np.array(iou))
    assert found == pytest.approx(curve, rel=1e-5)
    assert found is not None
    assert next(t for t in range(1, 60) if slope_change(found, t) > 0.9) == epoch


def test_the_slope_is_the_derivative() -> None:
    a, b, c = 0.8, 0.7, 0.6

    def rise(t: float, step: float = 1e-6) -> float:
        f = [a * (1 - math.exp(-b * x**c)) for x in (t - step, t + step)]
        return (f[1] - f[0]) / (2 * step)

    for t in (1.0, 2.0, 9.5):
        assert slope_change((a, b, c), t) == pytest.approx(abs(rise(1) - rise(t)) / rise(1), abs=1e-7)


def test_a_class_flattens_once_and_not_before_it_is_found() -> None:
    whole = np.array(FAST + [0.773] * 10)
    when = [n for n in range(1, len(whole) + 1) if flattened(whole[:n], 0.9)]
    assert when and when == list(range(when[0], len(whole) + 1)) and 4 <= when[0] <= 8
    late = np.concatenate((np.full(4, 0.02), whole))
    assert next(n for n in range(1, len(late)) if flattened(late[:n], 0.9)) == when[0] + 4, "epochs without the class count not"
    assert not flattened(np.full(30, 0.05), 0.9)
    assert not flattened(np.linspace(0.2, 0.8, 20), 0.9), "it still rises"


def test_iou_counts_leave_out_what_has_no_label() -> None:
    logits, label = waves(3, 3, 5, 6, rate=1.1), random_labels(3, 5, 6)
    counts = iou_counts(logits.argmax(dim=1), label, 3)
    for value in range(3):
        ours = {w for w in np.ndindex(3, 5, 6) if label[w] != IGNORE and int(logits[w[0], :, w[1], w[2]].argmax()) == value}
        theirs = {w for w in np.ndindex(3, 5, 6) if label[w] == value}
        assert counts[:, value].tolist() == [len(ours & theirs), len(ours | theirs)]


def test_corrected_pixels_are_those_of_the_authors_code() -> None:
    """Kangningthu/ADELE at 7195bd0, SegThor/brat/label_correction.py: ``merge_labels_with_skip`` of four classes, of which
    1 and 3 are corrected, with both thresholds at 0.6."""
    probability = waves(2, 4, 3, 4, rate=2.3).softmax(dim=1)
    label = torch.tensor([[[0, 1, 2, 3], [0, 0, 1, 1], [2, 2, 3, 3]], [[0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 0, 1]]])
    theirs = [[[3, 1, 2, 3], [0, 1, 0, 1], [2, 2, 3, 3]], [[0, 1, 0, 0], [1, 1, 1, 1], [0, 1, 0, 1]]]
    correct = torch.tensor([False, True, False, True])
    assert confidently_corrected(probability, label, correct, 0.6).tolist() == theirs


def slow_correction(label: Tensor, probability: Tensor, correct: set[int], tau: float) -> Tensor:
    """One pixel at a time: the predicted class where it is confident, between the background and classes that are corrected."""
    right = label.clone()
    for row, *where in np.ndindex(*label.shape):
        given = int(label[(row, *where)])
        p = [float(probability[(row, k, *where)]) for k in range(probability.shape[1])]
        predicted = p.index(max(p))
        known = predicted == 0 or bool((label[row] == predicted).any())
        if given != IGNORE and max(p) > tau and {given, predicted} <= correct | {0} and known:
            right[(row, *where)] = predicted
    return right


@pytest.mark.parametrize("size", [(5, 5, 6), (4, 3, 4, 5)], ids=["2D", "3D"])
def test_labels_of_a_class_that_flattened_are_corrected(size: tuple[int, ...]) -> None:
    adele = method(len(size) - 1, tau=0.6)
    logits = 2 * torch.randn(size[0], 3, *size[1:], generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    label, probability = random_labels(*size), logits.softmax(dim=1)
    label[1][label[1] == 2] = 0
    run: Any = Sweeping(adele, label, probability, trusted=[2], epoch=7)
    adele.start_epoch(run)
    assert not run.asked and adele.doubt(run) is None
    assert torch.equal(adele.cleansed(run.swept(run.own), run.store), label)
    adele.progress.since[2] = 7
    adele.start_epoch(run)
    assert 2 not in run.seen[-1][2], "a trusted case is not looked at"
    right = slow_correction(label, probability, {2}, 0.6)
    right[2] = label[2]
    changed = (right != label).flatten(1).sum(dim=1)
    assert changed[0] > 0 and changed[3] > 0
    assert torch.equal(adele.cleansed(run.swept(run.own), run.store), right)
    share = changed / (label != IGNORE).flatten(1).sum(dim=1)
    doubt = adele.doubt(run)
    assert doubt is not None and doubt.tolist() == pytest.approx(share.tolist(), rel=1e-6)


def test_corrections_come_when_a_class_flattens_and_then_regularly() -> None:
    adele = method(every=0.3)
    run: Any = Sweeping(adele, random_labels(2, 4, 4), waves(2, 3, 4, 4, rate=2.3).softmax(dim=1), epochs=10, size=2)
    for run.epoch in range(10):
        adele.progress.since[1] = 2 if run.epoch >= 2 else -1
        adele.progress.since[2] = 4 if run.epoch >= 4 else -1
        adele.start_epoch(run)
    assert [epoch for epoch, _ in run.asked] == [2, 4, 5, 8]


def test_the_divergence_is_that_of_the_authors_code() -> None:
    """Kangningthu/ADELE at 7195bd0, SegThor/lib/utils/JSD_loss.py: ``calc_jsd_multiscale`` of equal float64 weights; a third of
    its consistency, which is a sum over three scales. At 0.9 the second image is not sure enough."""
    logits = waves(3, 2, 3, 2, 4, rate=1.7)
    logits[:, 1] *= 0.5
    valid = torch.ones(2, 2, 4, dtype=torch.bool)
    for rho, theirs in ((0.6, 0.002404224816346731), (0.9, 0.001879152624293417)):
        assert scale_divergence(logits, rho, valid).mean().item() == pytest.approx(theirs, rel=1e-9)
    assert not scale_divergence(logits, 0.9, valid)[1].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_divergence_takes_half_precision(dtype: torch.dtype) -> None:
    logits = 5 * waves(3, 2, 3, 2, 4, rate=1.7)
    valid = torch.ones(2, 2, 4, dtype=torch.bool)
    half = scale_divergence(logits.to(dtype), 0.5, valid)
    assert half.dtype == torch.float32 and half.isfinite().all()
    torch.testing.assert_close(half.double(), scale_divergence(logits.to(dtype).double(), 0.5, valid), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("ndim", [2, 3])
def test_logits_at_a_scale_are_those_of_a_larger_image_brought_back(ndim: int) -> None:
    network, image = small_network(ndim, 3), waves(2, 2, *(10, 7, 5)[:ndim], rate=0.9)
    mode = {2: "bilinear", 3: "trilinear"}[ndim]
    sizes = [math.floor(length * 0.7 + 1e-9) for length in image.shape[2:]]
    small = network(F.interpolate(image, sizes, mode=mode, align_corners=True))
    back = F.interpolate(small, image.shape[2:], mode=mode, align_corners=True)
    torch.testing.assert_close(at_scale(network, image, 0.7), back)
    assert torch.equal(at_scale(network, image, 1.0), network(image))


@pytest.mark.parametrize("relabelled", [False, True])
def test_the_loss_is_a_mean_over_scales(relabelled: bool) -> None:
    adele = method(consistency=0.7, rho=0.1)
    label, corrected = random_labels(3, 5, 6), random_labels(3, 5, 6, seed=1)
    corrected[corrected == IGNORE] = 1
    image = waves(3, 2, 5, 6, rate=0.37)
    flags = torch.full((3,), float(relabelled))
    run: Any = Sweeping(adele, label, waves(3, 3, 5, 6, rate=2.3).softmax(dim=1))
    terms = adele.loss(batch_of(image, label, {"corrected": corrected}, relabelled=flags), run)
    p = [at_scale(adele.network, image, scale).softmax(dim=1).detach().numpy() for scale in SCALES]
    target = corrected if relabelled else label
    places = [where for where in np.ndindex(3, 5, 6) if label[where] != IGNORE]
    entropy = divergence = 0.0
    for i, *where in places:
        each = [[float(q[(i, k, *where)]) for k in range(3)] for q in p]
        mean = [sum(q[k] for q in each) / 3 for k in range(3)]
        entropy -= sum(math.log(q[int(target[(i, *where)])]) for q in each) / 3
        divergence += sum(q[k] * math.log(q[k] / mean[k]) for q in each for k in range(3)) / 3
    assert terms["cross_entropy"].item() == pytest.approx(entropy / len(places), rel=1e-9)
    assert terms["consistency"].item() == pytest.approx(0.7 * divergence / len(places), rel=1e-9)


def test_an_epochs_iou_is_of_all_its_steps() -> None:
    adele, label, image = method(slope=0.5), random_labels(4, 5, 6), waves(4, 2, 5, 6, rate=0.37)
    run: Any = Sweeping(adele, label, waves(4, 3, 5, 6, rate=2.3).softmax(dim=1))
    predicted = adele.network(image).argmax(dim=1).where(label != IGNORE, IGNORE)
    pairs = list(zip(predicted.flatten().tolist(), label.flatten().tolist(), strict=True))
    iou = [pairs.count((k, k)) / sum(k in pair for pair in pairs) for k in range(3)]
    for run.epoch in range(5):
        for part in (slice(0, 1), slice(1, 4)):
            fields = {"corrected": label[part]}
            adele.loss(batch_of(image[part], label[part], fields, relabelled=torch.zeros(len(label[part]))), run)
        adele.end_epoch(run)
    assert adele.progress.history.tolist() == [pytest.approx(iou)] * 5
    assert iou[1] > 0.1 and adele.progress.since.tolist()[0] == -1, "the background has no curve"
    assert adele.progress.since[1] == 3, "an IoU that stands still is flat as soon as there is a curve"
    other = method()
    other.load_state_dict(adele.state_dict())
    assert torch.equal(other.progress.history, adele.progress.history)
    assert torch.equal(other.progress.since, adele.progress.since)


def test_predicts_at_one_scale_but_while_labels_are_corrected() -> None:
    adele, image = method(), waves(2, 2, 10, 7, rate=0.9)
    one = adele.predict(image)
    torch.testing.assert_close(one, adele.network(image).float().softmax(dim=1))
    with adele._all_scales():
        all_scales = adele.predict(image)
    mean = sum(at_scale(adele.network, image, scale).float().softmax(dim=1) for scale in SCALES) / 3
    assert isinstance(mean, Tensor)
    torch.testing.assert_close(all_scales, mean)
    assert not torch.allclose(one, all_scales, atol=1e-3) and torch.equal(adele.predict(image), one)


class StoppedError(Exception):
    """What a training that is stopped on purpose raises."""


@pytest.mark.slow
def test_resumed_after_a_correction_equals_uninterrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = ADELE.Config(slope=0.2, tau=0.3)
    whole, part = (replace(small_job(tmp_path, "adele", out=o, epochs=8), method_config=config) for o in ("whole", "part"))
    fit(whole)
    classes = [row["train"]["corrected_classes"] for row in read_jsonl(whole.out / "metrics.jsonl")]
    started = next(epoch for epoch, count in enumerate(classes) if count)
    assert started < 6, "nothing was corrected before the stop"
    optimise = TrainingRun.optimise

    def stopped(run: TrainingRun[Any], *arguments: Any, **more: Any) -> None:
        if run.epoch == started + 2:
            raise StoppedError
        optimise(run, *arguments, **more)

    monkeypatch.setattr(TrainingRun, "optimise", stopped)
    with pytest.raises(StoppedError):
        fit(part)
    monkeypatch.undo()
    fit(replace(part, resume=True))
    assert same(weights(whole.out, "epoch-0008"), weights(part.out, "epoch-0008"))
    labels = [saved_files(job.out / "resume" / "epoch-0008" / "labels") for job in (whole, part)]
    for name in ("corrected.uint8", "relabelled.uint8", "changed.float32"):
        assert (labels[0] / name).read_bytes() == (labels[1] / name).read_bytes()
    assert np.fromfile(labels[0] / "relabelled.uint8", np.uint8).all()
