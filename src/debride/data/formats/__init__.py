"""Folder layouts: how each one is known, and how its cases, classes and splits are read and written.

Nothing outside this room names a layout. ``FORMATS`` lists them, ``find_format`` finds one by name, ``detect_format`` by files.
"""

from __future__ import annotations

from pathlib import Path

from debride.data.formats.class_folders import ClassFolders
from debride.data.formats.class_table import ClassTable
from debride.data.formats.folder import Folder
from debride.data.formats.layout import Format, Layout, Legend, NewLabels, Report
from debride.data.formats.manifest import Manifest
from debride.data.formats.nnunet import NnUNet
from debride.data.formats.npz import Npz
from debride.types import DataError

FORMATS: dict[str, Format] = {
    layout.name: layout
    for layout in (
        ClassTable(),
        Manifest(),
        NnUNet(),
        Folder(),
        Npz(),
        ClassFolders(),
    )
}
"""All layouts by name, in the order in which they are asked whether a folder is theirs."""

__all__ = ["FORMATS", "Format", "Layout", "Legend", "NewLabels", "Report", "detect_format", "find_format"]


def find_format(name: str) -> Format:
    """The layout of that name; DataError if there is none."""
    if name not in FORMATS:
        raise DataError("format", f"is {name!r}", f"Give one of {', '.join(sorted(FORMATS))}.")
    return FORMATS[name]


def detect_format(root: Path) -> Format | None:
    """The layout of a folder (or file) by the files that it has; None if no layout knows it."""
    return next((layout for layout in FORMATS.values() if layout.detects(root)), None)
