"""All verbs on an archive of studies one after the other, with what they print: what the tests of privacy look through."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from debride.api.datasets import open_dataset
from debride.cli import main
from debride.data.pixels.images import read_label, write_values

SMALL = ("--epochs", "1", "--network", "unet-small", "--width", "4", "--batch-size", "2")
"""Options of a training that takes a second."""


@dataclass
class Workflow:
    """Runs verbs below a folder; ``said`` is what each printed, with its words."""

    root: Path
    said: list[tuple[str, str]] = field(default_factory=list)

    def __truediv__(self, name: str) -> Path:
        return self.root / name

    def run(self, *words: object, code: int = 0) -> str:
        """What a verb prints, its own processes too. It must end with ``code``."""
        line = " ".join(str(word) for word in words)
        with _caught(self.root / ".said") as ended:
            ended.append(main([str(word) for word in words]))
        text = (self.root / ".said").read_text(errors="surrogateescape")
        (self.root / ".said").unlink()
        self.said.append((line, text))
        assert ended == [code], f"{line}\n{text}"
        return text


@contextmanager
def _caught(file: Path) -> Iterator[list[int]]:
    """What is written to standard output and standard error, by whatever means, goes into a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    streams = sys.stdout, sys.stderr
    with file.open("w", encoding="utf-8", errors="surrogateescape", buffering=1) as opened:
        os.dup2(opened.fileno(), 1)
        os.dup2(opened.fileno(), 2)
        sys.stdout = sys.stderr = opened
        try:
            yield []
        finally:
            sys.stdout, sys.stderr = streams
            for number, descriptor in enumerate(kept, start=1):
                os.dup2(descriptor, number)
                os.close(descriptor)


def write_right_labels(studies: Path, folder: Path) -> None:
    """Writes the labels of a data set as NIfTI, named by the cases: right predictions."""
    dataset = open_dataset(studies)
    folder.mkdir()
    for case in dataset.cases:
        assert case.label is not None
        ids, geometry = read_label(case.label, dataset)
        write_values(folder / f"{case.id}.nii.gz", ids, geometry)
