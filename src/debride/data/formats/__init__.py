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
from debride.plugins import load, load_registered, registered
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

GROUP = "debride.formats"
"""The entry points by which installed packages register layouts of their own."""

__all__ = ["FORMATS", "Format", "Layout", "Legend", "NewLabels", "Report", "detect_format", "find_format"]


def find_format(name: str, where: object = "`format`") -> Format:
    """The layout of that name: a built-in one, else what ``package.module:Class`` is, else what a package registers.

    DataError, naming ``where`` the name stands, if there is none, and for what is no ``Format``.
    """
    if name in FORMATS:
        return FORMATS[name]
    thing = load(name, where) if ":" in name else load_registered(GROUP, name, where)
    if thing is None:
        raise DataError(where, f"is {name!r}", f"Give one of {', '.join([*sorted(FORMATS), *registered(GROUP)])}.")
    layout = thing() if isinstance(thing, type) else thing
    if not isinstance(layout, Format):
        raise DataError(where, f"is {name!r}, which is no Format", "See docs/how-to/format.md for what one is made of.")
    layout.name = name  # by which a data set of it finds it again
    return layout


def detect_format(root: Path) -> Format | None:
    """The layout of a folder (or file) by the files that it has; None if no layout knows it."""
    return next((layout for layout in FORMATS.values() if layout.detects(root)), None)
