"""Maps that a method asks for (distances, superpixels), made once of each of nnU-Net's preprocessed cases, and read where its
patches lie."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from debride.data.cache_entry import entry, mapped
from debride.data.loader import OUTSIDE, carried_map, overlap
from debride.files import content_hash
from debride.geometry.pixel_map import Fitted, PixelMap
from debride.nnunet.pixel_state import PreprocessedCases
from debride.nnunet.places import Places
from debride.warp import Warp


class PreprocessedMaps:
    """The ``maps`` by name of all rows of ``cases``, in a ``folder`` that trainings share: a map's name there is made of its
    source's bytes. ``spacing`` has the axes of the rows. ``progress`` is told after each row how many are done.
    """

    def __init__(
        self,
        maps: Mapping[str, PixelMap],
        cases: PreprocessedCases,
        spacing: tuple[float, ...],
        folder: Path,
        progress: Callable[[int], None] = lambda _: None,
    ) -> None:
        rows = range(len(cases))
        self.kinds = {
            name: kind.fitted(cases.label(row) for row in rows) if isinstance(kind, Fitted) else kind
            for name, kind in maps.items()
        }
        self.cases, self._files = cases, {name: list[Path]() for name in maps}
        for row in rows if maps else ():
            for name, kind in self.kinds.items():
                self._files[name].append(_made(cases, row, kind, spacing, folder))
            progress(row + 1)

    def seen(self, places: Places, warp: Warp) -> dict[str, Tensor]:
        """The maps (B, *S) as a batch's patches show them, on the device of ``warp``: lengths in pixels of the view, or ids."""
        region, device = warp.source_shape, warp.matrix.device
        rows = self.cases.rows(places) if self.kinds else ()
        seen = {}
        for name, kind in self.kinds.items():
            values: npt.NDArray[Any] = np.full((len(rows), *region), *OUTSIDE[kind.kind])
            for number, (row, start) in enumerate(zip(rows, places.origin.numpy(), strict=True)):
                source, target = overlap(start, region, self.cases.shapes[row])
                values[number][target] = mapped(self._files[name][row])[source]
            seen[name] = carried_map(warp, torch.from_numpy(values).to(device, non_blocking=True), kind)
        return seen


def _made(cases: PreprocessedCases, row: int, kind: PixelMap, spacing: tuple[float, ...], folder: Path) -> Path:
    source = np.ascontiguousarray(cases.image(row) if kind.source == "image" else cases.label(row))
    digest = hashlib.blake2b(source.data, digest_size=16).hexdigest()
    key = content_hash([], "map", digest, source.shape, type(kind).__module__, repr(kind), kind.version, spacing)
    file = folder / key[:2] / f"{key}.npy"
    entry(file, lambda: (kind(source, spacing), {}))
    return file
