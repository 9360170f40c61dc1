"""How soon the server of `debride review` has the crop around a finding of a large volume, and what takes the time.

    python benchmarks/review_volume.py [--shape 300 512 512] [--folder FOLDER]

Two volumes of 16 bits in .nii.gz are made up, with noise as a CT has it. Cold is the first look at a finding of another case;
ahead is one that was read in the background, as after each decision; again is one that is still kept. What takes the time is
measured as seconds of one core, so that other work on the machine counts little; waiting is not.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.review_servers import Server
from tests.written_audits import box, write_audit

from debride.data.open import open_dataset
from debride.data.pixels import arrays
from debride.data.pixels.images import hash_of, read_image_part, read_label_part

CASES = ("first", "second")

LOOKS = 6.0
"""Seconds that a reader looks at a finding, while the next one is read."""


def main() -> None:
    """Prints two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=(300, 512, 512), metavar=("D", "H", "W"))
    parser.add_argument("--folder", type=Path, help="where the volumes are written, or are already")
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = words.folder or Path(temporary)
        if not (folder / "audit").is_dir():
            write_volumes(folder, tuple(words.shape))
        for file in (folder / "audit").glob("review.db*"):
            file.unlink()
        _waits(folder / "audit")
        _costs(folder)


def write_volumes(folder: Path, shape: tuple[int, ...]) -> None:
    """A data set of two volumes in ``data``, and its audit with two findings in each, one in the middle and one at the end."""
    rng, data = np.random.default_rng(0), folder / "data"
    coarse = rng.normal(size=tuple(max(2, length // 10) for length in shape))
    smooth = ndimage.zoom(coarse, [length / few for length, few in zip(shape, coarse.shape, strict=True)], order=1)
    image = (300 * smooth + rng.normal(0, 12, shape)).astype(np.int16)
    label = (smooth > 0.5).astype(np.uint8) + (smooth > 1.2).astype(np.uint8)
    shares = np.stack([(label == number) * np.uint8(200) + np.uint8(20) for number in range(3)])
    for part, values in (("images", image), ("labels", label)):
        (data / f"{part}Tr").mkdir(parents=True)
        for case in CASES:
            name = f"{case}_0000" if part == "images" else case
            nib.save(nib.Nifti1Image(values.T, np.diag([-0.7, -0.7, 1, 1])), data / f"{part}Tr" / f"{name}.nii.gz")
    about = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1, "lesion": 2}}
    (data / "dataset.json").write_text(json.dumps({**about, "numTraining": len(CASES), "file_ending": ".nii.gz"}))
    middle = box(shape, *((length // 2 - length // 20, length // 2 + length // 20 + 1) for length in shape))
    end = box(shape, *((length - length // 10 - 1, length) for length in shape))
    found: dict[str, Any] = {case: [(middle, 1, {"kind": "missing"}), (end, 2, {"kind": "missing"})] for case in CASES}
    audit = write_audit(folder / "audit", open_dataset(data), found)
    (audit / "predictions").mkdir()
    for case in CASES:
        np.savez_compressed(audit / "predictions" / f"{case}.npz", probabilities=shares, stamp=np.array(""))


def _waits(audit: Path) -> None:
    """How long a reader waits; the load of the machine is printed with it."""
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n\n| finding | wait | MB |\n|---|---|---|")
    server = Server(audit, "ann")
    time.sleep(LOOKS / 2)  # a browser starts meanwhile
    for what, place in (
        (f"the first of all, {LOOKS / 2:.0f} s after the start", 1),
        ("cold, middle of another case", 3),
        ("cold, end of it", 4),
        ("again", 3),
    ):
        wait, size = _shown(server, place)
        print(f"| {what} | {wait:.2f} s | {size / 1e6:.1f} |")
    server.ask("api/items/1/decision", {"decision": "accept", "comment": "", "sent": "1"})
    time.sleep(LOOKS)
    wait, size = _shown(server, 2)
    print(f"| ahead, {LOOKS:.0f} s after the decision before it | {wait:.2f} s | {size / 1e6:.1f} |")
    wait, size = _shown(server, 2, "whole")
    print(f"| the whole volume | {wait:.2f} s | {size / 1e6:.1f} |\n\nresident memory: {server.memory():.0f} MB\n")
    server.stop()


def _shown(server: Server, place: int, part: str = "crop") -> tuple[float, int]:
    """Seconds until the part and all its layers are there, and their bytes."""
    begun, size = time.perf_counter(), 0
    told = server.ask(f"api/items/{place}/part?part={part}")
    for layer in ["image", *told["layers"]]:
        server.connection.request("GET", f"{server.root}api/items/{place}/layer/{layer}?part={part}")
        size += len(server.connection.getresponse().read())
    return time.perf_counter() - begun, size


def _costs(folder: Path) -> None:
    """What each thing that a cold crop at the end of a volume needs costs."""
    dataset, audit = open_dataset(folder / "data"), folder / "audit"
    case = dataset.cases[0]
    assert case.label
    label, image = case.label, case.image[0]
    (shape, _) = arrays.described(audit / "proposals" / f"{case.id}.npz", "number")
    at = tuple((max(0, length - 64), length) for length in shape)
    print("| of it | seconds of one core |\n|---|---|")
    for what, work in (
        ("image, int16 .nii.gz", lambda: read_image_part(image, at)),
        ("given label, uint8 .nii.gz", lambda: read_label_part(label, dataset, at)),
        ("whether the label is the one that was audited", lambda: hash_of([label])),
        ("numbers of findings, .npz", lambda: arrays.part(audit / "proposals" / f"{case.id}.npz", "number", at)),
        ("what is proposed, .npz", lambda: arrays.part(audit / "proposals" / f"{case.id}.npz", "proposed", at)),
        ("prediction of three classes, .npz", lambda: _predicted(audit / "predictions" / f"{case.id}.npz", at)),
    ):
        print(f"| {what} | {_core_seconds(work):.2f} |")


def _predicted(path: Path, at: tuple[tuple[int, int], ...]) -> npt.NDArray[Any]:
    classes = arrays.described(path, "probabilities")[0][0]
    shares: npt.NDArray[Any] = arrays.part(path, "probabilities", ((0, classes), *at))
    return shares.argmax(0)


def _core_seconds(work: Callable[[], Any]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


if __name__ == "__main__":
    main()
