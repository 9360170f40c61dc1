"""How messages name many things."""

from __future__ import annotations

from collections.abc import Sequence


def some(names: Sequence[str], shown: int = 5) -> str:
    """The first names, and dots for those left out."""
    return ", ".join(names[:shown]) + (", ..." if len(names) > shown else "")
