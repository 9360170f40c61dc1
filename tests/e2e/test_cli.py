"""The command line as a user meets it: every verb, on every kind of data set, by its exit code, its words and its files."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from tests.datasets import SPACING, build_folder, build_manifest, build_nnunet_2d, build_nnunet_3d, save_json, save_png
from tests.e2e.conftest import Command
from tests.training_jobs import TEST_METHODS

from debride.cli import main
from debride.data.open import open_dataset
from debride.data.pixels.images import read_label, read_values
from debride.files import read_jsonl
from debride.folders import LOCK
from debride.methods import METHODS
from debride.noise import NOISES
from debride.noise.strength import changed_rate, label_dice

SMALL = ["--epochs", 1, "--batch-size", 4, "--network", "unet-small", "--width", 4, "--device", "cpu", "--log-to", "none"]
IN_PLANE = ["--image-size", 32, 32]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set of pictures (masks 0 and 255) in ``data`` and a training on it in ``run``."""
    root = tmp_path_factory.mktemp("trained")
    build_folder(root / "data", n=8)
    before = contents(root / "data")
    words = ["train", "ce", root / "data", "--out", root / "run", *SMALL, *IN_PLANE]
    assert main([str(word) for word in words]) == 0
    assert contents(root / "data") == before
    return root


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def described(run: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((run / "run.json").read_text())
    return value


# check


def test_check_of_a_sound_data_set(debride: Command, tmp_path: Path) -> None:
    answer = debride("check", build_nnunet_2d(tmp_path / "data"))
    assert (answer.code, answer.err) == (0, "")
    assert "no problems. nnunet, 2D, classes background, part_1, part_2, part_3" in answer.out
    assert "4 train, 2 val, 2 test" in answer.out


def test_check_names_each_file_and_its_remedy(debride: Command, tmp_path: Path) -> None:
    root = build_folder(tmp_path / "data").resolve()
    (root / "masks" / "case001.png").unlink()
    save_png(root / "masks" / "case002.png", np.full((16, 16), 255, np.uint8))
    answer = debride("check", root)
    assert answer.code == 1
    first, second = answer.out.splitlines()
    assert first.startswith(f"{root}/images/case001.png: has no label. Add its label")
    assert second.startswith(f"{root}/masks/case002.png: does not lie on the grid of its image case002.png: ")
    assert answer.err == "2 problems found.\n"


def test_check_takes_the_options_of_the_data_set(debride: Command, tmp_path: Path) -> None:
    root = build_nnunet_2d(tmp_path / "data")
    (tmp_path / "trusted.txt").write_text("nobody\n")
    assert "'nobody'" in debride("check", root, "--trusted", tmp_path / "trusted.txt").out
    assert "has no fold 3" in debride("check", root, "--fold", 3).out
    assert "7 patients" not in debride("check", root, "--patient-pattern", "^(p..)").out


# corrupt


@pytest.mark.parametrize("build", [build_folder, build_nnunet_2d, build_nnunet_3d, build_manifest])
def test_corrupt_writes_a_complete_copy_and_what_it_did(
    build: Callable[[Path], Path], debride: Command, tmp_path: Path
) -> None:
    source = open_dataset(build(tmp_path / "data"))
    before = contents(source.root)
    words = ["--noise", "markov", "--set", "steps=30", "preference=0.1", "variance=0.2", "--seed", 3]
    answer = debride("corrupt", source.root, tmp_path / "noisy", *words)
    assert answer.code == 0, answer.err
    assert contents(source.root) == before
    noisy, report = open_dataset(tmp_path / "noisy"), json.loads((tmp_path / "noisy" / "noise.json").read_text())
    assert [(c.id, c.split, c.patient, c.trusted) for c in noisy.cases] == [
        (c.id, c.split, c.patient, c.trusted) for c in source.cases
    ]
    assert report["parameters"] == {"steps": 30, "preference": 0.1, "variance": 0.2}
    assert (report["noise"], report["seed"], report["target_dice"], report["splits"]) == ("markov", 3, None, ["train", "val"])
    corrupted = {c.id for c in source.of("train", "val") if not c.trusted}
    assert set(report["cases"]) == corrupted
    assert report["trusted"] == [c.id for c in source.cases if c.trusted]
    for old, new in zip(source.cases, noisy.cases, strict=True):
        assert [path.read_bytes() for path in old.image] == [path.read_bytes() for path in new.image]
        if old.label is None or new.label is None:
            continue
        if old.id not in corrupted:
            assert old.label.read_bytes() == new.label.read_bytes()
            continue
        labels = read_label(old.label, source)[0], read_label(new.label, noisy)[0]
        record = report["cases"][old.id]
        assert record["dice"] == pytest.approx(label_dice(*labels, len(source.classes)))
        assert record["changed"] == pytest.approx(changed_rate(*labels)) and record["changed"] > 0
        assert record["shape"] == list(labels[0].shape)
    records = list(report["cases"].values())
    assert report["mean_dice"] == pytest.approx(np.mean([record["dice"] for record in records]))
    assert report["mean_changed"] == pytest.approx(np.mean([record["changed"] for record in records]))
    assert (
        f"{len(corrupted)} labels corrupted by markov" in answer.out and f"label Dice {report['mean_dice']:.3f}" in answer.out
    )


def test_corrupt_spares_trusted_cases_and_other_splits(debride: Command, tmp_path: Path) -> None:
    source = open_dataset(build_folder(tmp_path / "data", n=8))
    (tmp_path / "trusted.txt").write_text("case001\ncase004\n")
    words = ["--noise", "dilate-erode", "--set", "nearest=3", "farthest=3", "--splits", "train"]
    answer = debride("corrupt", source.root, tmp_path / "noisy", *words, "--trusted", tmp_path / "trusted.txt")
    assert answer.code == 0 and "2 trusted cases spared" in answer.out
    report = json.loads((tmp_path / "noisy" / "noise.json").read_text())
    assert report["trusted"] == ["case001", "case004"]
    changed = {
        path.stem
        for path in (source.root / "masks").iterdir()
        if path.read_bytes() != (tmp_path / "noisy" / "masks" / path.name).read_bytes()
    }
    assert changed == set(report["cases"]) == {c.id for c in source.of("train")} - {"case001", "case004"}
    assert not any(case.trusted for case in open_dataset(tmp_path / "noisy").cases), "the data set marks none itself"
    assert "noisy does not mark the cases that --trusted named: name that file again" in answer.err
    again = open_dataset(tmp_path / "noisy", trusted=tmp_path / "trusted.txt")  # as the note says
    assert [case.id for case in again.cases if case.trusted] == ["case001", "case004"]


def test_corrupt_to_a_wanted_dice(debride: Command, tmp_path: Path) -> None:
    build_folder(tmp_path / "data", n=12)
    answer = debride("corrupt", tmp_path / "data", tmp_path / "noisy", "--noise", "markov", "--dice", 0.8)
    assert answer.code == 0
    report = json.loads((tmp_path / "noisy" / "noise.json").read_text())
    assert report["target_dice"] == 0.8
    assert report["parameters"]["steps"] != 200
    assert report["mean_dice"] == pytest.approx(0.8, abs=0.05)


def test_corrupt_a_share_the_smaller_within_the_larger(debride: Command, tmp_path: Path) -> None:
    build_folder(tmp_path / "data", n=12)
    cases = {}
    for share in (0.3, 0.6):
        assert debride("corrupt", tmp_path / "data", tmp_path / f"{share}", "--noise", "shift", "--share", share).code == 0
        cases[share] = json.loads((tmp_path / f"{share}" / "noise.json").read_text())["cases"]
    assert (len(cases[0.3]), len(cases[0.6])) == (3, 6)
    assert cases[0.3].items() <= cases[0.6].items()


# train, predict, evaluate


def test_train_leaves_a_run(trained: Path) -> None:
    run = trained / "run"
    assert {path.name for path in run.iterdir() if path.name != LOCK} == {"run.json", "metrics.jsonl", "weights", "resume"}
    (record,) = read_jsonl(run / "metrics.jsonl")
    assert record["epoch"] == 1 and record["step"] == 2 and np.isfinite(record["train"]["loss"])
    assert record["best"] == {"epoch": 1, "dice": record["val"]["dice"]}
    description = described(run)
    assert [name for name, *_ in description["train"]] == [c.id for c in open_dataset(trained / "data").of("train")]
    assert description["values"] == {"0": 0, "255": 1} and description["training"]["image_size"] == [32, 32]


def test_predicted_masks_have_the_raw_values_of_the_data_set(trained: Path, debride: Command, tmp_path: Path) -> None:
    answer = debride("predict", trained / "run", trained / "data", "--out", tmp_path / "masks", "--probabilities")
    assert answer.code == 0 and "1 masks" in answer.out
    (case,) = open_dataset(trained / "data").of("test")
    assert {path.name for path in (tmp_path / "masks").glob("[!.]*")} == {f"{case.id}.png", f"{case.id}.npy"}
    mask = np.asarray(Image.open(tmp_path / "masks" / f"{case.id}.png"))
    probability = np.load(tmp_path / "masks" / f"{case.id}.npy")
    assert set(np.unique(mask)) <= {0, 255}
    np.testing.assert_array_equal(probability.argmax(axis=0) * 255, mask)
    np.testing.assert_allclose(probability.sum(axis=0), 1, rtol=1e-5)
    assert debride("evaluate", tmp_path / "masks", trained / "data", "--out", tmp_path / "evaluation").code == 0
    assert case.label is not None
    reference = read_values(case.label)[0] > 0
    dice = 2 * (reference & (mask > 0)).sum() / (reference.sum() + (mask > 0).sum())
    assert json.loads((tmp_path / "evaluation" / "summary.json").read_text())["mean_dice"] == pytest.approx(dice)


def test_predict_a_folder_of_plain_pictures_of_other_sizes(trained: Path, debride: Command, tmp_path: Path) -> None:
    """Among them names that end in four digits, which are no channels here: the network reads colour pictures."""
    sizes = {"video_0001": (20, 50), "video_0002": (32, 32), "video_0003": (41, 33)}
    for name, size in sizes.items():
        save_png(tmp_path / "pictures" / f"{name}.png", np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8))
    (tmp_path / "pictures" / "notes.txt").write_text("not a picture")
    answer = debride("predict", trained / "run", tmp_path / "pictures", "--out", tmp_path / "masks", "--probabilities")
    assert answer.code == 0, answer.err
    assert {path.stem: np.asarray(Image.open(path)).shape for path in (tmp_path / "masks").glob("*.png")} == sizes
    for path in (tmp_path / "masks").glob("*.npy"):
        np.testing.assert_array_equal(np.load(path).argmax(axis=0) * 255, np.asarray(Image.open(path.with_suffix(".png"))))


