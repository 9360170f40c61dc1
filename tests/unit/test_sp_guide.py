"""SP-guide: which superpixels are selected, which labels are refined and when, and what the loss is."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tests.meta_stubs import small_network
from tests.sweep_stubs import Sweeping
from tests.training_jobs import same, small_job, weights
from tests.two_networks import random_labels, run_at
from torch import Tensor

from debride.geometry.superpixels import Superpixels, superpixel_mean
from debride.methods.parts.selection import AgreementConfig, SmallLoss
from debride.methods.sp_guide import SPGuide, class_weights
from debride.refine.confident import exact_cuts, pruned
from debride.state import saved_files
from debride.training.fit import fit
from debride.training.run import TrainingRun
from debride.types import IGNORE


def waves(*size: int, rate: float) -> Tensor:
    """Numbers from -3 to 3 that anyone can make again."""
    return 3 * torch.sin(rate * torch.arange(math.prod(size), dtype=torch.float64)).reshape(size)


LOGITS = waves(2, 2, 6, 8, rate=1.7), waves(2, 2, 6, 8, rate=2.3)
LABEL = (waves(2, 6, 8, rate=0.4) > 0.5).long()
SQUARES = (torch.arange(6)[:, None] // 2 * 4 + torch.arange(8)[None] // 2).repeat(2, 1, 1)
"""Superpixels of 2 x 2 pixels."""


def method(ndim: int = 2, **config: Any) -> SPGuide:
    return SPGuide(SPGuide.Config(**config), lambda: small_network(ndim, 3), 3)


def test_selected_superpixels_are_those_of_the_authors_code() -> None:
    """``super_pixel_smoothing`` and ``pixel_loss_selection`` (JoCoR, lambda 0.65) of gaozhitong/SP_guided_Noisy_Label_Seg at
    52ec5dc, lib/nlss.py, with a quarter of either class left out. It ends between two superpixels."""
    theirs = "001 014 015 022 023 026 027 032 033 036 037 100 101 114 115 120 121 146 147 152 153 156 157"
    smooth = [superpixel_mean(each.softmax(dim=1), SQUARES).log() for each in LOGITS]
    config = AgreementConfig(noise_rate=0.25, agreement=0.65 / 0.35)
    selection = SmallLoss(config, 2, agreement=config.agreement)
    _, clean = selection(smooth[0], smooth[1], LABEL, torch.zeros(2, dtype=torch.bool), run_at(50))
    assert ["".join(map(str, where)) for where in (~clean).nonzero().tolist()] == theirs.split()


def test_refined_pixels_are_those_of_the_authors_code() -> None:
    """``label_update`` of gaozhitong/SP_guided_Noisy_Label_Seg at 52ec5dc, lib/nlss.py, with rates of a quarter and limits of
    0.5. Of the last superpixel it relabels nothing, so as many pixels are asked for here as it relabels."""
    theirs = "001 014 015 026 027 032 033 052 053 100 101 114 115 120 121 134 135 152 153 157"
    mean = sum(each.softmax(dim=1) for each in LOGITS) / 2
    assert isinstance(mean, Tensor)
    smooth = superpixel_mean(mean, SQUARES)
    changed = torch.tensor([[int(digit) for digit in where] for where in theirs.split()]).T
    numbers = LABEL[tuple(changed)].bincount(minlength=2).diag()
    found = pruned(smooth, LABEL, exact_cuts(smooth, LABEL, numbers), "class")
    found &= smooth.argmax(dim=1) != LABEL
    assert ["".join(map(str, where)) for where in found.nonzero().tolist()] == theirs.split()


def slow_refinement(label: Tensor, probability: Tensor, segments: list[Any], share: list[float]) -> Tensor:
    """One pixel at a time: of each class's labels the least likely ones, by their superpixel, get its likeliest class. Pixels
    that are as likely as the last of them go with it."""
    means: dict[tuple[int, ...], list[float]] = {}
    for row, *where in np.ndindex(*label.shape):
        own = segments[row] == segments[row][tuple(where)]
        means[(row, *where)] = [float(probability[row, k].numpy()[own].mean()) for k in range(probability.shape[1])]
    right = label.clone()
    for value in range(probability.shape[1]):
        pixels = sorted((w for w in means if label[w] == value), key=lambda w: means[w][value])
        number = math.floor(share[value] * len(pixels) + 1e-9)
        if not number:
            continue
        last = means[pixels[number - 1]][value]
        for where in pixels:
            if means[where][value] <= last + 1e-12:
                right[where] = means[where].index(max(means[where]))
    return right


@pytest.mark.parametrize("size", [(5, 12, 13), (4, 6, 7, 8)], ids=["2D", "3D"])
def test_the_least_likely_labels_are_refined(size: tuple[int, ...]) -> None:
    guide = method(len(size) - 1, superpixel_side=3, noise_rate=0.2)
    label = random_labels(*size)
    logits = torch.randn(size[0], 3, *size[1:], generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    run: Any = Sweeping(guide, label, (2 * logits).softmax(dim=1), trusted=[2], epoch=7)
    image = torch.randn(size[0], 1, *size[1:], generator=torch.Generator().manual_seed(6))
    plain = run.swept
    run.swept = lambda rows: replace(plain(rows), image=image[torch.from_numpy(rows)])
    guide.start_epoch(run)
    assert not run.asked
    guide.watch.copy_(torch.tensor([1.0, 8.0, 0.0]))
    guide.start_epoch(run)
    assert guide.watch.tolist() == [0, 0, 1]
    segments = [Superpixels(3, 10.0)(each.numpy(), None) for each in image]
    others = label.clone()
    others[2] = IGNORE  # a trusted case is neither refined nor counted
    right = slow_refinement(others, run.probability, segments, [0.2] * 3)
    right[2] = label[2]
    assert (right != label).flatten(1).any(dim=1).tolist() == [row != 2 for row in range(size[0])]
    found = guide.cleansed(run.swept(run.own), run.store)
    assert torch.equal(found[2], label[2]) and torch.equal(found == IGNORE, label == IGNORE)
    assert (found != right).double().mean() < 0.01, "but for pixels in the bin of the last one"
    assert guide.small_loss.tau.item() == pytest.approx(1 - 0.88)


@pytest.mark.parametrize(("rate", "after"), [(0.3, 0.23), (0.15, 0.1), (0.05, 0.05)])
def test_more_is_kept_after_a_refinement(rate: float, after: float) -> None:
    """max(R, min(1.1 R, 0.9)) of the code, with R = 1 - rate."""
    guide = method(noise_rate=rate, superpixel_side=3)
    run: Any = Sweeping(guide, random_labels(2, 6, 6), waves(2, 3, 6, 6, rate=2.3).softmax(dim=1))
    guide._refine(run)
    assert guide.small_loss.tau.item() == pytest.approx(after)


def batch_of(label: Tensor, image: Tensor, segments: Tensor, refined: Tensor | None = None) -> Any:
    trusted = torch.zeros(len(label), dtype=torch.bool)
    flags = torch.full((len(label),), float(refined is not None))
    fields = {"refined": label if refined is None else refined}
    maps = {"superpixels": segments}
    return SimpleNamespace(image=image, label=label, trusted=trusted, fields=fields, maps=maps, cases={"relabelled": flags})


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("relabelled", [False, True])
def test_the_loss_is_of_selected_superpixels(balanced: bool, relabelled: bool) -> None:
    guide = method(noise_rate=0.25, balanced=balanced, agreement=0.7)
    image, label, other = waves(2, 2, 6, 8, rate=0.37), random_labels(2, 6, 8), random_labels(2, 6, 8, seed=1)
    other[other == IGNORE] = 1
    used = other.where(label != IGNORE, IGNORE) if relabelled else label
    run: Any = run_at(50)
    (loss,) = guide.loss(batch_of(label, image, SQUARES, other if relabelled else None), run).values()
    p = [network(image).softmax(dim=1).detach() for network in (guide.first, guide.second)]
    smooth = [superpixel_mean(each, SQUARES) for each in p]

    def joint(first: Tensor, second: Tensor, where: tuple[int, ...]) -> float:
        a, b = ([float(each[where[0], k, where[1], where[2]]) for k in range(3)] for each in (first, second))
        kl = sum((x - y) * (math.log(x) - math.log(y)) for x, y in zip(a, b, strict=True))
        return -math.log(a[int(used[where])]) - math.log(b[int(used[where])]) + 0.7 * kl

    selected = []
    for value in range(3):
        pixels = [w for w in np.ndindex(2, 6, 8) if used[w] == value]
        pixels.sort(key=lambda w: round(joint(smooth[0], smooth[1], w), 9))
        selected += pixels[: len(pixels) - math.floor(0.25 * len(pixels))]
    numbers = [sum(int(used[w]) == value for w in selected) for value in range(3)]
    weight = {w: max(1.0, numbers[0] / numbers[int(used[w])]) if balanced else 1.0 for w in selected}
    expected = sum(weight[w] * joint(p[0], p[1], w) for w in selected) / sum(weight.values())
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    rest = [w for w in np.ndindex(2, 6, 8) if used[w] != IGNORE and w not in selected]
    gap = np.mean([joint(p[0], p[1], w) for w in rest]) - np.mean([joint(p[0], p[1], w) for w in selected])
    guide.end_epoch(run)
    assert run.logged["gap"] == pytest.approx(gap, rel=1e-6)


def test_class_weights_are_those_of_the_selected() -> None:
    label = torch.tensor([[[0, 0, 0, 0, 1, 1, 2, IGNORE]]])
    selected = torch.tensor([[[True, True, True, True, True, True, True, False]]])
    assert class_weights(label, selected, 3)[label != IGNORE].tolist() == [1, 1, 1, 1, 2, 2, 4]
    assert class_weights(label, selected & (label > 0), 3)[label != IGNORE].tolist() == [1] * 7


def test_epochs_are_counted_since_the_gap_was_largest() -> None:
    guide = method(noise_rate=0.25)
    seen = []
    for epoch, gap in enumerate([9.0, 1.0, 2.0, 1.5, 2.0, 3.0]):
        guide.sums.copy_(torch.tensor([[2 * gap, 0.0], [2.0, 5.0]]))
        guide.end_epoch(run_at(epoch))
        seen.append(guide.watch.tolist())
    assert seen == [[0, 0, 0], [1, 0, 0], [2, 0, 0], [2, 1, 0], [2, 2, 0], [3, 0, 0]]


class StoppedError(Exception):
    """What a training that is stopped on purpose raises."""


@pytest.mark.slow
def test_resumed_after_a_refinement_equals_uninterrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = SPGuide.Config(noise_rate=0.3, ramp_epochs=1, refine_after=0.01)
    whole, part = (replace(small_job(tmp_path, "sp-guide", out=o, epochs=9), method_config=config) for o in ("whole", "part"))
    fit(whole)
    optimise = TrainingRun.optimise

    def stopped(run: TrainingRun[Any], *arguments: Any, **more: Any) -> None:
        if run.epoch == 7:
            raise StoppedError
        optimise(run, *arguments, **more)

    monkeypatch.setattr(TrainingRun, "optimise", stopped)
    with pytest.raises(StoppedError):
        fit(part)
    monkeypatch.undo()
    assert weights(part.out, "epoch-0007")["watch"][2] > 0, "nothing was refined before the stop"
    fit(replace(part, resume=True))
    assert same(weights(whole.out, "epoch-0009"), weights(part.out, "epoch-0009"))
    labels = [saved_files(job.out / "resume" / "epoch-0009" / "labels") for job in (whole, part)]
    for name in ("refined.uint8", "relabelled.uint8"):
        assert (labels[0] / name).read_bytes() == (labels[1] / name).read_bytes()
    assert np.fromfile(labels[0] / "relabelled.uint8", np.uint8).all()
