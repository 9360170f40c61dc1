"""Files of a data set's folder that are no part of a case: which of them a copy gets, and which stay behind."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

from debride.data.checksums import CHECKSUMS
from debride.data.formats import find_format
from debride.data.formats.layout import case_folders
from debride.data.pixels import is_hidden, stem
from debride.notes import note
from debride.types import Dataset

RECORDS = frozenset({CHECKSUMS, "noise.json", "repairs.jsonl", "repairs"})
"""What says how a folder itself was made: it is not true of a copy, and not carried."""

LARGEST = 1 << 24
"""Bytes of a file that is carried along."""


def carry_others(dataset: Dataset, folder: Path, besides: Collection[str] = ()) -> None:
    """Copies the files that lie in a data set's folder itself and are not in the copy yet; notes what else stays behind.

    Hidden files, ``RECORDS``, what is named ``besides`` and what the layout does not carry stay behind without a word, and of a
    part of a data set everything does.
    """
    if dataset.rest is None or not dataset.root.is_dir():
        return
    layout, cases = find_format(dataset.format), (*dataset.cases, *dataset.rest)
    own = {file for case in cases for file in (*case.image, *([case.label] if case.label else []))}
    used = own | {part for place in case_folders(dataset) for part in (place, *place.parents)}
    for path in sorted(dataset.root.iterdir()):
        if is_hidden(path) or path.name in {*RECORDS, *besides} or path in used or (folder / path.name).exists():
            continue
        if not layout.carries(path):
            continue
        if path.is_file() and path.stat().st_size <= LARGEST:
            shutil.copyfile(path, folder / path.name)
        else:
            _leave(path)
    names = {(file.parent, stem(file)) for file in own}
    for inside in sorted(case_folders(dataset) - {dataset.root}):
        for path in sorted(inside.iterdir()):
            if path not in used and not is_hidden(path) and (inside, stem(path)) not in names and layout.carries(path):
                _leave(path)


def _leave(path: Path) -> None:
    note(path, "is no part of a case, and is not copied")
