"""Images for classification as they are looked at: in 8 bits, and of which sizes. Without torch, which checks do not need."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from debride.data.pixels import arrays
from debride.data.pixels.images import read_header
from debride.types import Case, DataError


def working_size(image: npt.NDArray[np.generic], where: Path) -> npt.NDArray[np.uint8]:
    """A read image (C, H, W) in 8 bits, of 16 the upper ones, of 1, 2 or 4 stretched to 255; DataError for all others."""
    if image.ndim != 3:
        raise DataError(where, f"is {image.ndim - 1}D", "Classification takes 2D images: save slices.")
    if image.dtype == np.uint16:
        image = image.astype(np.uint16) >> 8
    elif image.dtype != np.uint8:
        raise DataError(where, f"holds {image.dtype}", "Convert it to 8 or 16 bits, with the window that shows what matters.")
    elif image.size and image.max() < 16 and (bits := read_header(where).few_bits):
        return image.astype(np.uint8) * np.uint8(255 // ((1 << bits) - 1))
    return image.astype(np.uint8, copy=False)


def image_sizes(cases: Sequence[Case]) -> Counter[tuple[int, ...]]:
    """How many cases have images of each size (H, W), from the headers of their files; DataError as reading them gives."""
    held: dict[tuple[Path, str], tuple[int, ...]] = {}
    sizes: Counter[tuple[int, ...]] = Counter()
    for case in cases:
        if case.row is None:
            sizes[read_header(case.image[0]).shape] += 1
            continue
        assert case.array is not None, case.id
        array = case.image[0], case.array
        if array not in held:
            held[array] = arrays.header(*array)[0][1:3]
        sizes[held[array]] += 1
    return sizes
