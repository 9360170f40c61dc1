"""Images that occur under several classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tests.datasets import save_png

from debride.audit.wrong_classes.near_duplicates import SIDE, Group, conflicting_groups, images_of
from debride.types import Case, Dataset


def seen(images: np.ndarray, root: Path) -> tuple[list[str], np.ndarray]:
    """What is seen of images in a .npz file."""
    file = root / "images.npz"
    np.savez(file, train_images=images)
    cases = tuple(Case(str(at), (file,), None, str(at), target=0, row=at, array="train_images") for at in range(len(images)))
    found = list(images_of(Dataset(root, "npz", ("a", "b"), cases, 2, task="classification"), cases))
    return [content for content, _ in found], np.stack([fingerprint for _, fingerprint in found])


def test_copies_mirror_images_and_brighter_ones_with_another_class_are_found(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 200, (40, 24, 24)).astype(np.uint8)
    images[1] = images[0]
    images[3] = images[2][:, ::-1]
    images[5] = images[4] + 20
    images[7] = images[6]
    images[9:11] = 7  # constant images are like nothing
    labels = [0] * 40
    for at in (1, 3, 5, 9):
        labels[at] = 1
    contents, fingerprints = seen(images, tmp_path)
    groups = conflicting_groups(contents, fingerprints, labels, [str(at) for at in range(40)])
    assert Group((0, 1), True) in groups and Group((9, 10), True) in groups
    assert Group((2, 3), False) in groups and Group((4, 5), False) in groups
    assert len(groups) == 4
    assert conflicting_groups(contents, fingerprints, [0] * 40, [str(at) for at in range(40)]) == []


def test_several_labels_of_one_image_are_no_duplicates(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (1, 24, 24)).astype(np.uint8)
    contents, fingerprints = seen(np.concatenate([image, image]), tmp_path)
    assert conflicting_groups(contents, fingerprints, [0, 1], ["same", "same"]) == []
    assert conflicting_groups(contents, fingerprints, [0, 1], ["one", "other"]) == [Group((0, 1), True)]


def test_files_are_seen_as_rows_are_and_by_any_number_of_processes(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (3, 20, 20, 3)).astype(np.uint8)
    contents, fingerprints = seen(images, tmp_path)
    cases = []
    for at, image in enumerate(images):
        save_png(tmp_path / f"{at}.png", image)
        cases.append(Case(str(at), (tmp_path / f"{at}.png",), None, str(at), target=0))
    dataset = Dataset(tmp_path, "classes", ("a", "b"), tuple(cases), 2, task="classification")
    found = list(images_of(dataset, cases, jobs=1))
    assert [content for content, _ in found] == contents
    assert np.allclose(np.stack([fingerprint for _, fingerprint in found]), fingerprints)
    assert fingerprints.shape == (3, SIDE * SIDE)
