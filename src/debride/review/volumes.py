"""Parts of images and labels as the page asks for them: a crop around a finding or the whole, as NIfTI or as rows of pixels.

Volumes are turned to lie to the right, to the front and to the head, so that the page turns nothing; nothing is resampled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from debride.audit.decided.edits import apply_edit, write_edit
from debride.audit.evidence.boxes import box_of
from debride.audit.findings import Label
from debride.audit.shown.worklist import centre
from debride.data.pixels.images import Box
from debride.data.same_grid import turned, unturned
from debride.review.layers import CHANGED, Layers
from debride.review.shown_place import Place, crop_box, ras_turn, spacing_of, whole_box, wide_box
from debride.types import IGNORE, Case, DataError

Array = npt.NDArray[Any]
Item = Mapping[str, Any]

PARTS = ("crop", "whole")

NO_PREDICTION = "The prediction that the audit was by is not there any more."

_SAMPLES = 65536
"""About as many values of a part set its window."""

_NIFTI_TYPES = {"uint8": 2, "int16": 4, "int32": 8, "float32": 16, "int8": 256, "uint16": 512, "uint32": 768}


@dataclass(frozen=True)
class Part:
    """What the page is told of a part: its place, the window of its image and what there is to see."""

    place: Place
    window: tuple[float, float]
    layers: tuple[str, ...]
    dtype: str
    rgb: bool
    warning: str

    def told(self) -> dict[str, Any]:
        """As JSON, x first."""
        return {
            "shape": self.place.lengths,
            "start": self.place.start,
            "whole": self.place.shown(self.place.shape),
            "spacing": list(self.place.spacing),
            "at": self.place.index,
            "window": list(self.window),
            "layers": list(self.layers),
            "dtype": self.dtype,
            "rgb": self.rgb,
            "warning": self.warning,
        }


class Volumes:
    """The parts of a review's cases, by items of its worklist; for any thread."""

    def __init__(self, layers: Layers) -> None:
        self.layers = layers
        self._threads = ThreadPoolExecutor(2, "read")

    def place(self, item: Item, part: str) -> tuple[Case, Place]:
        """The case of an item, and what is shown of it."""
        case = self.layers.case(item["case"])
        grid = self.layers.grid(case)
        finding = self.layers.review.findings.get((item["region"], item["case"]), {}).get(item["number"])
        whole, kind = whole_box(grid.shape), "" if finding is None else finding.kind
        wide, at = whole, tuple(length // 2 for length in grid.shape)
        if finding is not None:
            if any(past > length for (_, past), length in zip(finding.box, grid.shape, strict=True)):
                raise DataError(f"case {case.id}", "has a finding outside its label", "Run `debride audit` again.")
            wide = wide_box(finding.box, grid.shape, kind)
            numbers = self.layers.numbers(case, wide, item["region"])[0]
            starts = [first for first, _ in wide]
            around = tuple((first - low, past - low) for (first, past), low in zip(finding.box, starts, strict=True))
            local = centre(replace(finding, box=around), numbers)[::-1]
            at = tuple(first + index for first, index in zip(starts, local, strict=True))
        elif part == "crop" and len(grid.shape) == 3:
            label = self.layers.label(case, whole)
            drawn = tuple((side.start, side.stop) for side in box_of(np.where(label == IGNORE, np.uint8(0), label)))
            if drawn != ((0, 0),) * len(drawn):
                at, wide = tuple((first + past) // 2 for first, past in drawn), wide_box(drawn, grid.shape, kind)
        box = crop_box(wide, at, kind) if part == "crop" else whole
        turn = ras_turn(grid)
        return case, Place(grid.shape, box, self._within(item, wide), turn, at, spacing_of(grid, turn))

    def part(self, item: Item, part: str, channel: int = 0) -> Part:
        """What is to be said of a part. When it is said its layers are read: image and labels beside each other."""
        case, place = self.place(item, part)
        region, warnings = item["region"], []
        layers = ["given", *(["label"] if region else []), *_edits(item)]
        if self._proposed(item):
            layers.append("proposed")
        if self.layers.prediction_files(case, region):
            layers.append("predicted")
        elif any(source.record.proposes for source in self.layers.review.sources.values()):
            warnings.append(NO_PREDICTION)
        unchanged = self._threads.submit(self.layers.unchanged, case)
        early = layers if part == "crop" else ["given"]  # of whole volumes not all may be kept
        reading = {what: self._threads.submit(self._label, item, case, place, what) for what in early}
        image = self.layers.image(case, place.box, channel)
        for what, label in reading.items():
            try:
                label.result()
            except DataError as error:
                if what == "given":
                    raise
                layers.remove(what)
                warnings.append(f"Not shown is what is {what}: {error}")
        if not unchanged.result():
            warnings.insert(0, f"This case {CHANGED}: what is decided here is refused.")
        rgb = _is_rgb(image)
        dtype = "uint8" if rgb else _servable(image[0]).dtype.name
        return Part(place, (0.0, 255.0) if rgb else _window(image[0]), tuple(layers), dtype, rgb, " ".join(warnings))

    def layer(self, item: Item, what: str, part: str, channel: int = 0) -> bytes:
        """One layer of a part: of a volume a NIfTI file, of a picture its pixels, x fastest. KeyError for one there is not."""
        case, place = self.place(item, part)
        if what == "image":
            image = self.layers.image(case, place.box, channel)
            if _is_rgb(image):
                return np.ascontiguousarray(_eight_bits(image[:3]).transpose(1, 2, 0)).tobytes()
            return _bytes(_servable(image[0]), place)
        found = self._label(item, case, place, what)
        if found is None:
            raise KeyError(what)
        return _bytes(found, place)

    def edit(self, item: Item, part: str, body: bytes) -> str:
        """Keeps what a reader painted in a part, and returns its hash. ``body`` are class ids as the layer ``given`` lies, or
        of a region as ``label``. What the reader painted before outside the part stays. Raises DataError as ``write_edit``."""
        case, place = self.place(item, part)
        sizes = [past - first for first, past in place.box]
        painted = np.frombuffer(body, np.uint8).reshape(place.lengths[::-1])
        classes = len(self.layers.review.dataset.classes)
        if (strange := np.unique(painted[(painted >= classes) & (painted != IGNORE)])).size:
            raise DataError(f"the edit of {case.id}", f"holds the class {strange[0]}, of {classes} classes", "Reload the page.")
        edited, box = np.array(unturned(painted, place.turn)), place.box
        assert list(edited.shape) == sizes
        earlier = _edits(item).get("mine")
        if earlier:
            before = self.layers.edit(case, earlier)
            box = tuple((min(a, c), max(b, d)) for (a, b), (c, d) in zip(place.box, before.box, strict=True))
            label = self.layers.label(case, whole_box(place.shape))
            whole = apply_edit(label, before)
            whole[tuple(slice(*ends) for ends in place.box)] = edited
            edited = whole[tuple(slice(*ends) for ends in box)]
        return write_edit(self.layers.review.audit, case.id, self.layers.label(case, box), edited, box)

    def size(self, item: Item, part: str) -> int:
        """How many pixels or voxels a part has."""
        return int(np.prod(self.place(item, part)[1].lengths))

    def close(self) -> None:
        """Ends the threads that read."""
        self._threads.shutdown(cancel_futures=True)

    def _label(self, item: Item, case: Case, place: Place, what: str) -> Label | None:
        region, box = item["region"], place.box
        if what in ("given", "label"):
            return self.layers.label(case, box, region if what == "given" else "")
        if what == "predicted":
            return self.layers.predicted(case, box, region)
        if what == "proposed":
            numbers = self._proposed(item)
            return self.layers.proposed(case, box, region, numbers, place.within) if numbers else None
        edit = _edits(item).get(what)
        return self.layers.edited(case, box, edit) if edit else None

    def _within(self, item: Item, wide: Box) -> Box:
        """The box with what is proposed: around a finding, or around all of a case."""
        found = self.layers.review.findings.get((item["region"], item["case"]), {})
        if item["number"] in found or not found:
            return wide
        sides = zip(*(finding.box for finding in found.values()), strict=True)
        return tuple((min(first for first, _ in side), max(past for _, past in side)) for side in sides)

    def _proposed(self, item: Item) -> Sequence[int]:
        """The numbers of the findings whose proposals are shown: that of the item, or all of its case."""
        found = self.layers.review.findings.get((item["region"], item["case"]), {})
        if not self.layers.review.sources.get(item["region"]):
            return ()
        if item["number"]:
            return (item["number"],) if item["number"] in found else ()
        return tuple(found)


def _edits(item: Item) -> dict[str, str]:
    """The hashes of what readers painted, by the name of the layer: "mine", and "other-1" and so on of others that are seen."""
    mine, others = item.get("mine"), item.get("others", ())
    found = {"mine": str(mine["label"])} if mine and mine["decision"] == "edited" else {}
    painted = [other["label"] for other in others if other["decision"] == "edited"]
    return found | {f"other-{number}": str(label) for number, label in enumerate(painted, start=1)}


def _is_rgb(image: Array) -> bool:
    return image.ndim == 3 and len(image) >= 3


def _eight_bits(channels: Array) -> npt.NDArray[np.uint8]:
    """Colours in 8 bits; those of 16 lose their lower half."""
    if channels.dtype == np.uint8:
        return channels
    return (channels >> 8).astype(np.uint8) if channels.dtype == np.uint16 else channels.clip(0, 255).astype(np.uint8)


def _servable(image: Array) -> Array:
    """An image (*S) in a type that a page's arrays and NIfTI have; truth values become 0 and 1."""
    if image.dtype.name in _NIFTI_TYPES:
        return image
    return image.astype(np.uint8 if image.dtype == np.bool_ else np.float32)


def _window(image: Array) -> tuple[float, float]:
    """The 1st and the 99th percentile of an image."""
    values = image.reshape(-1)[:: max(1, image.size // _SAMPLES)].astype(np.float64)
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(values, (1, 99)))
    return (low, high) if high > low else (float(values.min()), max(float(values.max()), float(values.min()) + 1))


def _bytes(array: Array, place: Place) -> bytes:
    """An array (*box) as the page reads it."""
    stored = np.ascontiguousarray(turned(array, place.turn))
    stored = stored.astype(stored.dtype.newbyteorder("<"), copy=False)
    header = b"" if stored.ndim == 2 else nifti_header(stored.shape, stored.dtype, place.spacing)
    return b"".join((header, stored.data))


def nifti_header(shape: Sequence[int], dtype: np.dtype[Any], spacing: Sequence[float]) -> bytes:
    """The 352 bytes before the voxels of an array (D, H, W) in a NIfTI-1 file that lies straight, its first voxel at 0."""
    header = nib.Nifti1Header(endianness="<")
    header.set_data_shape(shape[::-1])
    header.set_data_dtype(dtype.newbyteorder("="))
    header.set_zooms(spacing)
    header.set_sform(np.diag([*spacing, 1.0]), code=1)
    header.set_xyzt_units("mm")
    header.set_slope_inter(1, 0)
    header["vox_offset"] = 352
    return bytes(header.binaryblock) + bytes(4)
