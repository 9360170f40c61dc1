"""A data set ten times the memory limit of its process trains, and four times the cases need no more memory.

Run ``python benchmarks/memory.py`` (Linux, ten minutes; it prints the disk space that it needs in --folder, 27 GB by
default, and frees it at the end).

The data set is made of uncompressed NIfTI volumes in the layout of nnU-Net v2. A child process sets RLIMIT_DATA, which limits
private writable memory (the interpreter, arrays, tensors, stacks; not the pages of mapped files, which the kernel can take
back at any time), and then prepares all cases, trains one epoch on patches and validates with a sliding window. Two more
trainings, on N and 4 N smaller volumes, run without a limit. With ``--large`` it is one volume alone that is larger than the
limit, prepared before without one, and nothing else is measured. The parent samples /proc/PID/status: "anonymous" is RssAnon,
"file" is RssFile + RssShmem, "private" is VmData, which the limit is compared with, each at its largest; "resident" is VmHWM,
the kernel's own record. The first row is a child that only imports debride with torch and MONAI and builds the network.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

MB = 10**6
VALIDATION = 2
SAMPLING = 0.01  # seconds between two looks at a child
CACHE_PER_BYTE = (4 + 1) / (2 + 1)  # float32 image and uint8 label, for an int16 image and a uint8 label


@dataclass(frozen=True)
class Peak:
    """The most memory, in MB, that a process was seen with, and its time in seconds."""

    anonymous: float = 0.0
    file: float = 0.0
    private: float = 0.0
    resident: float = 0.0
    seconds: float = 0.0


def make_dataset(root: Path, cases: int, shape: tuple[int, int, int], val: int = VALIDATION, seed: int = 0) -> int:
    """Writes training cases and ``val`` more as NIfTI volumes, no two alike; returns the bytes of all files."""
    import nibabel as nib

    rng = np.random.default_rng(seed)
    axes = np.ix_(*(np.linspace(-1, 1, length) for length in shape))
    label = (sum((axis / 0.6) ** 2 for axis in axes) <= 1).astype(np.uint8)
    image = (300.0 * label + 100 * np.sin(9 * axes[0]) * np.cos(7 * axes[1]) + rng.normal(0, 40, shape)).astype(np.int16)
    names = [f"case{number:04d}" for number in range(cases + val)]
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    for number, name in enumerate(names):
        shift = tuple(int(rng.integers(-length // 5, length // 5 + 1)) for length in shape)
        for file, array in ((f"imagesTr/{name}_0000.nii", image + np.int16(number)), (f"labelsTr/{name}.nii", label)):
            moved = np.roll(array, shift, axis=(0, 1, 2))
            moved.reshape(-1)[-16:] = [number >> bit & 1 for bit in range(16)]  # tells apart what was shifted alike
            nib.save(nib.Nifti1Image(moved.T, np.eye(4)), root / file)
    labels = {"background": 0, "object": 1}
    description = {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": len(names), "file_ending": ".nii"}
    (root / "dataset.json").write_text(json.dumps(description))
    (root / "splits_final.json").write_text(json.dumps([{"train": names[:cases], "val": names[cases:]}]))
    return sum(file.stat().st_size for file in root.rglob("*") if file.is_file())


def import_only(width: int) -> None:
    """What every training needs before it has seen data."""
    import torch

    import debride.training.fit  # noqa: F401
    from debride.networks import build

    torch.set_num_threads(1)
    build("unet-small", ndim=3, in_channels=1, classes=2, width=width)


def train(root: Path, method: str, patch: tuple[int, ...], batch_size: int, width: int, limit: int | None) -> None:
    """One epoch on ``root/data`` under a limit in bytes; raises if a case was left out or the loss is not finite."""
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    import torch

    from debride.data.augmentation import Augmentation
    from debride.data.open import open_dataset
    from debride.files import read_jsonl
    from debride.methods import METHODS
    from debride.training.config import TrainConfig
    from debride.training.fit import fit
    from debride.training.job import Job

    torch.set_num_threads(1)
    config = TrainConfig(
        epochs=1, batch_size=batch_size, network="unet-small", width=width, patch_size=patch, device="cpu", log_to=()
    )
    dataset = open_dataset(root / "data", val_fraction=0.0)
    job = Job(
        dataset=dataset,
        method=method,
        method_config=METHODS[method].Config(),
        config=config,
        augmentation=Augmentation(),
        out=root / "run",
        cache=root / "cache",
    )
    with contextlib.redirect_stdout(io.StringIO()):
        fit(job)
    (row,) = read_jsonl(root / "run" / "metrics.jsonl")
    assert row["step"] == -(-len(dataset.of("train")) // batch_size) and np.isfinite(row["train"]["loss"]), row


def prepare_only(root: Path) -> None:
    """Fills the cache that ``train`` reads."""
    from debride.data.cache import prepare
    from debride.data.open import open_dataset
    from debride.data.preparation import Preparation

    dataset = open_dataset(root / "data", val_fraction=0.0)
    prepare(dataset, dataset.of("train"), Preparation(), root / "cache")


def measure_large(folder: Path, shape: tuple[int, int, int], args: Any) -> None:
    """Trains on two volumes of which each is larger than the limit, prints two lines, and removes them."""
    root = Path(tempfile.mkdtemp(prefix="debride-memory-", dir=folder))
    try:
        size = make_dataset(root / "data", 2, shape, val=0)
        report("preparing, no limit", 2, size, peak_of(prepare_only, root))
        limit = args.limit * MB
        peak = peak_of(train, root, "ce", tuple(args.patch), args.batch_size, args.width, limit)
        report(f"training, limited to {args.limit}", 2, size, peak)
    finally:
        shutil.rmtree(root)


def peak_of(target: Callable[..., None], *values: Any, start: str = "spawn") -> Peak:
    """Runs ``target(*values)`` in a process started by the given method and watches its memory; raises if it fails."""
    process: Any = multiprocessing.get_context(start).Process(target=target, args=values)
    started = time.perf_counter()
    process.start()
    peaks = dict.fromkeys(("RssAnon", "file", "VmData", "VmHWM"), 0)
    while process.is_alive():
        seen = _status(process.pid)
        seen["file"] = seen.get("RssFile", 0) + seen.get("RssShmem", 0)
        peaks = {name: max(peak, seen.get(name, 0)) for name, peak in peaks.items()}
        time.sleep(SAMPLING)
    process.join()
    if process.exitcode != 0:
        raise RuntimeError(f"the process ended with exit code {process.exitcode}")
    return Peak(*(1024 * peak / MB for peak in peaks.values()), time.perf_counter() - started)


def _status(pid: int | None) -> dict[str, int]:
    """The sizes in /proc/PID/status, in KiB; none of a process that has just ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith(" kB")}


