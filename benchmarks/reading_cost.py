"""What reading patches costs: from the cache's own files or from compressed ones (blosc2), and how much of it a step waits for.

Run ``python benchmarks/reading_cost.py DATASET`` with a data set of volumes, or without one on volumes that are made. Linux.

"files": a patch of one case from a memory-mapped ``.npy`` as the cache has it, and from blosc2 arrays as nnU-Net keeps them
(zstd at level 8, memory-mapped), with the page cache warm, and cold: before every patch the kernel is told to drop what it
holds of the file (``posix_fadvise``). The disk's own speed is that of reading whole files when cold. The speed of a disk
below which compressed files are quicker follows from the bytes of a patch and from the warm times. Where blosc2 is not
installed the plain files are measured alone.

"steps": how long a training waits for a batch if a step lasts as long as is given (a sleep, as the processor waits for a
GPU), with reading ahead by a thread as ``data.loader`` does it, and with reading when the batch is asked for.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.data.cache import Prepared, prepare
from debride.data.cache_entry import mapped
from debride.data.loader import Raw, Regions, Selection, raw_batches, read
from debride.data.open import open_dataset
from debride.data.preparation import Preparation
from debride.types import Case

MB = 10**6

Part = tuple[slice, ...]


def made_cases(folder: Path, cases: int, shape: tuple[int, int, int]) -> Prepared:
    """Volumes of integers in waves and noise, z-scored, with a ball as label, as the cache has them."""
    rng = np.random.default_rng(0)
    axes = np.ix_(*(np.linspace(-1, 1, length, dtype=np.float32) for length in shape))
    label = (sum(axis**2 for axis in axes) < 0.3).astype(np.uint8)
    files = []
    for number in range(cases):
        image = np.float32(300) * label + 100 * np.sin(9 * axes[0]) * np.cos(7 * axes[1]) + rng.normal(0, 30, shape)
        image = np.maximum(image, 0).astype(np.int16).astype(np.float32)
        files.append((folder / f"image{number}.npy", folder / f"label{number}.npy"))
        np.save(files[-1][0], ((image - image.mean()) / image.std())[None])
        np.save(files[-1][1], label)
    images, labels = zip(*files, strict=True)
    names = tuple(Case(f"case{number}", (), None, f"case{number}") for number in range(cases))
    return Prepared(names, 1, (shape,) * cases, ((1.0, 1.0, 1.0),) * cases, images, labels)


def drop(files: Sequence[Path]) -> None:
    """Tells the kernel to forget what it holds of files, which are written to the disk first."""
    for file in files:
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def compressed(prepared: Prepared, folder: Path, patch: tuple[int, ...]) -> list[Path] | None:
    """The working images as blosc2 arrays with the settings of nnU-Net; None where blosc2 is not installed."""
    try:
        import blosc2
    except ImportError:
        return None
    files = []
    for row, shape in enumerate(prepared.shapes):
        image = np.array(prepared.image(row))
        chunks = (1, *(min(size, length) for size, length in zip(patch, shape, strict=True)))
        blocks = (1, *(max(1, size // 2) for size in chunks[1:]))
        file = folder / f"image{row}.b2nd"
        settings: dict[str, Any] = {"codec": blosc2.Codec.ZSTD, "clevel": 8}
        blosc2.asarray(image, urlpath=str(file), chunks=chunks, blocks=blocks, cparams=settings, mmap_mode="w+")
        files.append(file)
    return files


def plain_patch(file: Path, part: Part) -> npt.NDArray[np.float32]:
    """A patch (C, *P) as the cache's file has it."""
    return np.array(mapped(file)[(slice(None), *part)])


def blosc_patch(file: Path, part: Part) -> npt.NDArray[np.float32]:
    """A patch (C, *P) of a blosc2 array, on one thread."""
    import blosc2

    patch: npt.NDArray[np.float32] = blosc2.open(urlpath=str(file), mode="r", mmap_mode="r", dparams={"nthreads": 1})[
        (slice(None), *part)
    ]
    return patch


def milliseconds(
    reader: Callable[[Path, Part], npt.NDArray[np.float32]], files: Sequence[Path], parts: Sequence[Part], cold: bool
) -> float:
    """The median time to read a patch of one file after another."""
    times = []
    for file, part in zip(files, parts, strict=True):
        reader(file, part)
        if cold:
            drop([file])
        started = time.perf_counter()
        reader(file, part)
        times.append(1e3 * (time.perf_counter() - started))
    return median(times)


def disk_speed(files: Sequence[Path]) -> float:
    """MB per second of reading whole files when the kernel holds nothing of them."""
    drop(files)
    started = time.perf_counter()
    size = sum(len(file.read_bytes()) for file in files)
    return size / MB / (time.perf_counter() - started)