def test_predict_names_that_hold_an_at_sign(trained: Path, debride: Command, tmp_path: Path) -> None:
    """In a folder they are names; only a manifest has raters."""
    build_folder(tmp_path / "data", splits=False)
    for old, new in (("case000", "scan@1"), ("case001", "scan@2")):
        for kind in ("images", "masks"):
            (tmp_path / "data" / kind / f"{old}.png").rename(tmp_path / "data" / kind / f"{new}.png")
    assert debride("predict", trained / "run", tmp_path / "data", "--out", tmp_path / "masks").code == 0
    names = {path.stem for path in (tmp_path / "masks").glob("[!.]*")}
    assert names == {"scan@1", "scan@2", "case002", "case003", "case004", "case005"}


def test_predict_with_chosen_weights(trained: Path, debride: Command, tmp_path: Path) -> None:
    for which in ("best", "last", "1"):
        assert debride("predict", trained / "run", trained / "data", "--out", tmp_path / which, "--checkpoint", which).code == 0
    assert contents(tmp_path / "best") == contents(tmp_path / "last") == contents(tmp_path / "1")


def test_nnunet_pictures_with_an_ignore_label(debride: Command, tmp_path: Path) -> None:
    root = build_nnunet_2d(tmp_path / "data")
    description = json.loads((root / "dataset.json").read_text())
    save_json(root / "dataset.json", description | {"labels": description["labels"] | {"ignore": 4}})
    for path in sorted((root / "labelsTr").iterdir()):
        label = np.asarray(Image.open(path)).copy()
        label[:20] = 4
        save_png(path, label)
    assert debride("train", "ce", root, "--out", tmp_path / "run", *SMALL, *IN_PLANE).code == 0
    (record,) = read_jsonl(tmp_path / "run" / "metrics.jsonl")
    assert np.isfinite(record["train"]["loss"]) and 0 <= record["val"]["dice"] <= 1
    assert described(tmp_path / "run")["ignore"] == 4
    assert debride("predict", tmp_path / "run", root, "--out", tmp_path / "masks").code == 0
    assert {path.name for path in (tmp_path / "masks").glob("[!.]*")} == {"p03_s0.png", "p03_s1.png"}
    assert all((np.asarray(Image.open(path)) < 4).all() for path in (tmp_path / "masks").glob("[!.]*"))
    assert debride("evaluate", tmp_path / "masks", root, "--out", tmp_path / "evaluation").code == 0


