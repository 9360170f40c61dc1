"""How messages name many things."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def some(names: Sequence[str], shown: int = 5) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")


def listed(names: Iterable[str]) -> str:
    """All names as prose: "a", "a and b", "a, b and c"."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def numbers(values: Iterable[float]) -> str:
    """Numbers with four digits each: "0.5, 0.5, 3"."""
    return ", ".join(f"{value:.4g}" for value in values)


def short(text: str, most: int = 60) -> str:
    """The beginning of a long text."""
    return text if len(text) <= most else text[: most - 1] + "…"
