"""Masks as predictions, and masks beside maps: what their values and their geometry say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.datasets import save_nifti, save_png
from tests.prediction_files import only, pictures, predicted, random_map, save_map, save_npy, volumes

from debride.audit.evidence.pieces import predicted_classes
from debride.audit.predictions.nnunet_maps import mirrored, soften
from debride.data.pixels.images import read_label
from debride.types import IGNORE, DataError, Geometry


def test_masks_have_the_raw_values_of_the_data_set_or_class_ids(tmp_path: Path) -> None:
    dataset = pictures(tmp_path, classes=2)
    assert dataset.values == {0: 0, 255: 1}
    label, _ = read_label(Path(str(dataset.cases[0].label)), dataset)
    for number, raw in enumerate((255, 1)):
        save_png(tmp_path / str(number) / f"{dataset.cases[0].id}.png", label * np.uint8(raw))
        prediction = predicted(only(dataset, tmp_path / str(number)), dataset.cases[0], dataset)
        assert prediction.hard
        np.testing.assert_array_equal(prediction.probability.argmax(0), label)
    save_png(tmp_path / "2" / f"{dataset.cases[0].id}.png", label * np.uint8(7))
    with pytest.raises(DataError, match=r"holds the values 7.*Write predictions with the values"):
        predicted(only(dataset, tmp_path / "2"), dataset.cases[0], dataset)


def test_class_ids_are_not_taken_for_raw_values_that_mean_something_else(tmp_path: Path) -> None:
    dataset = replace(pictures(tmp_path), values={0: 0, 2: 1, 5: 2})
    case = dataset.cases[0]
    ids = np.random.default_rng(4).integers(0, 3, (12, 12)).astype(np.uint8)
    save_png(tmp_path / "p" / f"{case.id}.png", np.asarray([0, 2, 5], np.uint8)[ids])
    found = only(dataset, tmp_path / "p")
    np.testing.assert_array_equal(predicted_classes(found.of(case, (12, 12), Geometry()).probability), ids)
    save_png(tmp_path / "p" / f"{case.id}.png", ids)
    with pytest.raises(DataError, match="holds the values 1"):
        found.of(case, (12, 12), Geometry())


@pytest.mark.parametrize(("shape", "classes"), [((9, 11), 2), ((9, 11), 4), ((4, 9, 11), 3), ((20, 18), 2)])
def test_a_mask_becomes_what_slow_loops_say(shape: tuple[int, ...], classes: int) -> None:
    ids = np.random.default_rng(2).integers(0, classes, shape).astype(np.uint8)
    if shape == (20, 18):  # a small object alone
        ids[:] = 0
        ids[1, 2] = 1
    ids[..., 3:7, 2:8] = 1
    ids[0] = 0 if len(shape) == 3 else ids[0]
    ids[-1 if len(shape) == 3 else 6, ..., 8] = IGNORE
    found = soften(ids, classes)
    weights = [np.exp(-(at**2) / 2) for at in range(-3, 4)]
    weights = [weight / sum(weights) for weight in weights]
    planes = [ids] if len(shape) == 2 else list(ids)
    results = [found] if len(shape) == 2 else list(found.swapaxes(0, 1))
    share = 0.02 * classes / (classes - 1)
    for plane, result in zip(planes, results, strict=True):
        height, width = plane.shape
        for y in range(height):
            for x in range(width):
                votes = [0.0] * classes
                for dy in range(-3, 4):
                    for dx in range(-3, 4):
                        value = plane[_mirrored_at(y + dy, height), _mirrored_at(x + dx, width)]
                        if value != IGNORE:
                            votes[value] += weights[dy + 3] * weights[dx + 3]
                votes = [vote / sum(votes) for vote in votes]
                own = plane[y, x]
                if own == IGNORE:
                    votes = [1 / classes] * classes
                elif votes[own] < 0.51:
                    votes = [vote * 0.49 / (1 - votes[own]) for vote in votes]
                    votes[own] = 0.51
                wanted = [(1 - share) * vote + share / classes for vote in votes]
                assert result[:, y, x] == pytest.approx(wanted, abs=1e-5 if len(shape) == 2 else 1e-3)
    known = ids != IGNORE
    np.testing.assert_array_equal(predicted_classes(found)[known], ids[known])
    assert found.dtype == (np.float32 if len(shape) == 2 else np.float16)
    assert 0.0099 / (classes - 1) * 2 <= found.min() and found.max() <= 0.9805


def _mirrored_at(at: int, length: int) -> int:
    return min(max(at, 0), length - 1)


def test_a_map_of_zeros_and_ones_is_a_mask(tmp_path: Path) -> None:
    dataset = pictures(tmp_path)
    ids = np.random.default_rng(3).integers(0, 3, (12, 12)).astype(np.uint8)
    save_npy(tmp_path / "p" / f"{dataset.cases[0].id}.npy", np.stack([ids == k for k in range(3)]).astype(np.float32))
    prediction = predicted(only(dataset, tmp_path / "p"), dataset.cases[0], dataset)
    assert prediction.hard
    np.testing.assert_array_equal(prediction.probability, soften(ids, 3))


def test_masks_on_another_grid_are_refused(tmp_path: Path) -> None:
    dataset = volumes(tmp_path)
    case = dataset.cases[0]
    label, _ = read_label(Path(str(case.label)), dataset)
    target = tmp_path / "p" / "vol00.nii.gz"
    save_nifti(target, label)
    assert predicted(only(dataset, tmp_path / "p"), case, dataset).hard
    save_nifti(target, label, (2.0, 1.5, 1.1))
    with pytest.raises(DataError, match=r"vol00\.nii\.gz: .*its spacing is \(2, 1\.5, 1\.1\) mm"):
        predicted(only(dataset, tmp_path / "p"), case, dataset)
    save_nifti(target, label.T)
    with pytest.raises(DataError, match="does not lie on the grid"):
        predicted(only(dataset, tmp_path / "p"), case, dataset)


def test_the_mask_beside_a_map_tells_its_geometry(tmp_path: Path) -> None:
    dataset = volumes(tmp_path)
    probability = random_map(3, (6, 16, 20))
    save_map(tmp_path / "p" / "vol00.npz", probabilities=probability)
    ids = probability.argmax(0).astype(np.uint8)
    save_nifti(tmp_path / "p" / "vol00.nii.gz", ids, (4.0, 1.5, 1.0))
    with pytest.raises(DataError, match="its spacing is"):
        predicted(only(dataset, tmp_path / "p"), dataset.cases[0], dataset)
    save_nifti(tmp_path / "p" / "vol00.nii.gz", ids[:, 1:])
    with pytest.raises(DataError, match=r"its shape is \(6, 15, 20\), not \(6, 16, 20\)"):
        predicted(only(dataset, tmp_path / "p"), dataset.cases[0], dataset)


def test_a_map_that_is_mirrored_against_its_mask_is_refused(tmp_path: Path) -> None:
    dataset = volumes(tmp_path)
    case = dataset.cases[0]
    ids = np.zeros((6, 16, 20), np.uint8)
    ids[1:4, 2:9, 3:8] = 1
    probability = soften(ids, 3).astype(np.float32)
    save_map(tmp_path / "p" / "vol00.npz", probabilities=probability[:, :, ::-1, ::-1])
    save_nifti(tmp_path / "p" / "vol00.nii.gz", ids)
    with pytest.raises(DataError, match="it would agree if mirrored along axes 1 and 2"):
        predicted(only(dataset, tmp_path / "p"), case, dataset)
    ids[4:, 10:, 15:] = 2  # a mask that was processed further
    save_map(tmp_path / "p" / "vol00.npz", probabilities=probability)
    save_nifti(tmp_path / "p" / "vol00.nii.gz", ids)
    np.testing.assert_allclose(predicted(only(dataset, tmp_path / "p"), case, dataset).probability, probability, atol=1e-3)


def test_turns_are_found_and_undone() -> None:
    ids = np.zeros((6, 6, 9), np.uint8)
    ids[0:2, 1:5, 2:4] = 1
    probability = soften(ids, 2)
    assert mirrored(probability, ids > 0) is None
    assert mirrored(probability, np.flip(ids, 2) > 0) == "mirrored along axis 2"
    assert mirrored(probability, ids.transpose(1, 0, 2)[:, ::-1] > 0) == (
        "transposed to the axes (1, 0, 2) and mirrored along axis 1"
    )
    assert mirrored(probability, np.zeros_like(ids, bool)) is None
    assert mirrored(probability, np.roll(ids, 3, 1) > 0) is None
