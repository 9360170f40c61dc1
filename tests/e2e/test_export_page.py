"""What docs/export.md shows runs as it stands there, on a small run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.training_jobs import small_job

import debride
from debride.cli import main
from debride.data.pixels.images import read_image, read_values
from debride.export.run_export import EXAMPLES, export_run
from debride.training.fit import fit

PAGE = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(?:python|sh)\n(.*?)```", PAGE, re.DOTALL)


def words_of(line: str) -> list[str]:
    assert line.startswith("debride "), line
    return shlex.split(line, comments=True)[1:]


def test_the_page_from_top_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, seed in (("run", 0), ("second-run", 1), ("third-run", 2), ("cross-validation/fold-1", 3)):
        fit(small_job(tmp_path, "ce", out=name, seed=seed, epochs=1))
    Path("images").symlink_to(tmp_path / "data" / "images")
    export, use, *_ = BLOCKS
    assert main(words_of(export)) == 0
    names: dict[str, torch.Tensor] = {}
    exec(use, names)
    assert names["mask"].shape == (480, 640)
    assert debride.export_run("run", "again", to="onnx").files == ("README.md", "model.onnx", "preprocessing.json")
    (folds,) = (block for block in BLOCKS if "--with" in block)
    first, second = folds.splitlines()
    assert main(words_of(first)) == 0
    assert main([*words_of(second)[:-1], "more-masks"]) == 0
    (begin,) = (block for block in BLOCKS if "--init" in block)
    renamed = {"scans/": "data", "run": "begun", "other-run": "run"}
    words = [renamed.get(word, word) for word in words_of(begin)]
    small = ["--image-size", "32", "32", "--network", "unet-small", "--width", "4", "--epochs", "1", "--device", "cpu"]
    assert main([*words, *small]) == 0
    (state,) = (block for block in BLOCKS if "save_file" in block)
    held = torch.nn.Linear(2, 2).state_dict()
    torch.save({"network_weights": held}, "checkpoint_final.pth")
    exec(state, {})
    assert Path("init.safetensors").exists()


@pytest.mark.parametrize("form", ["torchscript", "onnx"])
def test_the_example_in_a_folder_runs_there(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit(small_job(tmp_path, "ce", epochs=1, image_size=(24, 40)))  # which networks see padded
    assert form in EXAMPLES
    export_run(tmp_path / "run", form, tmp_path / "out")  # type: ignore[arg-type]
    text = (tmp_path / "out" / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path / "out")
    exec(code, {})
    assert "| 0 | background | 0 |" in text and "resized" in text
    masks = debride.predict(tmp_path / "run", tmp_path / "data", tmp_path / "masks", jobs=1)
    if form == "torchscript":  # as the first lines of the page
        model = torch.jit.load("model.ts")
        case = next(iter(masks.masks))
        image = np.asarray(read_image([tmp_path / "data" / "images" / f"{case}.png"])[0])
        np.testing.assert_array_equal(model.predict(torch.from_numpy(image), []), read_values(masks.masks[case])[0])
