"""How much faster `check`, `corrupt`, `evaluate` and `repair` are with several processes than with one.

Run ``python benchmarks/jobs_speed.py --jobs 2``. Two sets are made in a temporary folder: volumes, the Left Atrium of
``$DEBRIDE_DATA`` with each case so many times (``--times``), and small pictures (``--pictures``) that are generated. Every verb
is run as a whole command, its start included, with one process and with several in turn. Ratios are of medians. What both
write must be equal byte for byte.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict
from io import StringIO
from pathlib import Path

import numpy as np
from PIL import Image

from debride.audit.findings import Finding
from debride.cli import main as debride
from debride.data.open import open_dataset
from debride.data.pixels.images import hash_of, read_label, write_label_like
from debride.rng import generator
from debride.types import Dataset

VERBS = ("check", "corrupt", "evaluate", "repair")


def make_volumes(root: Path, times: int) -> Path:
    """The Left Atrium's training volumes in nnU-Net's layout, each so many times under a name of its own."""
    source = Path(os.environ["DEBRIDE_DATA"]) / "nnUNet_raw" / "Dataset101_LeftAtrium"
    for part in ("imagesTr", "labelsTr"):
        (root / part).mkdir(parents=True)
        for file in sorted((source / part).glob("*.nii.gz")):
            for copy in range(times):
                shutil.copyfile(file, root / part / f"copy{copy}_{file.name}")
    description = json.loads((source / "dataset.json").read_text())
    description["numTraining"] = len(list((root / "labelsTr").iterdir()))
    (root / "dataset.json").write_text(json.dumps(description))
    return root


def make_pictures(root: Path, count: int, side: int) -> Path:
    """Pictures of noise in colour, and masks of one ellipse."""
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True)
    y, x = np.mgrid[:side, :side] / side
    for number in range(count):
        rng = generator(0, "picture", number)
        cy, cx, ry, rx = rng.uniform((0.4, 0.4, 0.1, 0.1), (0.6, 0.6, 0.3, 0.3))
        mask = (((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1).astype(np.uint8)
        pixels = (rng.integers(0, 64, (side, side, 3)) + 128 * mask[..., None]).astype(np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"case{number:05d}.png")
        Image.fromarray(mask * 255).save(root / "masks" / f"case{number:05d}.png")
    (root / "dataset.json").write_text('{"classes": ["background", "ellipse"], "values": {"0": 0, "255": 1}}')
    return root


def write_shifted(dataset: Dataset, predictions: Path, audit: Path) -> None:
    """Predictions, which are the labels moved by two pixels, and an audit that proposes them."""
    predictions.mkdir()
    (audit / "proposals").mkdir(parents=True)
    findings: list[Finding] = []
    labels: dict[str, str] = {}
    for case in dataset.cases:
        if case.label is None:
            continue
        given = read_label(case.label, dataset)[0]
        moved = np.roll(given, 2, axis=-1)
        write_label_like(case.label, moved, dataset, predictions / case.label.name.replace(".jpg", ".png"), flush=False)
        changed = moved != given
        np.savez_compressed(
            audit / "proposals" / f"{case.id}.npz",
            number=changed.astype(np.uint16),
            proposed=np.where(changed, moved, 0).astype(np.uint8),
        )
        places = np.argwhere(changed)
        ends = tuple((int(low), int(high) + 1) for low, high in zip(places.min(0), places.max(0), strict=True))
        numbers = {"voxels": int(changed.sum()), "severity": 0.5, "confidence": 0.9}
        findings.append(Finding(case=case.id, number=1, kind="boundary", given=1, proposed=0, box=ends, **numbers))
        labels[case.id] = hash_of([case.label])
    about = {"classes": list(dataset.classes), "ndim": dataset.ndim}
    (audit / "audit.json").write_text(json.dumps({"dataset": about, "labels": labels}))
    (audit / "findings.jsonl").write_text("".join(json.dumps(asdict(finding)) + "\n" for finding in findings))
    with (audit / "cases.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("case", "flagged", "findings"), *((case, 0, 1) for case in labels)])


def commands(root: Path, out: Path) -> dict[str, list[object]]:
    """The words of each verb, without those of the jobs."""
    data = root / "data"
    return {
        "check": ["check", data],
        "corrupt": ["corrupt", data, out, "--noise", "markov", "--set", "steps=50"],
        "evaluate": ["evaluate", root / "predictions", data, "--out", out, "--splits", "train", "val"],
        "repair": ["repair", data, root / "audit", "--out", out, "--accept", "all", "--allow-removal"],
    }


def run(words: list[object], in_process: bool) -> tuple[float, str]:
    """Seconds that a command took, and what it wrote on standard output."""
    texts = list(map(str, words))
    begun = time.perf_counter()
    if in_process:
        said = StringIO()
        with redirect_stdout(said), redirect_stderr(StringIO()):
            code, text = debride(texts), said.getvalue()
    else:
        done = subprocess.run([sys.executable, "-m", "debride", *texts], check=False, capture_output=True, text=True)
        code, text = done.returncode, done.stdout
    if code not in (0, 1):
        raise SystemExit(f"{texts}: ended with {code}: {text}")
    return time.perf_counter() - begun, text


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a folder by name; the record of an evaluation has the place of its folder in it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.exists() else []
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def compare(root: Path, name: str, arguments: argparse.Namespace) -> Iterator[str]:
    """A line for each verb: seconds with one process and with several, and their ratio."""
    cases = len(open_dataset(root / "data").cases)
    for verb in arguments.verbs:
        seconds: dict[int, list[float]] = {1: [], arguments.jobs: []}
        for _ in range(arguments.repeats):
            ended = []
            for jobs in seconds:
                out = root / "out"
                shutil.rmtree(out, ignore_errors=True)
                took, said = run([*commands(root, out)[verb], "--jobs", jobs], arguments.smallest)
                seconds[jobs].append(took)
                ended.append((said, contents(out)))
            if ended[0] != ended[-1]:
                raise SystemExit(f"{name}, {verb}: several processes do not give what one gives")
        one, several = (statistics.median(taken) for taken in seconds.values())
        yield f"| {name} | {cases} | `{verb}` | {one:.1f} | {several:.1f} | {one / several:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sets", nargs="+", choices=["volumes", "pictures"], default=["volumes", "pictures"])
    parser.add_argument("--verbs", nargs="+", choices=VERBS, default=VERBS)
    parser.add_argument("--times", type=int, default=8, help="copies of each volume")
    parser.add_argument("--pictures", type=int, default=8000, help="number of pictures")
    parser.add_argument("--side", type=int, default=192, help="pixels along their sides")
    parser.add_argument("--smallest", action="store_true", help="a few pictures, in this process, to see that it runs")
    arguments = parser.parse_args()
    if arguments.smallest:
        arguments.sets, arguments.pictures, arguments.side, arguments.repeats = ["pictures"], 4, 32, 1
    print(f"| set | cases | verb | 1 process, s | {arguments.jobs} processes, s | ratio |\n|---|---|---|---|---|---|")
    for name in arguments.sets:
        with tempfile.TemporaryDirectory() as scratch:
            root = Path(scratch)
            if name == "volumes":
                make_volumes(root / "data", arguments.times)
            else:
                make_pictures(root / "data", arguments.pictures, arguments.side)
            write_shifted(open_dataset(root / "data"), root / "predictions", root / "audit")
            for line in compare(root, name, arguments):
                print(line, flush=True)


if __name__ == "__main__":
    main()
