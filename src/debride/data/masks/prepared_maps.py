"""Maps that a method asks for (distances, superpixels), made once from each case's image or label and kept in the cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy.typing as npt

from debride.data.cache import Prepared
from debride.data.cache_entry import entry
from debride.files import content_hash
from debride.geometry.pixel_map import Fitted, PixelMap


def prepare_maps(
    prepared: Prepared,
    maps: Mapping[str, PixelMap],
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
) -> Prepared:
    """The same cases with ``maps`` by name; those that the cache lacks are made, one case at a time.

    The key of a map is made of its source's, which stands for the file's content and preparation, and the map's parameters: the
    noisy copies of a data set share superpixels, and a changed label never meets old distances. What a map finds from the
    labels (``Fitted``) is found first.
    """
    rows = range(len(prepared))
    maps = {
        name: kind.fitted(prepared.label(row) for row in rows) if isinstance(kind, Fitted) else kind
        for name, kind in maps.items()
    }
    files: dict[str, list[Path]] = {name: [] for name in maps}
    for row in rows:
        for name, pixel_map in maps.items():
            files[name].append(_made(prepared, row, pixel_map, folder))
        if progress:
            progress(row + 1, len(prepared))
    return replace(prepared, maps=maps, map_files={name: tuple(paths) for name, paths in files.items()})


def _made(prepared: Prepared, row: int, pixel_map: PixelMap, folder: Path) -> Path:
    source = prepared.image_files[row] if pixel_map.source == "image" else prepared.label_files[row]
    stem = source.stem if source else f"without a label {prepared.shapes[row]}"
    if pixel_map.source == "label":
        stem += prepared.partly(row)
    key = content_hash([], "map", stem, type(pixel_map).__module__, repr(pixel_map), pixel_map.version, prepared.spacings[row])
    file = folder / key[:2] / f"{key}.npy"

    def make() -> tuple[npt.NDArray[Any], dict[str, Any]]:
        array = prepared.image(row) if pixel_map.source == "image" else prepared.label(row)
        return pixel_map(array, prepared.spacings[row]), {}

    entry(file, make)
    return file
