"""Time, memory and disk of the verbs that are long, by the number of volumes and for volumes of the size of a clinic.

    python -m benchmarks.cluster_sizes --cases 100 10000 --large 2

Small volumes in many files show what grows with their number: the memory of the process that puts results together, and its
time for each. Large ones show what one volume takes of a core. Images are waves and noise, labels ellipsoids, predictions the
labels blurred; networks were never trained. Each verb is a process of its own, and with ``--jobs 1`` it does all by itself.
"CPU" is time of the processor, whatever else the machine does. With ``--cluster`` jobs of that cluster do the cases, and what
is told is what the process takes that submits them.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from benchmarks.audit_memory import blurred, ellipses
from benchmarks.large_volume import untrained_run

RUN = """
import re, resource, sys
from pathlib import Path
from debride.cli import main
code = main(sys.argv[1:])
used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
used = sum(each.ru_utime + each.ru_stime for each in used)
print("used", used, int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024)
sys.exit(code)
"""
CLUSTER_VERBS = ("corrupt", "audit", "predict")


def write_set(root: Path, count: int, shape: tuple[int, int, int], zipped: bool) -> None:
    """``data``, in nnU-Net's layout, and ``predictions``: float16 probabilities."""
    import nibabel as nib

    rng, suffix = np.random.default_rng(0), ".nii.gz" if zipped else ".nii"
    for folder in ("data/imagesTr", "data/labelsTr", "predictions"):
        (root / folder).mkdir(parents=True)
    names = [f"case{number:06d}" for number in range(count)]
    labels = [ellipses(shape, 2, rng) for _ in range(min(count, 20))]
    soft = [blurred(label, 2) for label in labels]
    waves = 100 * np.sin(9 * np.linspace(-1, 1, shape[0]))[:, None, None] * np.ones(shape, np.float32)

    def save(path: Path, voxels: npt.NDArray[Any]) -> None:
        image: Any = nib.Nifti1Image  # type: ignore[attr-defined]
        data = image(voxels.T, np.diag([0.8, 0.8, 1.0, 1.0])).to_bytes()
        path.write_bytes(gzip.compress(data, 1) if zipped else data)

    for number, name in enumerate(names):
        label = labels[number % len(labels)]
        image = (np.int16(300) * label + waves + rng.integers(-40, 40, shape)).astype(np.int16)
        save(root / f"data/imagesTr/{name}_0000{suffix}", image)
        if number % 10 == 0:
            label = label.copy()
            label[:2, :4, :4] = 1
        save(root / f"data/labelsTr/{name}{suffix}", label)
        np.save(root / f"predictions/{name}.npy", soft[number % len(soft)])
    described: dict[str, Any] = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "object": 1}}
    described |= {"numTraining": count, "file_ending": suffix}
    (root / "data/dataset.json").write_text(json.dumps(described))
    (root / "data/splits_final.json").write_text(json.dumps([{"train": names[:-1], "val": names[-1:]}]))


def commands(root: Path, patch: Sequence[int], arguments: argparse.Namespace) -> dict[str, list[object]]:
    """The words of each verb."""
    data, many = root / "data", ["--jobs", arguments.jobs]
    training = ["--epochs", 1, "--steps-per-epoch", 2, "--batch-size", 2, "--network", "unet-small", "--width", 4]
    training += ["--patch-size", *patch, "--device", "cpu", "--log-to", "none", "--cache", root / "cache"]
    planted = ["--planted", arguments.planted]
    return {
        "corrupt": ["corrupt", data, root / "corrupt", "--noise", "dilate-erode", *many],
        "audit": ["audit", data, "--predictions", root / "predictions", "--out", root / "audit", *planted, *many],
        "predict": ["predict", root / "run", data, "--splits", "train", "--out", root / "predict", "--device", "cpu", *many],
        "train": ["train", "ce", data, "--out", root / "train", *training, *many],
        "train, state": ["train", "adele", data, "--out", root / "train, state", *training, *many],
    }


def measured(words: list[object], log: Path) -> tuple[float, float, int]:
    """Seconds of a verb by the clock and of the processor, and the peak memory in MB of its process."""
    begun = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", RUN, *map(str, words)], check=False, capture_output=True, text=True)
    seconds = time.perf_counter() - begun
    log.write_text(done.stdout + done.stderr)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    used, peak = done.stdout.rsplit("used", 1)[1].split()
    return seconds, float(used), int(peak)


def disk_of(*folders: Path) -> tuple[int, float]:
    """Files in folders, and MB of disk that they take."""
    files = [file.stat() for folder in folders for file in folder.rglob("*") if file.is_file()]
    return len(files), sum(512 * file.st_blocks for file in files) / 1e6


def measure(count: int, shape: tuple[int, int, int], arguments: argparse.Namespace, large: bool) -> None:
    """A row for each verb."""
    with tempfile.TemporaryDirectory(prefix="debride-sizes-", dir=arguments.folder) as folder:
        root = Path(folder)
        patch = [min(length, most) for length, most in zip(shape, (96, 160, 160), strict=True)] if large else [16, 16, 16]
        write_set(root, count, shape, zipped=large)
        untrained_run(root / "run", 2, network="unet-small", width=4, intensity="zscore", patch_size=tuple(patch))
        for verb, words in commands(root, patch, arguments).items():
            if verb not in arguments.verbs:
                continue
            if verb in CLUSTER_VERBS and arguments.cluster:
                words += ["--cluster", arguments.cluster, "--cluster-option", *arguments.cluster_option]
            seconds, used, peak = measured(words, root / "log")
            files, size = disk_of(root / verb, *([root / "cache"] if verb == "train" else []))
            what = f"{count:,} of {' x '.join(map(str, shape))}"
            print(
                f"| {verb} | {what} | {seconds:.0f} | {used:.1f} | {1000 * used / count:.1f} | {peak} | {files} | {size:.0f} |"
            )
            sys.stdout.flush()


def main() -> None:
    verbs = ("corrupt", "audit", "predict", "train", "train, state")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, nargs="*", default=[100, 10000], help="numbers of small volumes")
    parser.add_argument("--shape", type=int, nargs=3, default=[8, 16, 16], help="of the small ones")
    parser.add_argument("--large", type=int, default=0, help="number of large volumes, two at least")
    parser.add_argument("--large-shape", type=int, nargs=3, default=[300, 512, 512])
    parser.add_argument("--planted", type=int, default=300, help="cases that an audit plants errors into")
    parser.add_argument("--verbs", nargs="+", choices=verbs, default=verbs)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--cluster", choices=["slurm", "ray"])
    parser.add_argument("--cluster-option", nargs="+", default=["at_once=2"])
    parser.add_argument("--folder", type=Path, help="for all that is written (default: a temporary folder)")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    heads = ["verb", "volumes", "s", "CPU s", "CPU ms a volume", "peak, MB", "files", "MB of disk"]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}", flush=True)
    for count in arguments.cases:
        measure(count, tuple(arguments.shape), arguments, large=False)
    if arguments.large:
        measure(arguments.large, tuple(arguments.large_shape), arguments, large=True)


if __name__ == "__main__":
    main()
