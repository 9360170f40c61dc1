"""Verbs that need no torch work without it, and the others say what is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.datasets import build_folder

WITHOUT = """
import sys
for name in ("torch", "monai", "lightning_fabric"):
    sys.modules[name] = None
from debride.cli import main
for words in {commands!r}:
    code = main(words)
    print("CODE", code)
"""

pytestmark = pytest.mark.slow


def answers(folder: Path, *commands: str) -> tuple[list[int], str]:
    """The exit codes of commands in one process that has no torch, and what was said on the error stream."""
    script = WITHOUT.format(commands=[command.split() for command in commands])
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=False)
    return [int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("CODE")], done.stderr


def test_what_works_without_torch(tmp_path: Path) -> None:
    build_folder(tmp_path / "scans", n=8)
    codes, said = answers(
        tmp_path,
        "check scans --jobs 1",
        "methods gce",
        "datasets acdc",
        "datasets generated --out made --set cases=6 wrong=2 --jobs 1",
        "corrupt scans noisy --noise markov --jobs 1",
        "choose scans --count 2 --out verified.txt",
        "evaluate noisy/masks scans --splits train --out measured --jobs 1",
        "completions bash",
    )
    assert codes == [0] * 8, said


@pytest.mark.parametrize(
    "command", ["train ce scans --out run", "train gce --help", "audit scans --without-predictions --out a"]
)
def test_what_needs_torch_says_so(command: str, tmp_path: Path) -> None:
    build_folder(tmp_path / "scans", n=8)
    codes, said = answers(tmp_path, command)
    assert codes == [2]
    assert (
        said.strip().splitlines()[-1]
        == "debride: this needs torch, which is not installed. Install it: the documentation, page install, says how."
    )
