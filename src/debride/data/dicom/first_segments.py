"""The first ``segments.json`` and key of a folder of studies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from debride.data.dicom.extra import require_dicom
from debride.data.dicom.handles import FOLDER
from debride.data.dicom.index import holds_dicom, opened_index
from debride.data.dicom.proposing import propose
from debride.data.dicom.pseudonyms import make_key
from debride.data.dicom.segments_file import FILE, read_segments
from debride.files import read_json, write_json
from debride.types import DataError

_LOOKED_AT = 10_000
"""Files of which one must be of DICOM, before anything is written into a folder."""


@dataclass(frozen=True)
class FirstSegments:
    """What was written of a data set of DICOM: its ``path``, and the names of the classes ``proposed``, in their order.

    ``kept`` says that the file was there before and stays as it is: its data set has a key now, if it had none.
    """

    path: Path
    proposed: tuple[str, ...]
    kept: bool

    def said(self) -> str:
        """What became of the file, in a sentence."""
        if self.kept:
            return "stays as it is."
        return f"written; correct it before you go on. Classes: {', '.join(self.proposed) or 'none, as no label was found'}."


def write_segments(root: Path, jobs: int = 1, progress: Callable[[int], None] = lambda done: None) -> FirstSegments:
    """Writes ``segments.json`` with a class for each label of the segments below ``root``, and makes the key of pseudonyms.

    One that names classes stays as it is; of one that names none the other entries stay. ``progress`` receives the number of
    files looked at. Raises DataError for a folder without DICOM.
    """
    require_dicom(root)
    path = root / FILE
    studies, said = root, {"format": "dicom"}
    if path.exists():
        known = read_segments(root)
        studies, said = root / known.studies, read_json(path)
        if known.classes:
            make_key(root)
            return FirstSegments(path, known.drawn[1:], kept=True)
    if not studies.is_dir() or not holds_dicom(studies, _LOOKED_AT):
        raise DataError(studies, "holds no files of DICOM", "Give the folder of the studies.")
    with opened_index(root / FOLDER, studies, make_key(root)) as index:
        index.refresh(jobs=jobs, progress=progress)
        if not index.count("image"):
            raise DataError(studies, "holds no images of DICOM that can be read", "Give the folder of the studies.")
        proposed = propose(facts for _, facts in index.labels())
    write_json(path, {**proposed, **{name: value for name, value in said.items() if name != "classes"}})
    return FirstSegments(path, read_segments(root).drawn[1:], kept=False)
