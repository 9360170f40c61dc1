"""What the indices of palette pictures mean in a data set: a file may list the same colours in an order of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from debride.data.pixels import find_pixels, pixels_of
from debride.data.pixels.kind import Array, Colour
from debride.notes import note
from debride.types import DataError, Palette

BLACK = (0, 0, 0)

_REMEDY = "Save all masks with one palette, or as grey pictures of class values."


@dataclass(frozen=True)
class OwnColours:
    """How the indices of one file stand to those of its data set: ``meaning`` by own index, and the data set's colours."""

    meaning: dict[int, int]
    own: tuple[Colour, ...]
    colours: dict[int, Colour]

    def meant(self, values: Array) -> Array:
        """The data set's indices of a file's own ones."""
        table = np.arange(256, dtype=np.uint8)
        table[list(self.meaning)] = list(self.meaning.values())
        meant: Array = table[values]
        return meant

    def stored(self, values: Array) -> Array:
        """The file's own indices of the data set's, as ``added`` completes its palette."""
        table = np.arange(max(256, int(values.max(initial=0)) + 1), dtype=np.uint16)
        for value, index in self._stored(values).items():
            table[value] = index
        stored: Array = table[values]
        return stored

    def added(self, values: Array) -> dict[int, Colour]:
        """The colours of indices beyond the file's palette that ``stored`` uses."""
        return {
            index: self.colours.get(value, BLACK) for value, index in self._stored(values).items() if index >= len(self.own)
        }

    def _stored(self, values: Array) -> dict[int, int]:
        indices = {value: index for index, value in sorted(self.meaning.items(), reverse=True)}
        free = len(self.own)
        for value in map(int, np.unique(values)):
            if value not in indices:
                colour = self.colours.get(value)
                indices[value] = self.own.index(colour) if colour in self.own else free
                free += indices[value] == free
        return indices


def own_colours(path: Path, own: tuple[Colour, ...], values: Array, palette: Palette | None) -> OwnColours | None:
    """How a palette picture's indices (*S) stand to the data set's; None where they are the same.

    Each index that occurs means what its colour means in the data set. Raises DataError, naming two files, where that is not
    certain: for a colour that the data set's palette does not have, or has twice.
    """
    if not own:
        return None
    if palette is None:
        _refuse_black_elsewhere(path, {index: own[index] for index in map(int, np.unique(values)) if index < len(own)})
        return None
    meaning: dict[int, int] = {}
    for index in map(int, np.unique(values)):
        colour = own[index] if index < len(own) else None
        if colour is None:
            raise DataError(path, f"has the index {index}, for which its palette has no colour", _REMEDY)
        if palette.colours.get(index) == colour or colour == (index, index, index):
            meaning[index] = index
            continue
        meant = [value for value, known in palette.colours.items() if known == colour]
        if len(meant) != 1:
            other = palette.colours.get(index)
            there = f"has {other} there" if other else "has no such index"
            problem = f"is a palette picture with the colour {colour} as index {index}, {palette.file} {there}"
            raise DataError(path, problem, _REMEDY)
        meaning[index] = meant[0]
    if len(set(meaning.values())) < len(meaning):
        raise DataError(path, f"has one colour of {palette.file} under two indices", _REMEDY)
    if all(index == value for index, value in meaning.items()):
        return None
    note(path, "is a palette picture with another order of colours than others, and is read by its colours")
    return OwnColours(meaning, own, palette.colours)


def find_palette(labels: Iterable[Path]) -> Palette | None:
    """The palette by which the labels of a data set are read: colours by index, as most files have them; None without any.

    Only headers are read, and pixels where the palettes differ: what counts is the colours of indices that occur. Where black
    is among them it must be index 0, the background: so it is in grey pictures. Files that cannot be read are passed over.
    DataError, naming two files, where none of the palettes has it so.
    """
    alike: dict[tuple[Colour, ...], list[Path]] = {}
    plain: Path | None = None
    for path in labels:
        if (kind := find_pixels(path)).indexed:
            with suppress(DataError):
                own = kind.palette(path)
                alike.setdefault(own, []).append(path) if own else None
                plain = plain if own else path
    groups = _groups((paths[0], len(paths), dict(enumerate(own))) for own, paths in alike.items())
    if len(groups) > 1 or (groups and plain and not _black_first(groups[0].colours)):
        groups = _groups((path, 1, colours) for own, paths in alike.items() for path, colours in _occurring(own, paths))
    if not groups:
        return None
    fit = [group for group in groups if _black_first(group.colours)]
    if not fit and plain:
        _refuse_black_elsewhere(groups[0].file, groups[0].colours, plain)
    if not fit and len(groups) > 1:
        _refuse_black_elsewhere(groups[0].file, groups[0].colours, groups[1].file)
    best = max(fit or groups, key=lambda group: group.count)
    return Palette(best.colours, best.file)


@dataclass
class _Group:
    """Files that agree on the colours of the indices that they share: the first, how many, and all colours."""

    file: Path
    count: int
    colours: dict[int, Colour]


def _groups(files: Iterable[tuple[Path, int, dict[int, Colour]]]) -> list[_Group]:
    """Files (each with how many are like it) put together where they agree; those of plain greys are left out."""
    groups: list[_Group] = []
    for path, count, colours in sorted(files, key=lambda file: -file[1]):
        if all(colour == (index, index, index) for index, colour in colours.items()):
            continue
        for group in groups:
            if all(group.colours.get(index, colour) == colour for index, colour in colours.items()):
                group.colours.update(colours)
                group.count += count
                break
        else:
            groups.append(_Group(path, count, dict(colours)))
    return groups


def _occurring(own: tuple[Colour, ...], paths: Iterable[Path]) -> Iterator[tuple[Path, dict[int, Colour]]]:
    """The colours of the indices that occur in files of one palette."""
    for path in paths:
        with suppress(DataError):
            present = np.unique(pixels_of(path).values(path)[0]).tolist()
            yield path, {index: own[index] for index in present if index < len(own)}


def _black_first(colours: dict[int, Colour]) -> bool:
    """Whether black is index 0, or not among the colours."""
    return colours.get(0) == BLACK or BLACK not in colours.values()


def _refuse_black_elsewhere(path: Path, colours: dict[int, Colour], other: Path | None = None) -> None:
    if not _black_first(colours):
        beside = f", unlike {other}" if other else ""
        index = next(index for index, colour in colours.items() if colour == BLACK)
        problem = f"is a palette picture with black as index {index} and {colours.get(0)} as index 0, the background{beside}"
        raise DataError(path, problem, _REMEDY)
