"""Folder layouts: how each one is known, and how its cases, classes and splits are read and written.

Nothing outside this room names a layout. ``FORMATS`` lists them, ``find_format`` finds one by name, ``detect_format`` by files.
"""

from __future__ import annotations

from pathlib import Path

from debride.data.formats.layout import Format, Layout, Legend, NewLabels, Placed, Report
from debride.plugins import Registry, lacks_of

__all__ = ["FORMATS", "Format", "Layout", "Legend", "NewLabels", "Placed", "Report", "detect_format", "find_format"]


FORMATS: Registry[Format] = Registry(
    "format",
    "debride.formats",
    lacks_of(Format),
    {
        "table": "debride.data.formats.class_table:ClassTable",
        "manifest": "debride.data.formats.manifest:Manifest",
        "nnunet": "debride.data.formats.nnunet:NnUNet",
        "dicom": "debride.data.formats.dicom:Dicom",
        "folder": "debride.data.formats.folder:Folder",
        "npz": "debride.data.formats.npz:Npz",
        "classes": "debride.data.formats.class_folders:ClassFolders",
    },
    made=True,
)
"""All layouts by name, in the order in which they are asked whether a folder is theirs."""


def find_format(name: str, where: object = "`format`") -> Format:
    """The layout of that name: a built-in one, else what ``package.module:Class`` is, else what a package registers.

    DataError, naming ``where`` the name stands, if there is none.
    """
    if name in FORMATS:
        return FORMATS[name]
    layout = FORMATS.find(name, where)
    layout.name = name  # by which a data set of it finds it again
    return layout


def detect_format(root: Path) -> Format | None:
    """The layout of a folder (or file) by the files that it has; None if no layout knows it."""
    return next((layout for layout in FORMATS.values() if layout.detects(root)), None)
