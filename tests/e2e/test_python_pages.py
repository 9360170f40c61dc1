"""The page of the public face: its code runs as it stands, and names what there is."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

import debride
from debride.api.given import names_of
from debride.bench.phantom import write_phantoms
from debride.data.open import open_dataset
from debride.data.pixels.images import read_label
from debride.training.config import TrainConfig

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
QUICK = {
    "image_size=(256, 256)": "image_size=(16, 16), network='unet-small', width=2, device='cpu', log_to=(), batch_size=4",
    '"image_size": [256, 256]': '"image_size": [16, 16], "network": "unet-small", "width": 2, "device": "cpu"',
    "epochs=50": "epochs=1",
    '"epochs": 50': '"epochs": 1',
}
"""What makes the page's trainings quick."""


def test_the_page_runs_from_top_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_phantoms(tmp_path / "scans", 24, 6, 0, 48, 2, seed=0)
    (tmp_path / "scans" / "splits.json").unlink()
    (tmp_path / "maps").mkdir()
    dataset = open_dataset(tmp_path / "scans")
    for case in dataset.cases:
        assert case.label
        label = read_label(case.label, dataset)[0]
        soft = np.stack([gaussian_filter((label == number).astype(np.float32), 1.0) for number in range(2)])
        np.save(tmp_path / "maps" / f"{case.id}.npy", soft / soft.sum(axis=0))
    for case in ("p002_0", "p003_0", "p005_0", "p007_0", "p008_0", "p010_0"):
        mask = tmp_path / "scans" / "masks" / f"{case}.png"
        Image.fromarray(np.fliplr(np.asarray(Image.open(mask)))).save(mask)
    monkeypatch.setattr("debride.execute.cores", lambda: 1)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in BLOCKS:
        for long, quick in QUICK.items():
            block = block.replace(long, quick)
        exec(block, names)
    said = capsys.readouterr().out
    assert (
        "p003_0: flip, wrong with probability" in said and "6 of 30 labels are flagged" in said and "6 findings applied" in said
    )
    assert read_label(Path("as-given/masks/p003_0.png"), dataset)[0].any()
    assert len(sorted(Path("other-masks").glob("*.png"))) == len(names["dataset"].of("test"))  # type: ignore[attr-defined]


def test_every_function_has_its_part() -> None:
    functions = [name for name in debride.__all__ if inspect.isfunction(getattr(debride, name))]
    parts = re.findall(r"^### (\w+)$", PAGE, re.MULTILINE)
    assert sorted(parts) == sorted(functions)


def test_the_whole_way_is_short() -> None:
    assert 20 < len(BLOCKS[1].splitlines()) <= 40


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_keywords_exist(number: int) -> None:
    calls = [node for node in ast.walk(ast.parse(BLOCKS[number])) if isinstance(node, ast.Call)]
    ours = [call for call in calls if ast.unparse(call.func).startswith("debride.")]
    assert ours or not calls
    for call in ours:
        name = ast.unparse(call.func).removeprefix("debride.")
        parameters = inspect.signature(getattr(debride, name)).parameters
        open_ended = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
        unknown = {keyword.arg for keyword in call.keywords} - set(parameters)
        assert open_ended or not unknown, (name, unknown)


def test_keywords_in_the_text_exist() -> None:
    functions = [getattr(debride, name) for name in debride.__all__ if inspect.isfunction(getattr(debride, name))]
    known = {name for function in functions for name in inspect.signature(function).parameters} | set(names_of(TrainConfig))
    text = re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)
    assert {name for code in re.findall(r"`([^`\n]+)`", text) for name in re.findall(r"\b(\w+)=", code)} <= known
