"""Peak memory of `debride audit`: with few and with many cases, and with one large volume.

    python benchmarks/audit_memory.py [--cases 2000] [--fewer 200] [--volume 300 512 512]

Images are noise, labels ellipses, predictions the same ellipses, blurred; every tenth label has an object too many. Each audit
is a process of its own; memory-mapped files count in its peak resident memory while they are read.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image
from scipy import ndimage

RUN = """
import resource, sys
from debride.cli import main
code = main(sys.argv[1:])
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
sys.exit(code)
"""


def ellipses(shape, classes, rng):
    """A label of one ellipse (ellipsoid) for each foreground class."""
    label = np.zeros(shape, np.uint8)
    for number in range(1, classes):
        centre = [rng.uniform(0.3, 0.7) * length for length in shape]
        radii = [rng.uniform(0.08, 0.2) * length for length in shape]
        axes = np.ix_(*(((np.arange(n) - c) / r) ** 2 for n, c, r in zip(shape, centre, radii, strict=True)))
        label[sum(axes) <= 1] = number
    return label


def blurred(label, classes):
    """Probabilities (K, *S) of a label, float16, class by class."""
    soft = [ndimage.gaussian_filter((label == number).astype(np.float32), 1.5).astype(np.float16) for number in range(classes)]
    return np.stack(soft)


def write_pictures(folder, count, side=256):
    rng = np.random.default_rng(0)
    for name in ("data/images", "data/masks", "predictions"):
        (folder / name).mkdir(parents=True)
    (folder / "data/dataset.json").write_text('{"classes": ["background", "a", "b", "c"]}')
    for at in range(count):
        label = ellipses((side, side), 4, rng)
        np.save(folder / f"predictions/case{at:05d}.npy", blurred(label, 4))
        if at % 10 == 0:
            label[side // 64 : 3 * side // 32, side // 64 : 3 * side // 32] = 1
        Image.fromarray(rng.integers(0, 255, label.shape, np.uint8)).save(folder / f"data/images/case{at:05d}.png")
        Image.fromarray(label).save(folder / f"data/masks/case{at:05d}.png")


def write_volumes(folder, shape, count=2):
    rng = np.random.default_rng(0)
    for name in ("data/images", "data/masks", "predictions"):
        (folder / name).mkdir(parents=True)
    (folder / "data/dataset.json").write_text('{"classes": ["background", "a"]}')
    for at in range(count):
        label = ellipses(shape, 2, rng)
        np.save(folder / f"predictions/case{at}.npy", blurred(label, 2))
        label[4:14, 4:40, 4:40] = 1
        image = rng.integers(-1000, 1000, shape, np.int16)
        for name, voxels in (("images", image), ("masks", label)):
            nib.save(nib.Nifti1Image(voxels.T, np.diag([0.8, 0.8, 1.0, 1.0])), folder / f"data/{name}/case{at}.nii")


def peak(folder):
    """Peak memory in MB of an audit of what was written to a folder."""
    command = [sys.executable, "-c", RUN, "audit", str(folder / "data"), "--predictions", str(folder / "predictions")]
    command += ["--out", str(folder / "audit"), "--planted", "50", "--pictures", "20"]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return int(told.rsplit("peak", 1)[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--fewer", type=int, default=200, help="0 leaves them out")
    parser.add_argument("--volume", type=int, nargs=3, default=[300, 512, 512])
    arguments = parser.parse_args()
    print("| data | peak memory, MB |\n| --- | --- |")
    for count in filter(None, (arguments.fewer, arguments.cases)):
        with tempfile.TemporaryDirectory() as folder:
            write_pictures(Path(folder), count)
            print(f"| {count} cases of 256 x 256, 4 classes | {peak(Path(folder))} |", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        write_volumes(Path(folder), tuple(arguments.volume))
        print(f"| volumes of {' x '.join(map(str, arguments.volume))}, 2 classes | {peak(Path(folder))} |")


if __name__ == "__main__":
    main()
