"""How long it takes until the crop around a finding of a large volume is in view, in headless Chromium.

Run ``python -m benchmarks.review_crop`` (Linux with Chromium and playwright, some minutes of one core). It makes volumes of
512 x 512 x 300 voxels of int16 in .nii.gz, and an audit with findings in each. The server runs in this process. Three times are
taken, each from the wish (the address, or the key) to the moment when image and outlines are drawn: of the page with its first
item, of an item in a case that nothing was read of yet, and of the next finding of that case. WebGL is by SwiftShader, that is
by the processor.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
from benchmarks.large_volume import make_volume
from tests.datasets import save_json
from tests.review_pages import SEEN, Reader, Shown, chromium
from tests.written_audits import Change, box, write_audit

from debride.data.open import open_dataset
from debride.review.opened import open_review
from debride.review.server import serving
from debride.types import Dataset


def large_set(root: Path, shape: tuple[int, int, int], cases: int) -> Dataset:
    """Copies of one volume (D, H, W) under other names, with labels of an ellipsoid."""
    make_volume(root / "imagesTr" / "v0_0000.nii.gz", shape)
    axes = np.ix_(*(np.linspace(-1, 1, length, dtype=np.float32) for length in shape))
    label = (sum((axis / np.float32(0.6)) ** 2 for axis in axes) <= 1).astype(np.uint8)
    (root / "labelsTr").mkdir()
    nib.save(nib.Nifti1Image(label.T, np.eye(4)), root / "labelsTr" / "v0.nii.gz")
    for case in range(1, cases):
        shutil.copy(root / "imagesTr" / "v0_0000.nii.gz", root / "imagesTr" / f"v{case}_0000.nii.gz")
        shutil.copy(root / "labelsTr" / "v0.nii.gz", root / "labelsTr" / f"v{case}.nii.gz")
    about = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "organ": 1},
        "numTraining": cases,
        "file_ending": ".nii.gz",
    }
    save_json(root / "dataset.json", about)
    return open_dataset(root)


def two_places(shape: tuple[int, int, int]) -> list[Change]:
    """Two findings on opposite sides of the ellipsoid, 20 voxels wide."""
    depth, height, width = (length // 2 for length in shape)
    ends = [(depth - 10, depth + 10), (height - 10, height + 10)]
    left, right = round(width * 0.4), round(width * 1.6)
    return [(box(shape, *ends, (at - 10, at + 10)), value, {"kind": "missing"}) for at, value in ((left, 1), (right, 1))]


def timed(shown: Shown, key: str) -> float:
    """Seconds from a key to the item after it."""
    before, start = shown.place, time.perf_counter()
    shown.page.keyboard.press(key)
    shown.until(f"() => document.body.dataset.place !== '{before}'")
    shown.until(SEEN)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=[300, 512, 512], help="D H W (default: 300 512 512)")
    parser.add_argument("--cases", type=int, default=3)
    chosen = parser.parse_args()
    shape = tuple(chosen.shape)
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        dataset = large_set(Path(folder) / "data", shape, chosen.cases)
        audit = write_audit(Path(folder) / "audit", dataset, {case.id: two_places(shape) for case in dataset.cases})
        with serving(open_review(audit, dataset, Reader("Ada"))) as address:
            start = time.perf_counter()
            shown = Shown(browser, address)
            print(f"the page and its first item   {time.perf_counter() - start:6.2f} s")
            for _ in range(1, chosen.cases):
                time.sleep(PAUSE)
                print(f"the next finding of a case    {timed(shown, 'j'):6.2f} s")
                time.sleep(PAUSE)
                print(f"a finding of the next case    {timed(shown, 'j'):6.2f} s")
            first = shown.place
            shown.page.keyboard.press("w")
            begin = time.perf_counter()
            shown.until(f"() => document.getElementById('stage').dataset.shown === '{first} whole 0'")
            print(f"the whole volume on demand    {time.perf_counter() - begin:6.2f} s")


PAUSE = 1.0
"""Seconds that a reader looks at a finding, in which the next is read."""


if __name__ == "__main__":
    main()
