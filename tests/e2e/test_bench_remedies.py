"""What messages say to do about a damaged record of a bench helps."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.datasets import build_folder

from debride.cli import main


@pytest.mark.slow
def test_a_damaged_result_and_a_damaged_noise_are_made_again(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = build_folder(tmp_path / "data", n=6, size=16)
    grid = {
        "datasets": {"toy": {"path": str(data)}},
        "noises": {"n": {"noise": "dilate-erode", "parameters": {"nearest": 1, "farthest": 2}}},
        "methods": {"<b>|`ce`": {"method": "ce"}},
        "training": {"epochs": 1, "width": 2, "batch_size": 2, "device": "cpu", "network": "unet-small"},
    }
    (tmp_path / "grid.yaml").write_text(json.dumps(grid))
    words = ["bench", str(tmp_path / "grid.yaml"), "--out", str(tmp_path / "out")]
    assert main(words) == 0
    assert "| &lt;b&gt;\\|\\`ce\\` |" in (tmp_path / "out" / "table.md").read_text()
    assert "<b>|" not in (tmp_path / "out" / "report.html").read_text()
    (result,) = (tmp_path / "out").rglob("result.json")
    dice = json.loads(result.read_text())["last"]["dice"]
    result.write_text(result.read_text().replace('"dice"', '"dise"'))
    assert main([*words, "--resume"]) == 2
    assert "best.dice is missing. Remove this file and use --resume" in capfd.readouterr().err
    result.unlink()
    (noise,) = (tmp_path / "out").rglob("noise.json")
    noise.write_text("{}")
    assert main([*words, "--resume"]) == 2
    assert "overall_dice is missing. Remove this folder and use --resume" in capfd.readouterr().err
    shutil.rmtree(noise.parent)
    assert main([*words, "--resume"]) == 0
    assert json.loads(result.read_text())["last"]["dice"] == dice
