"""Our reading of DCD on masks: features of objects, weights of images, centres from epoch to epoch."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.training_jobs import small_job
from torch import Tensor

from debride.files import read_jsonl
from debride.methods.dcd_segmentation import DCDSegmentation, class_features, masked_means
from debride.networks import build
from debride.settings import check_bounds
from debride.training.fit import fit
from debride.types import IGNORE, DataError

K, F = 3, 4


def images(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features (3, F, 4, 5) and labels, the last of which shows background and unlabelled pixels only."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(0, K, (3, 4, 5), generator=generator)
    label[0][label[0] == 2] = 0
    label[1, 0] = IGNORE
    label[2] = 0
    label[2, 1] = IGNORE
    return torch.randn(3, F, 4, 5, generator=generator), label


def method(**config: Any) -> DCDSegmentation:
    torch.manual_seed(0)
    made = lambda: build("unet-small", ndim=2, in_channels=1, classes=K, width=F)  # noqa: E731
    return DCDSegmentation(DCDSegmentation.Config(**config), made, K)


def test_an_images_features_are_the_means_over_its_objects() -> None:
    features, label = images()
    found, shown = class_features(features, label, K)
    for b in range(3):
        for k in range(K):
            pixels = [(y, x) for y in range(4) for x in range(5) if label[b, y, x] == k and k > 0]
            assert bool(shown[b, k]) is bool(pixels)
            sums = [sum(float(features[b, f, y, x]) for y, x in pixels) for f in range(F)]
            length = math.sqrt(sum(value * value for value in sums)) or 1.0
            assert found[b, k].tolist() == pytest.approx([value / max(1, len(pixels)) for value in sums], abs=1e-5)
            unit = DCDSegmentation.Config().scaled(found, 2)[b, k]
            assert unit.tolist() == pytest.approx([value / length for value in sums], abs=1e-5)
    assert torch.equal(DCDSegmentation.Config(features="raw").scaled(found, 2), found)


def test_gamma_is_the_softmax_of_mean_distances_and_1_without_objects() -> None:
    built = method(spread=0.4, features="raw")
    built.centres = torch.randn(K, F)
    built.known = torch.tensor([0.0, 1.0, 1.0])
    features, shown = class_features(*images(), K)
    distances = {}
    for b in range(3):
        each = [math.dist(features[b, k].tolist(), built.centres[k].tolist()) for k in (1, 2) if shown[b, k]]
        if each:
            distances[b] = sum(each) / len(each)
    total = sum(math.exp(value / 0.4) for value in distances.values())
    expected = [len(distances) * math.exp(distances[b] / 0.4) / total if b in distances else 1.0 for b in range(3)]
    assert built._gamma(features, shown).tolist() == pytest.approx(expected, rel=1e-4)
    assert sorted(distances) == [0, 1]


def test_distances_are_in_their_classes_deviations_and_a_wanted_share_is_left() -> None:
    built, run = method(spread=None, effective=0.7), SimpleNamespace(summed=lambda values: values)
    centres = built.centres = torch.randn(K, F, generator=torch.Generator().manual_seed(1))
    known = built.known = torch.tensor([0.0, 1.0, 1.0])
    each: dict[int, list[float]] = {1: [], 2: []}
    for seed in range(3):
        features, shown = class_features(*images(seed), K)
        built._gamma(features, shown)
        for k, found in each.items():
            found += [math.dist(features[b, k].tolist(), centres[k].tolist()) for b in range(3) if shown[b, k]]
    built.end_epoch(run)  # type: ignore[arg-type]
    assert not built.distances.any() and built.moments[:, 0].tolist() == [0, 1]
    for k, found in each.items():
        mean = sum(found) / len(found)
        deviation = math.sqrt(sum((d - mean) ** 2 for d in found) / len(found))
        assert built.moments[:, k].tolist() == pytest.approx([mean, deviation], rel=1e-4)
    built.centres, built.known = centres, known
    features, shown = class_features(*images(0), K)
    gamma = built._gamma(features, shown).tolist()
    assert gamma[2] == 1
    assert (gamma[0] + gamma[1]) ** 2 / (2 * (gamma[0] ** 2 + gamma[1] ** 2)) == pytest.approx(0.7, abs=2e-3)
    scores = [
        sum((math.dist(features[b, k].tolist(), centres[k].tolist()) - built.moments[0, k]) / built.moments[1, k] for k in ks)
        / len(ks)
        for b, ks in ((0, [1]), (1, [1, 2]))
    ]
    assert (gamma[0] > gamma[1]) is bool(scores[0] > scores[1])
    built.end_epoch(run)  # type: ignore[arg-type]
    kept = built.moments.clone()
    built.end_epoch(run)  # type: ignore[arg-type]  # an epoch of warm-up leaves them
    assert torch.equal(built.moments, kept)


def test_before_there_are_centres_all_images_weigh_the_same() -> None:
    assert method()._gamma(*class_features(*images(), K)).tolist() == [1.0, 1.0, 1.0]


def test_centres_are_the_trusted_means_of_the_last_epoch() -> None:
    built, run = method(), SimpleNamespace(summed=lambda values: values)
    sums, totals = torch.zeros(K, F), [0.0] * K
    for seed in range(3):
        features, shown = class_features(*images(seed), K)
        trust = torch.tensor([0.5, 2.0, 1.0]) * (seed + 1)
        built._remember(features, shown, trust)
        for b in range(3):
            for k in range(K):
                if shown[b, k]:
                    sums[k] += float(trust[b]) * features[b, k]
                    totals[k] += float(trust[b])
    built.end_epoch(run)  # type: ignore[arg-type]
    assert built.known.tolist() == [0, 1, 1]
    for k in (1, 2):
        torch.testing.assert_close(built.centres[k], sums[k] / totals[k])
    assert not built.sums.any() and not built.weights.any()
    kept = built.centres.clone()
    built.end_epoch(run)  # type: ignore[arg-type]  # an epoch of warm-up leaves them
    assert torch.equal(built.centres, kept)


def test_means_under_a_mask() -> None:
    values, mask = torch.tensor([[1.0, 5.0], [2.0, 4.0]]), torch.tensor([[True, False], [False, False]])
    assert masked_means(values, mask).tolist() == [1.0, 0.0]


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_a_spread_out_of_range_is_refused(value: float) -> None:
    with pytest.raises(DataError, match="spread: is"):
        check_bounds(DCDSegmentation.Config(spread=value))


def test_a_training_gets_weights_that_differ(tmp_path: Path) -> None:
    job = small_job(tmp_path, "dcd-seg", epochs=4)
    fit(replace(job, method_config=DCDSegmentation.Config(warm_up=0.25, spread=0.05)))
    largest = [row["train"].get("gamma") for row in read_jsonl(job.out / "metrics.jsonl")]
    assert largest[0] is None and largest[1] == pytest.approx(1) and largest[2] > 1.01
