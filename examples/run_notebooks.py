"""Runs notebooks from top to end, and writes them with what they show.

    python examples/run_notebooks.py [NAME.ipynb ...]

What differs from run to run, or from machine to machine, is taken out: times, bars of progress, names of temporary files.
Pictures keep 256 colours, which makes them small.
"""

from __future__ import annotations

import base64
import io
import re
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from PIL import Image

HERE = Path(__file__).parent
COLOURS = 256
TEMPORARY = re.compile(r"\S*/ipykernel_\d+/\d+\.py:\d+: |\S*/tqdm/auto.py:\d+: TqdmWarning: .*\n.*\n")
"""The cell that warns, as Python names it; and that a bar of another package's could be drawn better."""
EMBEDDED = re.compile(r"(?<=data:image/png;base64,)[A-Za-z0-9+/=]+")


def run(file: Path) -> None:
    """Runs a notebook in its folder and writes it anew."""
    notebook = nbformat.read(file, as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(file.parent)}}).execute()
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = [tidy for tidy in map(tidied, cell.outputs) if shown(tidy)]
    notebook.metadata.pop("widgets", None)
    notebook.metadata.language_info = {"name": "python"}
    nbformat.write(notebook, file)


def shown(output: Any) -> bool:
    """Whether an output holds anything; a bar that is done leaves an empty one."""
    texts = output.data.values() if "data" in output else [output.get("text", "an error")]
    return any(text.strip() not in ("", "<IPython.core.display.HTML object>") for text in texts)


def tidied(output: Any) -> Any:
    """An output without the names of temporary files, and with small pictures."""
    if "text" in output:
        output.text = TEMPORARY.sub("", output.text)
    for kind, value in output.get("data", {}).items():
        output.data[kind] = small(value) if kind == "image/png" else EMBEDDED.sub(lambda match: small(match[0]), value)
    return output


def small(encoded: str) -> str:
    """A PNG, in base 64, with few colours."""
    picture, out = Image.open(io.BytesIO(base64.b64decode(encoded))), io.BytesIO()
    picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return base64.b64encode(out.getvalue()).decode()


if __name__ == "__main__":
    for name in sys.argv[1:] or sorted(file.name for file in HERE.glob("*.ipynb")):
        run(HERE / Path(name).name)
