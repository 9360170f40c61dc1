"""The notebooks of ``examples/`` run from top to end, and what is kept of an earlier run names no machine and no error."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from tests.unit.test_docs import long_sentences

EXAMPLES = Path(__file__).parents[2] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
SELDOM = {"compare_and_calibrate", "loss_in_monai"}
"""Those that train networks run before a release alone."""

each = pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)


def marked(file: Path) -> Any:
    return pytest.param(file, id=file.stem, marks=[pytest.mark.system] if file.stem in SELDOM else [pytest.mark.slow])


@pytest.mark.parametrize("file", [marked(file) for file in NOTEBOOKS])
def test_it_runs_from_top_to_end(file: Path, tmp_path: Path) -> None:
    """Each in a copy of its folder, by nbmake, without anything that an earlier run left."""
    shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("made", "__pycache__"))
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbmake", "--nbmake-timeout=300", file.name]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(words, cwd=tmp_path / "examples", env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout[-4000:] + done.stderr[-1000:]


def outputs(file: Path) -> list[Any]:
    notebook = nbformat.read(file, as_version=4)
    nbformat.validate(notebook)
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


@each
def test_its_outputs_are_kept_whole_and_in_order(file: Path) -> None:
    cells = [cell for cell in nbformat.read(file, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for output in outputs(file) if output.output_type == "error"]
    assert any("image/png" in output.get("data", {}) for output in outputs(file))
    assert file.stat().st_size < 400_000


@each
def test_it_names_no_place_of_a_machine(file: Path) -> None:
    text = re.sub(r"[A-Za-z0-9+/=]{200,}", "", file.read_text(encoding="utf-8"))  # pictures
    assert not re.findall(r"(?<![\w.)])/(?:home|root|tmp|work|usr|var|opt|mnt|Users)\b[^\s\"]*|[A-Z]:\\\\|ipykernel_\d", text)


@each
def test_its_sentences_are_short(file: Path) -> None:
    said = [cell.source for cell in nbformat.read(file, as_version=4).cells if cell.cell_type == "markdown"]
    assert len(said) > 4 and not [long for text in said for long in long_sentences(text)]


@each
def test_it_says_what_is_generated_and_its_links_lead_somewhere(file: Path) -> None:
    said = [cell.source for cell in nbformat.read(file, as_version=4).cells if cell.cell_type == "markdown"]
    assert re.search(r"\bgenerated\b", "\n".join(said))
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", "\n".join(said)):
        assert (file.parent / target).exists(), target