def report(name: str, cases: int, size: int, peak: Peak) -> None:
    figures = "".join(f"{value:>11.0f}" for value in (peak.anonymous, peak.file, peak.private, peak.resident, peak.seconds))
    print(f"{name:26}{cases or '':>7}{f'{size / MB:.0f}' if size else '':>10}{figures}", flush=True)


def measure(name: str, folder: Path, cases: int, shape: tuple[int, int, int], limit: int | None, args: Any) -> Peak:
    """Makes a data set, trains on it, prints a line, and removes it."""
    root = Path(tempfile.mkdtemp(prefix="debride-memory-", dir=folder))
    try:
        size = make_dataset(root / "data", cases, shape)
        peak = peak_of(train, root, "ce", tuple(args.patch), args.batch_size, args.width, limit)
    finally:
        shutil.rmtree(root)
    report(name, cases, size, peak)
    return peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=1000, help="of private memory, in MB (default: 1000)")
    parser.add_argument("--times", type=float, default=10, help="size of the data set relative to the limit (default: 10)")
    parser.add_argument("--shape", type=int, nargs=3, default=[64, 256, 256], help="of its volumes (default: 64 256 256)")
    parser.add_argument("--small", type=int, nargs=3, default=[64, 128, 128], help="of N and 4 N volumes (default: 64 128 128)")
    parser.add_argument("--cases", type=int, default=40, help="N (default: 40)")
    parser.add_argument("--patch", type=int, nargs=3, default=[32, 48, 48], help="default: 32 48 48")
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--width", type=int, default=4, help="of the network (default: 4)")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="for data and cache")
    parser.add_argument("--large", type=int, nargs=3, help="shape of a volume that exceeds the limit by itself, as float32")
    args = parser.parse_args()
    columns = "".join(f"{name:>11}" for name in ("anonymous", "file", "private", "resident", "seconds"))
    if args.large:
        each = 4 * int(np.prod(args.large)) / MB
        if each <= args.limit:
            sys.exit(f"A working image of {each:.0f} MB is within the limit: give a larger shape.")
        print(f"each working image is {each:.0f} MB; peaks in MB:\n{'':26}{'cases':>7}{'data set':>10}{columns}")
        measure_large(args.folder, tuple(args.large), args)
        return
    wanted = int(args.times * args.limit * MB)
    cases = -(-wanted // (3 * int(np.prod(args.shape)))) - VALIDATION
    needed, free = wanted * (1 + CACHE_PER_BYTE), shutil.disk_usage(args.folder).free
    print(f"disk: {needed / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free in {args.folder}")
    if needed > 0.9 * free:
        sys.exit("Too little disk space: give a lower --limit, or another --folder.")
    print(f"{'peak, in MB':26}{'cases':>7}{'data set':>10}{columns}")
    report("imports and network", 0, 0, peak_of(import_only, args.width))
    measure(f"limited to {args.limit}", args.folder, cases, tuple(args.shape), args.limit * MB, args)
    few = measure("no limit, N", args.folder, args.cases, tuple(args.small), None, args)
    many = measure("no limit, 4 N", args.folder, 4 * args.cases, tuple(args.small), None, args)
    print(f"4 N cases against N: {many.anonymous - few.anonymous:+.1f} MB of anonymous memory")


if __name__ == "__main__":
    main()