@pytest.mark.parametrize("spacing", [[], ["--spacing", 2, 2, 2]], ids=["own grid", "resampled"])
def test_nnunet_volumes_by_patches(spacing: list[object], debride: Command, tmp_path: Path) -> None:
    root = build_nnunet_3d(tmp_path / "data")
    words = [*SMALL, "--patch-size", 8, 16, 16, *spacing]
    answer = debride("train", "ce", root, "--out", tmp_path / "run", *words)
    assert answer.code == 0, answer.err
    assert debride("predict", tmp_path / "run", root, "--out", tmp_path / "masks", "--probabilities").code == 0
    mask: Any = nib.load(tmp_path / "masks" / "vol05.nii.gz")
    image: Any = nib.load(root / "imagesTs" / "vol05_0000.nii.gz")
    assert mask.shape == image.shape == (20, 16, 6)
    np.testing.assert_array_equal(mask.affine, image.affine)
    assert mask.header.get_zooms() == SPACING[::-1]
    values = np.asarray(mask.dataobj)
    assert set(np.unique(values)) <= {0, 1, 2}
    probability = np.load(tmp_path / "masks" / "vol05.npy")
    assert probability.shape == (3, 6, 16, 20)
    np.testing.assert_array_equal(probability.argmax(axis=0).T, values)


