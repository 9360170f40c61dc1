"""The page on trainings day by day: its commands run as they stand, but for sizes."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from tests.datasets import build_folder

from debride.cli import main

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("debride") and not line.endswith("\\")
]
"""Those of one line: the one by plans of nnU-Net needs its networks, and tests/nnunet has it."""
SMALL = "--image-size 16 16 --network unet-small --width 2 --epochs 2 --batch-size 6 --device cpu"


@pytest.mark.slow
def test_the_commands_run_from_top_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    build_folder(tmp_path / "scans", n=12, classes=3)
    shutil.copytree(build_folder(tmp_path / "others", n=6, classes=3, seed=1) / "images", tmp_path / "more")
    monkeypatch.chdir(tmp_path)
    assert len(COMMANDS) == 7
    for command in COMMANDS:
        capsys.readouterr()
        assert main(shlex.split(command.replace("--image-size 256 256", SMALL))[1:]) == 0, command
    assert [path.name for path in sorted(Path("runs").iterdir())] == ["ce", "gce", "more", "tracked", "two"]
    assert Path("runs/tracked/mlruns").is_dir() and Path("compared/runs.png").is_file()
    described = json.loads(Path("runs/more/run.json").read_text())
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    small = "image_size=(16, 16), network='unet-small', width=2, epochs=2, device='cpu'"
    exec(block.replace("image_size=(256, 256)", small), {})
    assert "6 runs (6 finished)" in capsys.readouterr().out and Path("runs/alc/mlruns").is_dir()
    assert len(described["unlabelled"]) == 6 and len(described["trusted"]) == 8
