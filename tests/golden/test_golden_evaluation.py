"""What an evaluation writes, and a bench says of an epoch, against files written before metrics became one table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from tests.datasets import build_folder, build_nnunet_3d, save_nifti, save_png

from debride.bench.mask_cell import _score
from debride.evaluation.evaluate import evaluate_folder
from debride.evaluation.mask_metrics import METRICS, case_metrics
from debride.evaluation.summary import Row

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "evaluation.json").read_text())


@pytest.fixture(autouse=True)
def metrics_of_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """The files know no metric that was added since."""
    for name in METRICS.keys() - GOLDEN["pictures"]["summary.json"]["classes"][0]["metrics"].keys():
        monkeypatch.delitem(METRICS, name)


def wrong(label: np.ndarray[Any, Any], number: int) -> np.ndarray[Any, Any]:
    """A label moved by two pixels, without its class 2 in every third case."""
    moved = np.roll(label, 2, axis=-1)
    return np.where(moved == 2, 0, moved).astype(np.uint8) if number % 3 == 2 else moved


def pictures(root: Path) -> None:
    build_folder(root / "data", n=12, classes=3)
    for number, path in enumerate(sorted((root / "data" / "masks").iterdir())):
        save_png(root / "predictions" / path.name, wrong(np.asarray(Image.open(path)), number))


def volumes(root: Path) -> None:
    build_nnunet_3d(root / "data")
    for number, path in enumerate(sorted((root / "data" / "labelsTr").iterdir())):
        label = np.asarray(nib.load(path).dataobj).T.astype(np.uint8)
        save_nifti(root / "predictions" / path.name, wrong(label, number))


def written(root: Path) -> dict[str, Any]:
    """Everything but prose and paths of what an evaluation of the training and validation cases writes."""
    out = root / "out"
    evaluate_folder(root / "predictions", root / "data", out, splits=("train", "val"))
    summary = json.loads((out / "summary.json").read_text())
    said = [line for line in (out / "summary.md").read_text().splitlines() if line.startswith("|")]
    rest = {name: value for name, value in summary.items() if name not in ("rules", "predictions", "reference")}
    return {"cases.csv": (out / "cases.csv").read_text(), "summary.json": rest, "summary.md": said}


def scored() -> str:
    """A bench's score of two cases, as it is written."""
    rng = np.random.default_rng(0)
    predicted, reference = rng.integers(0, 3, (2, 2, 12, 14)).astype(np.uint8)
    reference[1][reference[1] == 2] = 0
    pairs = enumerate(zip(predicted, reference, strict=True))
    rows = [Row(f"c{n}", f"p{n}", own) for n, (p, r) in pairs for own in case_metrics(p, r, 3, (2.0, 0.7))]
    return json.dumps(_score(4, rows, {"A": 0.5}, ("background", "a", "b")))


@pytest.mark.parametrize("build", [pictures, volumes], ids=lambda build: build.__name__)
def test_evaluations_are_written_as_before(build: Any, tmp_path: Path) -> None:
    build(tmp_path)
    assert json.dumps(written(tmp_path)) == json.dumps(GOLDEN[build.__name__])


def test_scores_of_a_bench_are_written_as_before() -> None:
    assert scored() == GOLDEN["score"]
