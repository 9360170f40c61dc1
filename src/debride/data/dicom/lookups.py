"""Tables of DICOM: the colours of a palette, and the modality's units of a stored number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.types import DataError

Array = npt.NDArray[Any]

_DAMAGED = "Restore the series from the archive, or take it out."

_CHANNELS = ("Red", "Green", "Blue")


def coloured(stored: Array, dataset: Any, where: Path) -> Array:
    """RGB (3, H, W) of indices (H, W), by a palette (PS3.3 C.7.6.3.1.5 and C.7.6.3.1.6).

    Colours of 16 bits for indices of 8 are read in 8 bits, as SimpleITK and GDCM do.
    """
    colours = np.stack([_looked_up(stored, *_palette(dataset, channel, where)) for channel in _CHANNELS])
    return (colours >> 8).astype(np.uint8) if colours.dtype == np.uint16 and stored.dtype.itemsize == 1 else colours


def in_units(stored: Array, item: Any, dataset: Any, where: Path) -> Array:
    """Numbers (H, W) by a modality LUT (PS3.3 C.11.1.1.1), of which ``item`` is the sequence's."""
    count, first, bits = _descriptor(item, "LUTDescriptor", where)
    return _looked_up(stored, _entries(item["LUTData"], count, bits, dataset, where), first)


def _palette(dataset: Any, channel: str, where: Path) -> tuple[Array, int]:
    """The entries of a channel, and the number that the first of them stands for."""
    count, first, bits = _descriptor(dataset, f"{channel}PaletteColorLookupTableDescriptor", where)
    if (plain := f"{channel}PaletteColorLookupTableData") in dataset:
        return _entries(dataset[plain], count, bits, dataset, where), first
    if (segmented := f"Segmented{channel}PaletteColorLookupTableData") in dataset:
        return _joined(_entries(dataset[segmented], 0, bits, dataset, where), count, where), first
    raise DataError(where, f"has a palette without {channel.lower()}", _DAMAGED)


def _descriptor(item: Any, name: str, where: Path) -> tuple[int, int, int]:
    """Number of entries (0 stands for 65536), what the first one stands for, and bits of an entry."""
    said = item.get(name)
    count, first, bits = (int(value) for value in (said if said is not None and len(said) == 3 else (0, 0, 0)))
    if bits not in (8, 10, 12, 14, 16) or not 0 <= count <= 0xFFFF:
        raise DataError(where, "has a table whose size it does not say", _DAMAGED)
    return count or 1 << 16, first, bits


def _entries(element: Any, count: int, bits: int, dataset: Any, where: Path) -> Array:
    """The entries of a table: in 16 bits, or of 8 bits two in each word, the lower one first. ``count`` 0: all."""
    little = bool(dataset.original_encoding[1])
    value = element.value
    if not isinstance(value, bytes):  # numbers that are decoded
        found = np.atleast_1d(np.asarray(value)).astype(np.int64) & 0xFFFF
    else:
        words = np.frombuffer(value, "<u2" if little else ">u2", len(value) // 2)
        found = words.astype(np.int64)
    if (bits == 8 and not count) or (count and len(found) == (count + 1) // 2):  # packed
        found = np.stack([found & 0xFF, found >> 8], axis=1).ravel()
        bits = 8
    if count and not count <= len(found) <= count + 1:
        raise DataError(where, f"has a table of {len(found)} entries, and says {count}", _DAMAGED)
    return (found[:count] if count else found).astype(np.uint8 if bits == 8 and (found < 256).all() else np.uint16)


def _joined(said: Array, count: int, where: Path) -> Array:
    """The ``count`` entries that segments stand for (PS3.3 C.7.9.2): discrete, linear, and repeated ones."""
    entries: list[int] = []
    _segments([int(number) for number in said], 0, 0, entries, count, said.itemsize, where)
    if len(entries) < count:
        raise DataError(where, f"has a table of {len(entries)} entries, and says {count}", _DAMAGED)
    return np.array(entries[:count], said.dtype)


def _segments(said: list[int], at: int, most: int, entries: list[int], count: int, size: int, where: Path) -> None:
    """Append what the segments from ``at`` on stand for: all, or ``most`` of them."""
    done = 0
    while at + 2 <= len(said) and len(entries) < count and (not most or done < most):
        kind, length = said[at], said[at + 1]
        if kind == 0:
            entries += said[at + 2 : at + 2 + length]
            at += 2 + length
        elif kind == 1 and entries and at + 3 <= len(said):
            start, end = entries[-1], said[at + 2]
            entries += [round(start + (end - start) * step / length) for step in range(1, length + 1)]
            at += 3
        elif kind == 2 and length and not most and at + 2 + 4 // size <= len(said):
            offset = sum(number << 8 * size * place for place, number in enumerate(said[at + 2 : at + 2 + 4 // size]))
            _segments(said, offset // size, length, entries, count, size, where)
            at += 2 + 4 // size
        else:
            raise DataError(where, "has a table of segments that contradict themselves", _DAMAGED)
        done += 1


def _looked_up(stored: Array, entries: Array, first: int) -> Array:
    """Entries by numbers; those below the first and above the last have the first and the last one."""
    if stored.dtype.kind == "u" and first < 0:
        first &= 0xFFFF
    index = np.clip(stored.astype(np.int64) - first, 0, len(entries) - 1)
    found: Array = entries[index]
    return found
