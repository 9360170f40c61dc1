"""The examples do what they say."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter
from tests.datasets import build_folder
from tests.training_jobs import small_job

from debride.bench.phantom import write_phantoms
from debride.data.open import open_dataset
from debride.data.pixels.images import read_label
from debride.training.fit import fit

EXAMPLES = Path(__file__).parents[2] / "examples"
SETTINGS = "epochs=50, image_size=(256, 256)"
TINY = "epochs=1, image_size=(16, 16), network='unet-small', width=4, device='cpu', log_to=()"
"""What makes a training of an example quick."""


@pytest.fixture(autouse=True)
def _examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("debride.execute.cores", lambda: 1)
    monkeypatch.syspath_prepend(str(EXAMPLES))


def test_own_network_trains(tmp_path: Path) -> None:
    job = small_job(tmp_path, "ce", epochs=1, network="own_network:segresnet")
    fit(job)
    assert (job.out / "weights" / "epoch-0001.safetensors").exists()


def labels(root: Path) -> dict[str, npt.NDArray[np.uint8]]:
    dataset = open_dataset(root)
    return {case.id: read_label(case.label, dataset)[0] for case in dataset.cases if case.label}


def test_audit_and_repair_puts_wrong_labels_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scans, predictions, out = tmp_path / "scans", tmp_path / "predictions", tmp_path / "out"
    write_phantoms(scans, 24, 6, 0, 48, 3, seed=0)
    right = labels(scans)
    predictions.mkdir()
    for case, label in right.items():
        soft = np.stack([gaussian_filter((label == number).astype(np.float32), 1.0) for number in range(3)])
        np.save(predictions / f"{case}.npy", soft / soft.sum(axis=0))
    wrong = {case for case in sorted(right) if (right[case] != np.fliplr(right[case])).mean() > 0.1}
    wrong = set(sorted(wrong)[:6])
    assert len(wrong) == 6
    for case in wrong:
        mask = scans / "masks" / f"{case}.png"
        Image.fromarray(np.fliplr(np.asarray(Image.open(mask)))).save(mask)
    before = {path: path.read_bytes() for path in scans.rglob("*") if path.is_file()}

    script = EXAMPLES / "audit_and_repair.py"
    shorter = script.read_text().replace(SETTINGS, TINY)
    assert len(script.read_text().splitlines()) <= 45 and shorter != script.read_text()
    monkeypatch.setattr("sys.argv", ["audit_and_repair.py", str(scans), str(predictions), str(out)])
    exec(compile(shorter, script.name, "exec"), {"__name__": "__main__"})

    said = capsys.readouterr().out
    assert "6 of 30 labels are flagged" in said and "6 findings applied (flip 6), 0 declined, 0 guarded" in said
    ranked = (out / "audit" / "cases.csv").read_text(encoding="utf-8").split("\n")[1:]
    assert {line.split(",")[1] for line in ranked[:6]} == wrong
    assert (out / "audit" / "report.html").exists() and (out / "measured" / "summary.md").exists()
    after = labels(out / "repaired")
    assert all((after[case] == right[case]).mean() > 0.98 for case in right)
    assert {path: path.read_bytes() for path in scans.rglob("*") if path.is_file()} == before


def test_the_readme_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    [example] = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    size = "image_size=(256, 256)"
    assert size in example
    build_folder(tmp_path / "scans")
    monkeypatch.chdir(tmp_path)
    exec(example.replace(size, "image_size=(32, 32), epochs=1, network='unet-small', width=4, device='cpu'"), {})
    assert (tmp_path / "run" / "weights" / "best.safetensors").exists()
