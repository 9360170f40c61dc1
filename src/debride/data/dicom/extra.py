"""The packages that read DICOM, which are an extra."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from debride.types import DataError

INSTALL = "Run `pip install 'debride[dicom]'`."


def require_dicom(where: Path) -> None:
    """DataError, naming what was to be read or written, where pydicom and highdicom are not installed."""
    if missing := [name for name in ("pydicom", "highdicom") if find_spec(name) is None]:
        raise DataError(where, f"needs the package {missing[0]}, which is not installed", INSTALL)
