"""How messages name many things."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence


def some(names: Sequence[str], shown: int = 5) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")


def listed(names: Iterable[str]) -> str:
    """All names as prose: "a", "a and b", "a, b and c"."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def counted(number: int, one: str, several: str = "") -> str:
    """So many of something: "1 label", "0 labels", "2 classes"."""
    return f"{number} {one if number == 1 else several or f'{one}s'}"


def numbers(values: Iterable[float]) -> str:
    """Numbers with four digits each: "0.5, 0.5, 3"."""
    return ", ".join(f"{value:.4g}" for value in values)


def amount(value: float) -> str:
    """A size to four digits, and a large one to its last: "0.01234", "12.34", "29743"."""
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"


def duration(seconds: float) -> str:
    """A time, as exact as an estimate is: "40 s", "25 min", "2 h 10 min", "3 d 4 h"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(5 * round(minutes / 5), 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def gigabytes(size: float) -> str:
    """A number of bytes: "5.2 GB", "31 MB"."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{math.ceil(size / 1e6)} MB"


def short(text: str, most: int = 60) -> str:
    """The beginning of a long text."""
    return text if len(text) <= most else text[: most - 1] + "…"