def test_predict_a_folder_of_channel_files(debride: Command, tmp_path: Path) -> None:
    """Channels are put together as nnU-Net names them, without any dataset.json."""
    root = build_nnunet_3d(tmp_path / "data")
    assert debride("train", "ce", root, "--out", tmp_path / "run", *SMALL, "--patch-size", 8, 16, 16).code == 0
    assert debride("predict", tmp_path / "run", root / "imagesTs", "--out", tmp_path / "masks").code == 0
    assert [path.name for path in (tmp_path / "masks").glob("[!.]*")] == ["vol05.nii.gz"]


def test_several_raters(debride: Command, tmp_path: Path) -> None:
    root = build_manifest(tmp_path / "data", n=6)
    words = ["--cache", tmp_path / "cache", *SMALL, *IN_PLANE]
    assert debride("train", "ce", root, "--out", tmp_path / "run", *words).code == 0
    description = described(tmp_path / "run")
    assert [name for name, *_ in description["train"]] == [f"scan{i}@rater{r}" for i in range(4) for r in (1, 2, 3)]
    assert len({image for _, image, _ in description["train"]}) == 4, "raters of an image share its working image"
    assert description["trusted"] == ["scan0@rater1"]
    assert debride("predict", tmp_path / "run", root, "--out", tmp_path / "masks").code == 0
    assert {path.name for path in (tmp_path / "masks").glob("[!.]*")} == {f"scan{i}.png" for i in range(6)}
    answer = debride("evaluate", tmp_path / "masks", root, "--out", tmp_path / "evaluation", "--splits", "train", "val")
    assert answer.code == 0 and "| foreground |" in answer.out
    with (tmp_path / "evaluation" / "cases.csv").open() as file:
        assert len([row["case"] for row in csv.DictReader(file)]) == 6 * 3


