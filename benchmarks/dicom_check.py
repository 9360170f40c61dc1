"""Time and memory of ``debride check`` on archives of DICOM: at first, and once their headers are known.

    python benchmarks/dicom_check.py [--series 100 1000] [--slices 100] [--jobs 2] [--folder FOLDER]

A series is an MR of so many slices with a DICOM SEG of one segment; pixels are few (--side), as none are read. One series is
made by pydicom, and the others are its bytes with other numbers. A check is a process of its own with ``--jobs`` others.
Seconds are of the clock, and of all cores together, memory is that of the first process and of the largest other, and MB are
those of the archive and of the index. Files were just written, so that the system has them in memory.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

TOKEN = "1000000"
"""What stands in UIDs and identities of the series that is copied, in place of another's number."""

UID = f"1.2.826.0.1.3680043.9.7777.{TOKEN}"

RUN = """
import resource, sys
from debride.cli import main
code = main(sys.argv[1:])
used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
own = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))  # maxrss is inherited
print("peak", sum(each.ru_utime + each.ru_stime for each in used), own // 1024, used[1].ru_maxrss // 1024)
sys.exit(code)
"""


def slices(count: int, side: int) -> list[Any]:
    """The slices of one series as datasets of pydicom."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    rng, made = np.random.default_rng(0), []
    for k in range(count):
        one = Dataset()
        one.SOPClassUID, one.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", f"{UID}.3.1{k:04}"
        one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = f"{UID}.1", f"{UID}.2", f"{UID}.4"
        one.PatientID, one.PatientName, one.Modality = f"P{TOKEN}", f"Name{TOKEN}^", "MR"
        one.PatientBirthDate = one.PatientSex = one.AccessionNumber = one.StudyID = one.ReferringPhysicianName = ""
        one.PositionReferenceIndicator = ""
        one.StudyDate, one.StudyTime, one.SeriesNumber, one.InstanceNumber = "20200101", "101010", 1, k + 1
        one.SeriesDescription, one.Manufacturer, one.ManufacturerModelName = "T1 axial", "Maker", "Model"
        one.ImageType, one.PatientPosition, one.AcquisitionNumber, one.EchoTime = ["ORIGINAL", "PRIMARY"], "HFS", 1, "4.6"
        one.ImagePositionPatient, one.ImageOrientationPatient = [-10, -20, 2.5 * k], [1, 0, 0, 0, 1, 0]
        one.PixelSpacing, one.SliceThickness = [0.9, 0.9], 2.5
        one.Rows, one.Columns, one.SamplesPerPixel, one.PhotometricInterpretation = side, side, 1, "MONOCHROME2"
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 12, 11, 0
        one.PixelData = rng.integers(0, 4096, (side, side), np.uint16).tobytes()
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        made.append(one)
    return made


def contents(count: int, side: int) -> list[bytes]:
    """The files of one series: its slices, and a SEG of half of it."""
    import highdicom

    with tempfile.TemporaryDirectory() as made:
        images = slices(count, side)
        paths = [Path(made, f"{k}") for k in range(count)]
        for one, path in zip(images, paths, strict=True):
            one.save_as(path, enforce_file_format=True)
        code = highdicom.sr.CodedConcept("85756007", "SCT", "Tissue")
        segment = highdicom.seg.SegmentDescription(1, "Half", code, code, "MANUAL")
        mask = np.zeros((count, side, side), np.uint8)
        mask[:, : side // 2] = 1
        label = highdicom.seg.Segmentation(
            [*map(_read, paths)], mask, "BINARY", [segment], f"{UID}.5", 2, f"{UID}.6", 1, "Maker", "Model", "1", "0"
        )
        label.save_as(Path(made, "label"))
        return [*(path.read_bytes() for path in paths), Path(made, "label").read_bytes()]


def _read(path: Path) -> Any:
    from pydicom import dcmread

    return dcmread(path)


def write_archive(root: Path, series: int, files: list[bytes]) -> None:
    """Copies one series so many times, each with identities of its own, below a folder for each thousand."""
    for number in range(series):
        folder = root / f"{number // 1000:04}" / f"{number:06}"
        folder.mkdir(parents=True)
        token = f"1{number:06}".encode()
        for at, content in enumerate(files):
            (folder / f"{(at * 7919) % len(files):05}").write_bytes(content.replace(TOKEN.encode(), token))
    segments = [{"name": "half", "segments": [{"label": "Half"}]}]
    (root / "segments.json").write_text(json.dumps({"format": "dicom", "classes": segments}))


def measured(root: Path, jobs: int) -> tuple[float, float, int, int]:
    """Seconds of a check by the clock and of all cores, and the peak MB of its first process and of the largest other."""
    begun = time.perf_counter()
    words = [sys.executable, "-c", RUN, "check", str(root), "--jobs", str(jobs)]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    seconds = time.perf_counter() - begun
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    cores, own, other = done.stdout.rsplit("peak", 1)[1].split()
    return seconds, float(cores), int(own), int(other)


def main() -> None:
    """Prints a row for each archive and check."""
    from debride.data.dicom.pseudonyms import make_key

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, nargs="*", default=[100, 1000])
    parser.add_argument("--slices", type=int, default=100)
    parser.add_argument("--side", type=int, default=16)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    args = parser.parse_args()
    files = contents(args.slices, args.side)
    print("| check | series | files | seconds | of cores | first process, MB | largest other, MB | archive, MB | index, MB |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for series in args.series:
        root = Path(tempfile.mkdtemp(prefix="debride-dicom-", dir=args.folder))
        try:
            write_archive(root, series, files)
            make_key(root)
            size = series * sum(map(len, files))
            for name in ("first", "second"):
                seconds, cores, own, other = measured(root, args.jobs)
                index = (root / "pseudonyms" / "index.db").stat().st_size
                counts = f"{series:,} | {series * len(files):,} | {seconds:.1f} | {cores:.1f} | {own} | {other}"
                print(f"| {name} | {counts} | {size / 1e6:.0f} | {index / 1e6:.0f} |", flush=True)
        finally:
            shutil.rmtree(root)


if __name__ == "__main__":
    main()
