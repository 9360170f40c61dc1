"""``debride predict`` on a large volume, and how much memory it takes.

Run ``python -m benchmarks.large_volume`` (Linux, ten minutes of one core). A volume in .nii.gz and a run with untrained weights
are made; a child process runs ``debride predict`` on them, and its peak of resident memory, the kernel's VmHWM, is read as
``benchmarks/memory.py`` does. The first row is a child that only imports debride with torch and MONAI and builds the network.
With a sliding window a prediction holds, in 4 bytes per voxel, the image's channels, a probability for each class, and the sum
of the windows' weights: "stitching". What is beyond that and the first row is the network at work on its windows.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.memory import MB, import_only, peak_of


def make_volume(file: Path, shape: tuple[int, int, int], seed: int = 0) -> None:
    """Writes a volume (D, H, W) of int16: an ellipsoid in waves and noise."""
    import nibabel as nib

    rng = np.random.default_rng(seed)
    axes = np.ix_(*(np.linspace(-1, 1, length, dtype=np.float32) for length in shape))
    inside = sum((axis / np.float32(0.6)) ** 2 for axis in axes) <= 1
    image = np.multiply(inside, 300, dtype=np.int16)
    image += (100 * np.sin(9 * axes[0]) * np.cos(7 * axes[1])).astype(np.int16)
    image += rng.integers(-80, 80, shape, np.int16)
    file.parent.mkdir(parents=True, exist_ok=True)
    make_nifti: Any = nib.Nifti1Image
    nib.save(make_nifti(image.T, np.eye(4)), file)


def untrained_run(run: Path, classes: int, **settings: Any) -> None:
    """Writes a run that can predict volumes of one channel, with weights that were never trained."""
    from debride.data.augmentation import Augmentation
    from debride.data.cache import Prepared
    from debride.files import write_json
    from debride.methods import METHODS
    from debride.training.checkpoint import save_weights
    from debride.training.config import TrainConfig
    from debride.training.job import Job, describe, make_method
    from debride.types import Dataset

    job = Job(
        dataset=Dataset(run, "nnunet", tuple(f"class {number}" for number in range(classes)), (), 3),
        method="ce",
        method_config=METHODS["ce"].Config(),
        config=TrainConfig(**settings),
        augmentation=Augmentation(),
        out=run,
    )
    method, nothing = make_method(job, 1), Prepared((), 1, (), (), (), ())
    write_json(run / "run.json", describe(job, nothing, nothing, method))
    save_weights(method, run / "weights" / "best.safetensors")


def predict(root: Path, threads: int, options: Sequence[str] = ()) -> None:
    """``debride predict`` of ``root/images`` by ``root/run`` to ``root/masks`` with these options; raises if it fails."""
    import torch

    from debride.cli import main

    torch.set_num_threads(threads)
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        code = main(["predict", *map(str, (root / "run", root / "images")), "--out", str(root / "masks"), *options])
    if code:
        sys.exit(code)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=[300, 512, 512], help="D H W (default: 300 512 512)")
    parser.add_argument("--classes", type=int, default=2, help="default: 2")
    parser.add_argument("--patch", type=int, nargs=3, default=[96, 160, 160], help="default: 96 160 160")
    parser.add_argument("--network", default="unet-small", help="default: unet-small")
    parser.add_argument("--width", type=int, default=4, help="of the network (default: 4)")
    parser.add_argument("--intensity", default="zscore", help="default: zscore")
    parser.add_argument("--spacing", type=float, nargs=3, help="of the working image; voxels of the volume have 1 mm")
    parser.add_argument("--crop", action="store_true")
    parser.add_argument("--threads", type=int, default=1, help="default: 1")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="for the volume and its mask")
    args, options = parser.parse_known_args()  # what is left are options of predict
    settings = {name: getattr(args, name) for name in ("network", "width", "intensity", "crop")}
    settings |= {name: value and tuple(value) for name, value in (("patch_size", args.patch), ("spacing", args.spacing))}
    with tempfile.TemporaryDirectory(prefix="debride-volume-", dir=args.folder) as folder:
        root = Path(folder)
        make_volume(root / "images" / "volume.nii.gz", tuple(args.shape))
        untrained_run(root / "run", args.classes, **settings)
        print(f"{'peak, in MB':24}{'stitching':>11}{'resident':>11}{'seconds':>11}")
        base = peak_of(import_only, args.width)
        print(f"{'imports and network':24}{'':>11}{base.resident:>11.0f}{base.seconds:>11.0f}", flush=True)
        seen = peak_of(predict, root, args.threads, ["--device", "cpu", "--trust-code", *options])
        voxels = math.prod(round(n / mm) for n, mm in zip(args.shape, args.spacing or (1, 1, 1), strict=True))
        stitching = 4 * (1 + args.classes + 1) * voxels / MB
        name = f"predict, {args.classes} classes"
        print(f"{name:24}{stitching:>11.0f}{seen.resident:>11.0f}{seen.seconds:>11.0f}")


if __name__ == "__main__":
    main()
