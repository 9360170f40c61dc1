"""How much each pixel of nnU-Net's training cases counts, from maps beside the labels: on the grid of the preprocessed cases.

A map is a file like a label: uint8, 255 is full weight. A case without one counts fully. What is read in training is kept as
255 less the weight, so that what lies outside of a case counts as much as it does in nnU-Net.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from debride.files import atomic_path
from debride.nnunet.places import Places
from debride.types import DataError
from debride.words import some

Map = npt.NDArray[np.uint8]

FULL = 255


class PixelWeights:
    """Weights of pixels by the case, where some are less than full: doubts (*S) uint8 on the grid of a preprocessed case."""

    def __init__(self, doubts: Mapping[str, Map]) -> None:
        self.doubts = doubts

    def at(self, places: Places, device: torch.device | str = "cpu") -> Tensor:
        """The weights (B, 1, *S) from 0 to 1 of a batch's pixels; 1 outside of cases."""
        region = np.zeros((len(places.keys), 1, *places.warp.source_shape), np.float32)
        for number, key in enumerate(places.keys):
            if key in self.doubts:
                doubt = self.doubts[key]
                shown = doubt if places.slices is None else doubt[int(places.slices[number])]
                self._fill(region[number, 0], shown, places.origin[number])
        if not region.any():
            return torch.ones((len(region), 1, *places.warp.out_shape), device=device)
        return 1 - places.warp.to(device).sample(torch.from_numpy(region).to(device)) / FULL

    @staticmethod
    def _fill(region: npt.NDArray[np.float32], doubt: Map, origin: Tensor) -> None:
        """Puts into a region that starts at ``origin`` what of a case lies in it."""
        start = [int(place) for place in origin]
        low = [max(place, 0) for place in start]
        high = [min(place + n, length) for place, n, length in zip(start, region.shape, doubt.shape, strict=True)]
        if all(a < b for a, b in zip(low, high, strict=True)):
            here = tuple(slice(a - place, b - place) for a, b, place in zip(low, high, start, strict=True))
            region[here] = doubt[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]


def read_weights(
    folder: Path, ending: str, plans: Any, configuration: Any, cases: Any, cache: Path, say: Callable[[str], object]
) -> PixelWeights:
    """The maps of a folder for ``cases`` (``nnUNetBaseDataset``), on their grid; those of other cases are left.

    They are brought there once, kept in ``cache``, and made anew where a file or the grid changed. ``say`` is told how many
    there are. Raises DataError for a folder without maps, and for a map that does not lie on the grid of its case.
    """
    files = {file.name.removesuffix(ending): file for file in sorted(folder.glob(f"*{ending}"))}
    if not files:
        remedy = "Write them with `debride repair --to weights`, or name their folder by DEBRIDE_NNUNET_WEIGHTS."
        raise DataError(folder, f"holds no maps of weights ({ending})", remedy)
    doubts = {key: brought(files[key], key, plans, configuration, cases, cache) for key in cases.identifiers if key in files}
    say(f"{len(doubts)} of {len(cases.identifiers)} training cases have a map of weights in {folder}; the others count fully.")
    if not doubts:
        say(f"None of the maps ({some(list(files))}) is of a training case: all pixels count fully.")
    return PixelWeights(doubts)


def brought(file: Path, key: str, plans: Any, configuration: Any, cases: Any, cache: Path) -> Map:
    """The doubts of one case's map on the grid of the preprocessed case, as an array that lies in its file."""
    image, _, _, properties = cases.load_case(key)
    shape = tuple(int(side) for side in image.shape[1:])
    target = cache / f"{key}-{_mark(file, shape, properties, plans)}.npy"
    if not target.exists():
        doubt = on_grid(file, shape, properties, plans, configuration)
        with atomic_path(target) as path:
            np.save(path, doubt)
        for older in cache.glob(f"{key}-*.npy"):
            if older != target and len(older.stem) == len(target.stem):
                older.unlink(missing_ok=True)
    kept: Map = np.load(target, mmap_mode="r")
    return kept


def on_grid(file: Path, shape: Sequence[int], properties: Mapping[str, Any], plans: Any, configuration: Any) -> Map:
    """A map turned, cropped and resampled as nnU-Net does with the image: 255 less the weight, by linear interpolation."""
    weights = np.asarray(plans.image_reader_writer_class().read_seg(str(file))[0])
    order = list(plans.transpose_forward)
    weights = weights.transpose([0, *(axis + 1 for axis in order)])
    whole = tuple(int(side) for side in properties["shape_before_cropping"])
    if weights.shape[1:] != whole:
        problem = f"is {weights.shape[1:]}, and the image that it belongs to {whole} (axes as nnU-Net turns them)"
        raise DataError(file, problem, "A map of weights lies on the grid of its label.")
    if weights.min() < 0 or weights.max() > FULL or (weights != np.rint(weights)).any():
        raise DataError(file, "has values that are no whole numbers from 0 to 255", "255 is full weight.")
    inside = tuple(slice(int(low), int(high)) for low, high in properties["bbox_used_for_cropping"])
    doubt = (FULL - weights[(slice(None), *inside)]).astype(np.float32)
    if doubt.shape[1:] != tuple(shape):
        spacing = [properties["spacing"][axis] for axis in order]
        wanted = list(configuration.spacing)
        wanted = [*spacing[: len(spacing) - len(wanted)], *wanted]
        doubt = configuration.resampling_fn_probabilities(doubt, tuple(shape), spacing, wanted)
    rounded: Map = np.rint(np.clip(np.asarray(doubt)[0], 0, FULL)).astype(np.uint8)
    return rounded


def _mark(file: Path, shape: tuple[int, ...], properties: Mapping[str, Any], plans: Any) -> str:
    """What the result depends on, as a short name."""
    box = [[int(low), int(high)] for low, high in properties["bbox_used_for_cropping"]]
    grid = json.dumps([shape, box, list(plans.transpose_forward)])
    return hashlib.blake2b(file.read_bytes() + grid.encode(), digest_size=8).hexdigest()
