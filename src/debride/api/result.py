"""What every function that writes a folder gives back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Result:
    """What was written to the folder ``out``."""

    out: Path
