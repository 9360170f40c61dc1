"""The noises as functions of arrays: the same as the noises, for every kind of array."""

from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.datasets import build_nnunet_2d

import debride.noise
from debride.data.masks.corrupt import corrupt_dataset
from debride.data.open import open_dataset
from debride.data.pixels.images import read_label
from debride.noise import CLASS_NOISES, NOISES, make_class_noise, make_noise
from debride.noise.strength import label_dice
from debride.rng import generator
from debride.types import DataError

OF_FILES = {"file"}


def volume() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Two objects of two classes, and a corner without a label."""
    ids = np.zeros((9, 48, 52), np.uint8)
    ids[2:6, 10:34, 8:30], ids[3:5, 14:40, 34:44] = 1, 2
    ids[:, :3, :3] = 255
    return ids


def named(name: str) -> Any:
    return getattr(debride.noise, name.replace("-", "_"))


@pytest.mark.parametrize("name", NOISES)
def test_a_function_is_the_noise(name: str) -> None:
    given = volume()
    before = given.copy()
    expected = make_noise(name)(given, 3, generator(5, "noise"), (3.0, 1.0, 1.0))
    assert (named(name)(given, seed=5, spacing=(3, 1, 1)) == expected).all()
    assert (given == before).all()
    wide = given.astype(np.int64)
    wide[given == 255] = -100
    tensor = named(name)(torch.from_numpy(wide), 3, seed=5, ignore_index=-100)
    assert isinstance(tensor, torch.Tensor) and tensor.dtype == torch.int64
    assert (np.where(tensor.numpy() == -100, 255, tensor.numpy()) == expected).all()


@pytest.mark.parametrize("name", [*NOISES, *sorted(set(CLASS_NOISES) - OF_FILES)])
def test_parameters_and_defaults_are_those_of_the_noise(name: str) -> None:
    kind: Any = NOISES[name] if name in NOISES else CLASS_NOISES[name]
    own = {each.name: each.default for each in fields(kind)}
    shown = inspect.signature(named(name)).parameters
    said = {key: each.default for key, each in shown.items() if key in own}
    assert said == own
    assert set(shown) - set(own) <= {"mask", "labels", "classes", "seed", "images", "how"}
    assert kind.__name__ in named(name).__doc__


def test_a_case_becomes_what_corrupt_makes_of_it(tmp_path: Path) -> None:
    dataset = open_dataset(build_nnunet_2d(tmp_path / "clean", n=3))
    corrupt_dataset(dataset, tmp_path / "noisy", make_noise("shift"), seed=4, splits=["train", "val", "test"])
    noisy = open_dataset(tmp_path / "noisy")
    for case, after in zip(dataset.cases, noisy.cases, strict=True):
        assert case.label is not None and after.label is not None
        clean = read_label(case.label, dataset)[0]
        changed = debride.noise.shift(clean, len(dataset.classes), seed=4, case=case.id)
        assert (changed == read_label(after.label, noisy)[0]).all()


@pytest.mark.parametrize("dice", [0.6, 0.8])
def test_a_wanted_dice_is_reached_on_average(dice: float) -> None:
    mask = np.zeros((64, 64), bool)
    mask[14:50, 20:44] = True
    reached = []
    for seed in range(20):
        noisy = debride.noise.markov(mask, seed=seed, dice=dice)
        assert noisy.dtype == np.bool_
        reached.append(label_dice(mask.view(np.uint8), noisy.view(np.uint8), 2) or 0.0)
    assert abs(np.mean(reached) - dice) < 0.05


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("symmetric", {"rate": 0.4}), ("asymmetric", {"map": "next"}), ("transition", {"matrix": ((0.5, 0.5), (0.1, 0.9))})],
)
def test_classes_become_what_the_noise_makes_of_them(name: str, parameters: dict[str, Any]) -> None:
    labels, ids = np.arange(60) % 2, [f"case{number}" for number in range(60)]
    expected = make_class_noise(name, **parameters)(labels, 2, ids, 3)
    assert (expected != labels).any()
    assert (named(name)(labels, seed=3, ids=ids, **parameters) == expected).all()
    tensor = named(name)(torch.from_numpy(labels).int(), seed=3, ids=ids, **parameters)
    assert tensor.dtype == torch.int32 and (tensor.numpy() == expected).all()
    assert (named(name)(labels.tolist(), seed=3, ids=ids, **parameters) == expected).all()


def test_noise_by_images() -> None:
    labels, images = np.arange(40) % 3, np.random.default_rng(0).random((40, 4, 5))
    ids = [str(number) for number in range(40)]
    expected = make_class_noise("instance")(labels, 3, ids, 0, images.reshape(40, -1))
    assert (debride.noise.instance(labels, images=images) == expected).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: debride.noise.markov(np.zeros((8, 8))), "mask: holds float64. Give class ids as integers"),
        (lambda: debride.noise.markov(np.zeros(8, int)), r"mask: has shape \(8,\)"),
        (lambda: debride.noise.markov(np.full((8, 8), 300)), "mask: has class ids from 0 to 300. Use 0 to 254, and 255"),
        (lambda: debride.noise.markov(np.full((8, 8), 3), 3), "mask: has class ids from 0 to 3. Use 0 to 2"),
        (lambda: debride.noise.markov(np.eye(8, dtype=int), 1), "`classes`: is 1"),
        (lambda: debride.noise.markov(np.eye(8, dtype=int), stepz=3), "noise markov: has no parameter 'stepz'. Choose among"),
        (lambda: debride.noise.markov(np.eye(8, dtype=int), steps=-1), "noise markov: steps: is -1"),
        (lambda: debride.noise.dilate_erode(np.eye(8, dtype=int), spacing=(1, 2, 3)), "`spacing`: is .* for 2 axes"),
        (lambda: debride.noise.dilate_erode(np.eye(8, dtype=int), unit="mm"), "the label has no spacing"),
        (lambda: debride.noise.flip(np.eye(8, dtype=int), dice=0.5), "has no strength that is one number"),
        (lambda: debride.noise.flip("mask"), "mask: holds <U4"),
        (lambda: debride.noise.symmetric([0, 1], ids=["a"]), "`ids`: are 1 for 2 labels"),
        (lambda: debride.noise.markov(np.eye(8, dtype=np.uint8) * 255), "mask: has no class .*Divide a mask of 0 and 255"),
        (lambda: debride.noise.markov(np.eye(8, dtype=int), 2.0), "`classes`: is 2.0"),  # type: ignore[arg-type]
        (lambda: debride.noise.transition([0, 1], matrix=[1, 2]), r"`matrix`: has shape \(2,\)"),  # type: ignore[list-item]
        (lambda: debride.noise.symmetric([[0, 1]]), r"labels: have shape \(1, 2\)"),
        (lambda: debride.noise.instance([0, 1], images=np.zeros((3, 2))), r"images: have shape \(3, 2\)"),
    ],
)
def test_what_cannot_be_used_is_refused(wrong: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        wrong()


def test_importing_is_light() -> None:
    told = subprocess.run(
        [sys.executable, "-c", "import sys, debride.noise, debride.metrics; print([*sys.modules])"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert not {"'torch'", "'scipy'", "'edt'"} & set(told.replace("[", "").replace("]", "").replace(",", "").split())
