"""Writes what 0.1 left behind: data, runs, audits, decisions and a grid, all tiny, into ``of_0_1.tar.gz`` beside this file.

It was run once, with the code of 0.1 (commit 1b0a6d4) on the path, and is kept to say what the archive holds:

    git worktree add /tmp/debride-code 1b0a6d4
    PYTHONPATH=/tmp/debride-code/src python tests/compatibility/written_by_0_1.py

The archive keeps the dates of files, by which audits know what they have read. It must never be written by a later version.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import uuid
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

import debride
from debride.audit.decided import Decision, ReviewDb

ROOT = Path("/tmp/debride-0.1")
TRUSTED = (0, 2, 3, 5, 6, 8)
WHEN = 1_764_000_000
LEFT_OUT = r"run/resume|whole/resume|whole/weights/best|bench/.*/run/weights"
GRID = """\
name: small
datasets: {generated: {path: scans}}
noises: {clean: null, S_DE: {noise: dilate-erode, dice: 0.8}}
methods: {ce: null, gce: null}
training: {epochs: 2, width: 2, image_size: [32, 32], batch_size: 4, network: unet-small, seed: 3}
cells: [{noises: [S_DE]}]
pictures: false
"""
CONFIG = """\
method: {q: 0.5}
training: {epochs: 16, width: 2, image_size: [32, 32], batch_size: 2, network: unet-small, seed: 3, optimiser: adamw,
  learning_rate: 0.02, keep_last: 1}
augmentation: {rotate: 20}
"""


def do(*words: object) -> None:
    """One command of 0.1, in ``ROOT``."""
    command = [sys.executable, "-m", "debride", *map(str, words)]
    subprocess.run(command, cwd=ROOT, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def write_scans() -> None:
    """18 images with two objects each; labels of which four are wrong, labels that are too large, and maps of right ones."""
    rng, y, x = np.random.default_rng(1), *np.mgrid[:32, :32]
    ids = [f"case{at:02d}" for at in range(18)]
    for at, name in enumerate(ids):
        label = np.zeros((32, 32), np.uint8)
        for value, cy, cx, radius in ((1, 10, 10, 6), (2, 22, 21, 5)):
            cy, cx = cy + rng.normal(0, 1.5), cx + rng.normal(0, 1.5)
            label[(y - cy) ** 2 + (x - cx) ** 2 < (radius * rng.uniform(0.8, 1.2)) ** 2] = value
        image = np.clip(60 + 70.0 * label + rng.normal(0, 8, label.shape), 0, 255).astype(np.uint8)
        odds = ndimage.gaussian_filter(np.stack([label == value for value in range(3)]).astype(np.float32), (0, 1, 1))
        (ROOT / "maps").mkdir(parents=True, exist_ok=True)
        np.save(ROOT / "maps" / f"{name}.npy", odds.astype(np.float16))
        large = label if at in TRUSTED else ndimage.grey_dilation(label, size=(5, 5))
        if at in (1, 4):
            label = np.where(label == 2, 0, label).astype(np.uint8)
        if at in (7, 9):
            label = np.roll(label, 4, axis=1)
        for data, labels in (("scans", label), ("large", large)):
            for folder, content in (("images", image), ("masks", labels)):
                (ROOT / data / folder).mkdir(parents=True, exist_ok=True)
                Image.fromarray(content).save(ROOT / data / folder / f"{name}.png")
    splits = {"train": ids[:12], "val": ids[12:14], "test": ids[14:]}
    for data in ("scans", "large"):
        (ROOT / data / "splits.json").write_text(json.dumps(splits))
        (ROOT / data / "dataset.json").write_text('{"classes": ["background", "left", "right"]}')
    (ROOT / "trusted.txt").write_text("\n".join(ids[at] for at in TRUSTED) + "\n")
    (ROOT / "train.yaml").write_text(CONFIG)
    (ROOT / "grid.yaml").write_text(GRID)


def cut_off(out: str, *words: object) -> None:
    """A training that SIGTERM ends after its second epoch."""
    command = [sys.executable, "-m", "debride", "train", *map(str, words), "--out", out]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})
    curve = ROOT / out / "metrics.jsonl"
    while not curve.exists() or len(curve.read_text().splitlines()) < 2:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 143
    assert 2 <= len(curve.read_text().splitlines()) < 10


def settle(*folders: str) -> None:
    """Gives all files one date, which an archive keeps."""
    for folder in folders:
        for path in (ROOT / folder).rglob("*"):
            os.utime(path, (WHEN, WHEN))


def decide(audit: Path) -> None:
    """Decisions of two readers on the first findings, in a table and in the database."""
    findings = [json.loads(line) for line in (audit / "findings.jsonl").read_text().splitlines()][:4]
    rows = [
        (found["case"], found["number"], word) for found, word in zip(findings, ("accept", "reject", "accept"), strict=False)
    ]
    lines = ["case,number,decision", *(f"{case},{number},{word}" for case, number, word in rows)]
    (ROOT / "decisions.csv").write_text("\n".join(lines) + "\n")
    with ReviewDb(audit) as database:
        for reader in ("ada", "ben"):
            for case, number, word in rows:
                database.append(Decision(reader=reader, case=case, number=number, decision=word), uuid.uuid4().hex)


def main() -> None:
    """Makes everything anew."""
    assert debride.__version__ == "0.1.0", "this is for 0.1 alone"
    shutil.rmtree(ROOT, ignore_errors=True)
    write_scans()
    settle("scans", "large", "maps")
    common = ("--device", "cpu", "--log-to", "none")
    do("train", "gce", "large", "--out", "run", "--config", "train.yaml", "--trusted", "trusted.txt", *common)
    do("calibrate", "run", "large", "--trusted", "trusted.txt", "--device", "cpu")
    do("predict", "run", "scans", "--out", "masks", "--probabilities", "--device", "cpu")
    do("predict", "run", "scans", "--out", "raw-masks", "--raw", "--device", "cpu")
    do("evaluate", "masks", "scans", "--out", "evaluation")
    looked = ("--predictions", "maps", "--splits", "train", "val", "test", "--planted", 6, "--pictures", 0)
    do("audit", "scans", *looked, "--out", "audit")
    do("audit", "scans", *looked, "--out", "audit-in-parts", "--shard", "1/2")
    decide(ROOT / "audit")
    do("repair", "scans", "audit", "--out", "repaired", "--decisions", "audit/review.db")
    do("repair", "scans", "audit", "--out", "repaired-by-rule", "--accept", "all")
    kept = ("scans", "--config", "half.yaml", "--trusted", "trusted.txt", *common)
    (ROOT / "half.yaml").write_text(CONFIG.replace("method: {q: 0.5}\n", "").replace("epochs: 16", "epochs: 10"))
    cut_off("half", "meta-dcseg", *kept)
    do("train", "meta-dcseg", *kept, "--out", "whole")
    do("bench", "grid.yaml", "--out", "bench")
    with tarfile.open(Path(__file__).with_name("of_0_1.tar.gz"), "w:gz", compresslevel=9) as archive:
        archive.add(ROOT, ".", filter=lambda entry: None if re.search(LEFT_OUT, entry.name) else entry)


if __name__ == "__main__":
    main()
