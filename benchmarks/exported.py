"""Masks of exported runs against those of ``debride predict``, pixel by pixel, on real images: docs/export.md.

``DEBRIDE_DATA=... python -m benchmarks.exported --out FOLDER`` trains three small runs in FOLDER, in ten minutes of two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from tests import exported_numpy

from debride.cli import main as verb
from debride.data.open import open_dataset
from debride.data.pixels.images import read_image, read_values
from debride.types import Case

COMMON = "--device cpu --learning-rate 0.05 --width 8"
TRAINED = {
    "kvasir": f"ce --epochs 30 --image-size 64 64 --network unet-small {COMMON}",
    "acdc": f"co-teaching --epochs 8 --patch-size 64 64 --intensity percentile:1:99 --noise-rate 0.1 {COMMON}",
    "atrium": "ce --epochs 4 --patch-size 32 48 48 --spacing 2.5 2.0 2.0 --crop --steps-per-epoch 20 --network unet-small "
    f"--batch-size 2 --intensity percentile:1:99 {COMMON}",
}
"""The method and the settings of each run."""

APART = """
import sys, glob, os
import numpy as np, torch, monai.bundle
root = sys.argv[1]
model = torch.jit.load(root + "/torchscript/model.ts")
for file in glob.glob(root + "/arrays/*.npz"):
    held = np.load(file)
    np.save(file[:-4] + ".npy", model.predict(torch.from_numpy(held["image"]), held["spacing"].tolist()).numpy())
bundle = root + "/monai-bundle"
monai.bundle.run(config_file=bundle + "/configs/inference.json", bundle_root=bundle, dataset_dir=root + "/images",
                 output_dir=root + "/bundled")
assert "debride" not in sys.modules
"""
"""What is done by a process that knows nothing of debride."""


def data() -> Path:
    """Where the real data sets are."""
    return Path(os.environ["DEBRIDE_DATA"])


def kvasir(out: Path) -> None:
    """The first 24 pictures to train on, eight to validate and eight to predict."""
    source, chosen = data() / "kvasir-seg", {}
    for split, ids in json.loads((source / "splits.json").read_text()).items():
        chosen[split] = ids[: 24 if split == "train" else 8]
        for part in ("images", "masks"):
            (out / part).mkdir(parents=True, exist_ok=True)
            for file in (file for case in chosen[split] for file in (source / part).glob(f"{case}.*")):
                (out / part / file.name).symlink_to(file)
    (out / "splits.json").write_text(json.dumps(chosen))


def nnunet(out: Path, name: str, ending: str, every: slice) -> None:
    """Some cases of a set in nnU-Net's layout."""
    source = data() / "nnUNet_raw" / name
    ids = sorted(file.name.removesuffix(ending) for file in (source / "labelsTr").glob(f"*{ending}"))[every]
    files = [("labelsTr", case + ending) for case in ids] + [("imagesTr", f"{case}_0000{ending}") for case in ids]
    for part, file in files:
        (out / part).mkdir(parents=True, exist_ok=True)
        (out / part / file).symlink_to(source / part / file)
    told = json.loads((source / "dataset.json").read_text())
    (out / "dataset.json").write_text(json.dumps({**told, "numTraining": len(ids)}))


def compare(root: Path) -> str:
    """The row of a run in ``root``: its pixels, those of foreground, and how many differ by each form."""
    run, data = root / "run", root / "data"
    verb(["predict", str(run), str(data), "--out", str(root / "masks")])
    for form in ("onnx", "torchscript", "monai-bundle"):
        verb(["export", str(run), "--to", form, "--out", str(root / form)])
    masks = {file.name.split(".")[0]: file for file in (root / "masks").iterdir() if not file.name.startswith(".")}
    cases: list[Case] = [case for case in open_dataset(data).cases if case.id in masks]
    for folder in ("images", "arrays"):
        (root / folder).mkdir()
    for case in cases:
        for file in case.image:
            (root / "images" / file.name).symlink_to(file.resolve())
        image, geometry = read_image(case.image)
        np.savez(root / "arrays" / f"{case.id}.npz", image=np.ascontiguousarray(image), spacing=geometry.spacing or ())
    environment = {key: text for key, text in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run([sys.executable, "-c", APART, str(root)], env=environment, check=True, capture_output=True)
    pixels = foreground = 0
    differ = {"onnx": 0, "torchscript": 0, "bundle": 0}
    for case in cases:
        expected, geometry = read_values(masks[case.id])
        image, _ = read_image(case.image)
        differ["onnx"] += int((exported_numpy.predict(root / "onnx", np.asarray(image), geometry.spacing) != expected).sum())
        differ["torchscript"] += int((np.load(root / "arrays" / f"{case.id}.npy") != expected).sum())
        differ["bundle"] += int((read_values(root / "bundled" / masks[case.id].name)[0] != expected).sum())
        pixels, foreground = pixels + expected.size, foreground + int((expected > 0).sum())
    return f"{root.name}: {len(cases)} cases, {pixels} pixels, {foreground} of foreground, differing: {differ}"


MAKERS = {
    "kvasir": kvasir,
    "acdc": lambda out: nnunet(out, "Dataset102_ACDC", ".png", slice(0, 120, 3)),
    "atrium": lambda out: nnunet(out, "Dataset101_LeftAtrium", ".nii.gz", slice(0, 5)),
}
"""What makes the data set of each run."""


def main() -> None:
    """Trains the runs, and prints a row for each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=[*TRAINED], choices=[*TRAINED])
    parser.add_argument("--epochs", type=int, help="instead of those of each run")
    arguments = parser.parse_args()
    rows = []
    for name in arguments.sets:
        root = arguments.out / name
        MAKERS[name](root / "data")
        method, *settings = TRAINED[name].split()
        epochs = ["--epochs", str(arguments.epochs)] if arguments.epochs else []
        verb(["train", method, str(root / "data"), "--out", str(root / "run"), *settings, *epochs])
        rows.append(compare(root))
    print("\n".join(rows))


if __name__ == "__main__":
    main()
