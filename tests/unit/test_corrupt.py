from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt
from tests.datasets import build_folder, build_manifest, build_nnunet_3d, save_json, save_nifti, save_png

from debride.data.masks.corrupt import corrupt_dataset
from debride.data.open import open_dataset
from debride.data.pixels.images import read_label, read_values
from debride.noise import NOISES, Noise, make_noise
from debride.noise.errors import Missing, Shift
from debride.noise.markov_noise import Markov
from debride.noise.morphology import DilateErode
from debride.noise.strength import label_dice
from debride.rng import generator
from debride.types import IGNORE, DataError, Dataset

NOISE = Markov(20, 0.3, 0.3)


def corrupted(dataset: Dataset, out: Path, noise: Noise = NOISE, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The report, and the noisy labels by case id."""
    report = corrupt_dataset(dataset, out, noise, **{"seed": 0, **options})
    assert json.loads((out / "noise.json").read_text()) == report
    noisy = open_dataset(out)
    return report, {case.id: read_label(case.label, noisy)[0] for case in noisy.cases if case.label}


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def test_a_list_of_verified_labels_is_not_of_corrupted_ones(tmp_path: Path) -> None:
    root = build_folder(tmp_path / "data")
    for name in ("trusted.txt", "LICENSE"):
        (root / name).write_text("case000\n")
    corrupted(open_dataset(root), tmp_path / "out")
    assert (tmp_path / "out" / "LICENSE").exists() and not (tmp_path / "out" / "trusted.txt").exists()


@pytest.mark.parametrize("target", [None, 0.8])
def test_the_order_of_the_cases_changes_nothing(target: float | None, tmp_path: Path) -> None:
    dataset = open_dataset(build_folder(tmp_path / "data", n=18, classes=3))
    report, labels = corrupted(dataset, tmp_path / "a", share=0.7, target_dice=target)
    for number in range(3):
        order = np.random.default_rng(number).permutation(len(dataset.cases))
        shuffled = replace(dataset, cases=tuple(dataset.cases[i] for i in order))
        again, others = corrupted(shuffled, tmp_path / f"b{number}", share=0.7, target_dice=target)
        assert again == report and same(labels, others)
        assert list(again["cases"]) == list(report["cases"])


def test_a_case_is_corrupted_by_its_id_and_the_seed_alone(tmp_path: Path) -> None:
    dataset = open_dataset(build_folder(tmp_path / "data", n=9))
    report, labels = corrupted(dataset, tmp_path / "a", seed=4)
    kept = dataset.cases[2:5]
    fewer, some = corrupted(replace(dataset, cases=kept), tmp_path / "b", seed=4)
    assert fewer["cases"] == {case.id: report["cases"][case.id] for case in kept}
    for case in kept:
        assert case.label is not None
        expected = NOISE(read_label(case.label, dataset)[0], 2, generator(4, "noise", case.id))
        np.testing.assert_array_equal(some[case.id], expected)
        np.testing.assert_array_equal(labels[case.id], expected)
    assert not same(labels, corrupted(dataset, tmp_path / "c", seed=5)[1])


def test_raters_make_different_mistakes(tmp_path: Path) -> None:
    dataset = open_dataset(build_manifest(tmp_path / "data"))
    raters = tuple(replace(case, trusted=False) for case in dataset.cases[:3])  # one image, three raters
    for case in raters[1:]:
        assert case.label is not None and raters[0].label is not None
        shutil.copyfile(raters[0].label, case.label)
    _, labels = corrupted(replace(dataset, cases=raters), tmp_path / "agreed")
    assert len({label.tobytes() for label in labels.values()}) == 3
    report, _ = corrupted(dataset, tmp_path / "noisy")
    assert report["trusted"] == ["scan0@rater1"] and "scan0@rater1" not in report["cases"] and "scan0@rater2" in report["cases"]


def test_a_share_is_rounded_and_nested(tmp_path: Path) -> None:
    dataset = open_dataset(build_folder(tmp_path / "data", n=12))  # 10 cases in train and val
    found = {share: set(corrupted(dataset, tmp_path / f"{share}", share=share)[0]["cases"]) for share in (0.01, 0.25, 0.5, 1.0)}
    assert [len(ids) for ids in found.values()] == [1, 2, 5, 10]
    assert found[0.01] < found[0.25] < found[0.5] < found[1.0]
    assert found[0.5] != set(corrupted(dataset, tmp_path / "other", share=0.5, seed=1)[0]["cases"])


def test_labels_that_become_empty_are_counted(tmp_path: Path) -> None:
    dataset = open_dataset(build_folder(tmp_path / "data", n=12))
    (case, *_) = dataset.cases
    report, labels = corrupted(dataset, tmp_path / "gone", Missing())
    assert report["emptied"] == len(report["cases"]) == 10
    assert all(record["dice"] == 0 and record["emptied"] for record in report["cases"].values())
    assert not labels[case.id].any()
    report, _ = corrupted(dataset, tmp_path / "there", Markov(0))
    assert report["emptied"] == 0 and report["mean_dice"] > 0.97
    again = open_dataset(tmp_path / "gone")
    report, _ = corrupted(replace(again, cases=tuple(c for c in again.cases if c.split != "test")), tmp_path / "twice", Shift())
    assert report["mean_dice"] is None and report["emptied"] == 0 and report["mean_changed"] == 0


def test_overall_means_are_over_all_cases_of_the_splits(tmp_path: Path) -> None:
    """Cases that keep their label count: a Dice of 1 where they have one, and no changed pixel even where they have none."""
    root = build_folder(tmp_path / "data", n=12)
    save_json(root / "dataset.json", {"classes": ["background", "lesion"], "values": {"0": 0, "255": 1}})
    empty = [*(case.id for case in open_dataset(root).of("train")[:3]), "case010"]
    for name in empty:
        save_png(root / "masks" / f"{name}.png", np.zeros((32, 32), np.uint8))
    dataset = open_dataset(root)
    report, labels = corrupted(dataset, tmp_path / "noisy", share=0.5)
    dice, changed = [], []
    for case in dataset.of("train", "val"):
        assert case.label is not None
        clean = read_label(case.label, dataset)[0]
        dice.append(label_dice(clean, labels[case.id], 2))
        changed.append((clean != labels[case.id]).mean())
    assert len(changed) == 10 and None in dice and len(report["cases"]) == 5
    assert report["overall_changed"] == pytest.approx(np.mean(changed))
    assert report["overall_dice"] == pytest.approx(np.mean([value for value in dice if value is not None]))


def test_ignored_pixels_stay_and_do_not_count(tmp_path: Path) -> None:
    root = build_folder(tmp_path / "data", classes=3)
    save_json(root / "dataset.json", {"classes": ["background", "lesion"], "ignore": 2})
    dataset = open_dataset(root)
    report, labels = corrupted(dataset, tmp_path / "noisy")
    for case in dataset.of("train", "val"):
        assert case.label is not None
        clean, noisy = read_label(case.label, dataset)[0], labels[case.id]
        np.testing.assert_array_equal(clean == IGNORE, noisy == IGNORE)
        changed = (clean != noisy).sum() / (clean != IGNORE).sum()
        assert report["cases"][case.id]["changed"] == pytest.approx(changed)


@pytest.mark.parametrize("name", NOISES)
def test_every_noise_on_volumes(name: str, tmp_path: Path) -> None:
    dataset = open_dataset(build_nnunet_3d(tmp_path / "data", shape=(6, 24, 24)))
    few = {"markov": {"steps": 20}, "dilate-erode": {"nearest": 1, "farthest": 2}, "shift": {"smallest": 2, "largest": 3}}
    report, labels = corrupted(dataset, tmp_path / "noisy", make_noise(name, **few.get(name, {})))
    assert report["noise"] == name and report["parameters"].items() >= few.get(name, {}).items()
    assert set(report["cases"]) == {case.id for case in dataset.of("train", "val")}
    assert all(record["shape"] == [6, 24, 24] for record in report["cases"].values())
    assert report["mean_changed"] > 0 and set(np.unique(np.stack(list(labels.values())))) <= {0, 1, 2}


def test_a_wanted_dice_is_reached_by_the_strength(tmp_path: Path) -> None:
    dataset = open_dataset(build_folder(tmp_path / "data", n=24))
    for noise in (Markov(), DilateErode()):
        report, _ = corrupted(dataset, tmp_path / type(noise).__name__, noise, target_dice=0.85)
        assert report["target_dice"] == 0.85 and report["mean_dice"] == pytest.approx(0.85, abs=0.06)
        assert make_noise(report["noise"], **report["parameters"]) != noise
        replayed, _ = corrupted(
            dataset, tmp_path / f"{type(noise).__name__} again", make_noise(report["noise"], **report["parameters"])
        )
        assert replayed["cases"] == report["cases"], "parameters and seed replay it"


def test_millimetres_go_by_the_spacing_of_each_label(tmp_path: Path) -> None:
    root = build_nnunet_3d(tmp_path / "data", n=6, shape=(8, 20, 24), classes=2)
    spacings = {f"vol{i:02d}": ((3.0, 0.5, 1.0), (1.0, 1.5, 0.5))[i % 2] for i in range(6)}
    dataset = open_dataset(root)
    for case in dataset.of("train", "val"):
        assert case.label is not None
        for path in (*case.image, case.label):
            save_nifti(path, read_values(path)[0], spacings[case.id])
    noise = DilateErode(1.0, 4.0, "mm")
    report, labels = corrupted(dataset, tmp_path / "noisy", noise)
    assert report["parameters"] == {"nearest": 1.0, "farthest": 4.0, "unit": "mm"}
    emptied, grown = {}, set()
    for case in dataset.of("train", "val"):
        assert case.label is not None
        clean = read_label(case.label, dataset)[0]
        draws = generator(0, "noise", case.id)
        grows, reach = draws.random() < 0.5, draws.uniform(1.0, 4.0)
        away = distance_transform_edt(clean == 0 if grows else clean == 1, sampling=spacings[case.id])
        expected = away <= reach if grows else away > reach
        np.testing.assert_array_equal(labels[case.id], expected.astype(np.uint8))
        emptied[case.id] = not expected.any()
        grown.add(grows)
    assert grown == {False, True}
    assert {name: record["emptied"] for name, record in report["cases"].items()} == emptied
    assert report["emptied"] == sum(emptied.values())
    again, same_labels = corrupted(dataset, tmp_path / "again", make_noise(report["noise"], **report["parameters"]))
    assert again == report and same(labels, same_labels), "parameters and seed replay it"
    thick = corrupted(dataset, tmp_path / "gone", DilateErode(50.0, 50.0, "mm"))[0]
    assert thick["emptied"] == sum(generator(0, "noise", name).random() >= 0.5 for name in thick["cases"]) > 0


def test_millimetres_without_a_spacing_name_the_file(tmp_path: Path) -> None:
    dataset = open_dataset(build_folder(tmp_path / "data"))
    with pytest.raises(DataError, match=r"case000\.png: says nothing of its spacing.*NIfTI.*unit=px"):
        corrupt_dataset(dataset, tmp_path / "out", DilateErode(1, 2, "mm"), seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    corrupt_dataset(dataset, tmp_path / "out", DilateErode(1, 2), seed=0)


def test_what_is_refused(tmp_path: Path) -> None:
    dataset = open_dataset(build_folder(tmp_path / "data"))
    trusted = replace(dataset, cases=tuple(replace(case, trusted=True) for case in dataset.cases))
    for options, says in (
        ({"dataset": trusted}, "has no case to corrupt"),
        ({"share": 0}, "`share`: is 0"),
        ({"share": 1.01}, "`share`: is 1.01"),
        ({"noise": Shift(), "target_dice": 0.8}, "`dice`: does not apply to shift"),
        ({"noise": DilateErode(1, 2, "mm"), "target_dice": 0.8}, "`dice`: does not apply to distances in mm"),
        ({"target_dice": 1.5}, "cannot be reached"),
    ):
        arguments: dict[str, Any] = {"dataset": dataset, "noise": NOISE, "seed": 0, "out": tmp_path / "out", **options}
        with pytest.raises(DataError, match=says):
            corrupt_dataset(**arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