def test_settings_from_a_file_and_options_before_them(trained: Path, debride: Command, tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text(
        "training: {epochs: 3, width: 4, network: unet-small, device: cpu, image_size: [32, 32], precision: bf16, clip: none}\n"
        "augmentation: {rotate: 10, flip: []}\n"
        "method: {q: 0.5}\n"
    )
    words = [
        "--config",
        tmp_path / "settings.yaml",
        "--epochs",
        1,
        "--augment-rotate",
        20,
        "--trusted",
        tmp_path / "trusted.txt",
    ]
    (tmp_path / "trusted.txt").write_text("case002\n")
    assert debride("train", "gce", trained / "data", "--out", tmp_path / "a", *words).code == 0
    first = described(tmp_path / "a")
    training = first["training"]
    assert (training["epochs"], training["width"], training["precision"], training["clip"]) == (1, 4, "bf16", None)
    assert training["learning_rate"] == 0.01, "neither in the file nor an option"
    assert (first["augmentation"]["rotate"], first["augmentation"]["flip"], first["augmentation"]["zoom"]) == (
        20,
        [],
        [0.7, 1.4],
    )
    assert (first["method"], first["method_config"], first["trusted"]) == ("gce", {"q": 0.5}, ["case002"])
    assert (tmp_path / "a" / "tensorboard").is_dir()
    words += ["--q", "0.9", "--clip", "none", "--augment-flip", "none", "--log-to", "none", "--seed", "9007199254740993"]
    assert debride("train", "gce", trained / "data", "--out", tmp_path / "b", *words).code == 0
    second = described(tmp_path / "b")
    assert second["method_config"] == {"q": 0.9} and second["augmentation"]["flip"] == []
    assert second["training"]["seed"] == 9007199254740993
    assert not (tmp_path / "b" / "tensorboard").exists()


def test_resume_a_finished_training_does_nothing(trained: Path, debride: Command) -> None:
    before = contents(trained / "run")
    answer = debride("train", "ce", trained / "data", "--out", trained / "run", "--resume", *SMALL, *IN_PLANE)
    assert (answer.code, answer.out) == (0, "")
    assert contents(trained / "run") == before


# methods and help


def test_methods_are_listed_and_described(debride: Command) -> None:
    answer = debride("methods")
    assert answer.code == 0
    for name in {*METHODS, *NOISES} - {*TEST_METHODS}:
        assert f"\n  {name} " in answer.out
    for name, method in METHODS.items():
        answer = debride("methods", name)
        assert answer.code == 0 and method.paper.title in answer.out
        assert all(deviation in answer.out for deviation in method.paper.deviations)
    assert re.search(r"--q +0\.7 +From cross-entropy.*\(above 0 and at most 1\)\n", debride("methods", "gce").out)


@pytest.mark.parametrize("verb", ["", "check", "corrupt", "train", "predict", "evaluate", "methods", "bench", "demo"])
def test_help(verb: str, debride: Command) -> None:
    answer = debride(*filter(None, [verb]), "--help")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith(f"usage: debride {verb}".rstrip())


def test_help_of_a_method_and_none_without_a_verb(debride: Command) -> None:
    assert "--log-zero X" in debride("train", "sce", "data", "--help").out
    assert "--log-zero" not in debride("train", "gce", "data", "--help").out
    assert debride().code == 2
    assert debride("--version").out.startswith("debride ")


def test_help_and_lists_import_nothing_heavy() -> None:
    code = """
import sys
from debride.cli import main
listed = (["methods"], ["methods", "co-teaching"], ["methods", "--markdown"])
for words in (["--help"], ["train", "--help"], ["corrupt", "--help"], *listed):
    assert main(words) == 0
loaded = {"torch", "monai", "numpy", "scipy", "lightning_fabric", "matplotlib"} & set(sys.modules)
sys.exit(f"imported {loaded}" if loaded else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("buffering", ["", "1"])
def test_output_to_a_closed_pipe(buffering: str) -> None:
    """As in ``debride methods | head -1``, when the reader has gone: no message, no traceback, at once or at the end."""
    code = "import time; time.sleep(0.3); from debride.cli import main; raise SystemExit(main(['--help']))"
    command = f'{sys.executable} -c "{code}" | true; exit ${{PIPESTATUS[0]}}'
    environment = {**os.environ, "PYTHONUNBUFFERED": buffering}
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, "")