def measure_files(prepared: Prepared, folder: Path, patch: tuple[int, ...], repeats: int) -> None:
    """Prints what a patch costs from each kind of file."""
    rng = np.random.default_rng(1)
    rows = np.arange(len(prepared)).repeat(repeats)
    corners = [[int(rng.integers(max(1, n - p + 1))) for n, p in zip(prepared.shapes[row], patch, strict=True)] for row in rows]
    parts = [tuple(slice(start, start + size) for start, size in zip(corner, patch, strict=True)) for corner in corners]
    sides: dict[str, tuple[Callable[[Path, Part], npt.NDArray[np.float32]], Sequence[Path]]] = {
        ".npy": (plain_patch, prepared.image_files)
    }
    if files := compressed(prepared, folder, patch):
        sides["blosc2"] = (blosc_patch, files)
        for row, part in zip(rows, parts, strict=True):
            np.testing.assert_array_equal(plain_patch(prepared.image_files[row], part), blosc_patch(files[row], part))
    print(f"disk: {disk_speed(prepared.image_files):.0f} MB/s" + ("" if files else "; blosc2 is not installed"))
    print(f"{'files':8}{'MB':>8}{'warm, ms':>10}{'cold, ms':>10}")
    shown = {}
    for name, (reader, held) in sides.items():
        size = sum(file.stat().st_size for file in held) / MB
        chosen = [held[row] for row in rows]
        warm, cold = (milliseconds(reader, chosen, parts, cold) for cold in (False, True))
        shown[name] = (size / len(prepared), warm)
        print(f"{name:8}{size:8.0f}{warm:10.2f}{cold:10.2f}", flush=True)
    if files:
        share = np.mean([np.prod(np.minimum(patch, shape)) / np.prod(shape) for shape in prepared.shapes])
        saved = share * (shown[".npy"][0] - shown["blosc2"][0])
        slower = shown["blosc2"][1] - shown[".npy"][1]
        print(f"blosc2 is quicker on a disk below {1e3 * saved / slower:.0f} MB/s" if slower > 0 else "blosc2 is quicker")


def when_asked(prepared: Prepared, selections: Sequence[Selection], regions: Regions, seed: int) -> Iterator[Raw]:
    """The batches of a phase, each read when it is asked for."""
    return (read(prepared, selection, regions, seed) for selection in selections)


def measure_steps(prepared: Prepared, patch: tuple[int, ...], batch: int, steps: int, lasting: Sequence[float]) -> None:
    """Prints how long a step waits for its batch."""
    rng = np.random.default_rng(2)
    rows = [rng.integers(0, len(prepared), batch) for _ in range(steps)]
    selections = [Selection(chosen, np.zeros_like(chosen), chosen + number) for number, chosen in enumerate(rows)]
    regions = Regions(patch, margin=1.2)
    files = [*prepared.image_files, *(file for file in prepared.label_files if file)]
    print(f"\n{'a step of':10}{'page cache':>12}{'waits, ms':>11}{'without reading ahead':>23}")
    for seconds in lasting:
        for cold in (False, True):
            waited = []
            for batches in (raw_batches, when_asked):
                if cold:
                    drop(files)
                else:
                    list(when_asked(prepared, selections, regions, 0))
                total, source = 0.0, batches(prepared, selections, regions, 0)
                while True:
                    started = time.perf_counter()
                    if next(source, None) is None:
                        break
                    total += time.perf_counter() - started
                    if cold:
                        drop(files)
                    time.sleep(seconds)
                waited.append(1e3 * total / steps)
            print(f"{1e3 * seconds:7.0f} ms{'cold' if cold else 'warm':>12}{waited[0]:11.2f}{waited[1]:23.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, nargs="?", help="a data set of volumes (default: volumes that are made)")
    parser.add_argument("--cases", type=int, default=16, help="of the data set, or to make (default: 16)")
    parser.add_argument("--shape", type=int, nargs=3, default=[96, 160, 160], help="of volumes to make (default: 96 160 160)")
    parser.add_argument("--patch", type=int, nargs=3, default=[64, 64, 64], help="default: 64 64 64")
    parser.add_argument("--repeats", type=int, default=3, help="patches of each case (default: 3)")
    parser.add_argument("--steps", type=int, default=20, help="default: 20")
    parser.add_argument("--lasting", type=float, nargs="+", default=[0.05, 0.3], help="seconds (default: 0.05 0.3)")
    args = parser.parse_args()
    patch = tuple(args.patch)
    with tempfile.TemporaryDirectory(prefix="debride-reading-") as name:
        folder = Path(name)
        if args.dataset:
            dataset = open_dataset(args.dataset)
            prepared = prepare(dataset, dataset.cases[: args.cases], Preparation(), folder)
        else:
            prepared = made_cases(folder, args.cases, tuple(args.shape))
        measure_files(prepared, folder, patch, args.repeats)
        measure_steps(prepared, patch, 2, args.steps, args.lasting)


if __name__ == "__main__":
    main()
