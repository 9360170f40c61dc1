"""Cases ready for training: decoded, resized and normalised once, then read from disk where they lie.

Each image and each label becomes one ``.npy`` file named by a hash of the bytes of its source files and of how it was
prepared, so a changed file or setting never meets an old entry, and noisy copies of a data set share their images. Rows are
memory-mapped when they are read: memory does not grow with the number of cases.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import binary_fill_holes
from torch.nn import functional as F

from debride.data.cache_entry import entry, mapped
from debride.data.cropping import Box, crop_box, cropped
from debride.data.pairs import channel_turns, label_turn
from debride.data.pixels.images import Header, files_of, read_header, read_image, read_label, readings
from debride.data.plain import case_of, dataset_of, grid_of, plain_case, plain_dataset, plain_grid
from debride.data.preparation import Preparation, Rule, intensity_rules, read_rule
from debride.data.room import Room
from debride.data.same_grid import Grid, turned
from debride.data.source_hashes import SourceHashes
from debride.data.unusual_grids import note_unusual
from debride.execute import Do, Work, affordable, spread
from debride.folders import keep_apart
from debride.geometry.pixel_map import PixelMap
from debride.settings import check_bounds, from_mapping
from debride.types import IGNORE, Case, DataError, Dataset, Geometry, Region

Number = TypeVar("Number", bound=np.generic)

FORMAT_VERSION = 1
"""Part of every cache key: raise it when preparation changes."""


@dataclass(frozen=True)
class Prepared:
    """Cases by row, each a working image (C, *S) float32 and label (*S) uint8 on disk, with shapes S and spacings in mm
    (None: unknown), the ``maps`` that were made of them, their files by name (``data.maps``), and where images were cropped
    their ``boxes`` (empty: nowhere). ``certain`` has a table (256,) for each row, which its label is read through (None, or
    empty: as it is). With ``unlabelled`` cases without a file have the label IGNORE everywhere; else asking for it raises.
    ``regions`` are those of the data set, if they are to be learnt in place of its classes."""

    cases: tuple[Case, ...]
    channels: int
    shapes: tuple[tuple[int, ...], ...]
    spacings: tuple[tuple[float, ...] | None, ...]
    image_files: tuple[Path, ...]
    label_files: tuple[Path | None, ...]
    maps: Mapping[str, PixelMap] = field(default_factory=dict)
    map_files: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    foreground_files: tuple[Path | None, ...] = ()
    boxes: tuple[Box | None, ...] = ()
    certain: tuple[npt.NDArray[np.uint8] | None, ...] = ()
    unlabelled: bool = False
    regions: tuple[Region, ...] = ()

    def __len__(self) -> int:
        return len(self.cases)

    def fingerprint(self, row: int) -> list[object]:
        """What a case was trained as: its id, and the cache's names of its image and label."""
        label, partly = self.label_files[row], self.partly(row)
        return [self.cases[row].id, self.image_files[row].stem, label.stem if label else None, *([partly] if partly else [])]

    def partly(self, row: int) -> str:
        """What tells the label of a row that is read through a table from the one in its file; empty where it is the same."""
        table = self.certain[row] if self.certain else None
        return "" if table is None else "of-" + ".".join(str(value) for value in np.flatnonzero(table != IGNORE))

    def image(self, row: int) -> npt.NDArray[np.float32]:
        """The working image of a row, memory-mapped read-only."""
        image: npt.NDArray[np.float32] = mapped(self.image_files[row])
        return image

    def label(self, row: int, part: tuple[slice, ...] = ()) -> npt.NDArray[np.uint8]:
        """The working label of a row, or a part of it, memory-mapped read-only unless there is a table that it is read
        through."""
        file = self.label_files[row]
        if file is None and self.unlabelled:
            blank: npt.NDArray[np.uint8] = np.broadcast_to(np.uint8(IGNORE), self.shapes[row])[part].copy()
            return blank
        if file is None:
            raise DataError(self.cases[row].id, "has no label", "Training and validation cases need one.")
        label: npt.NDArray[np.uint8] = mapped(file)[part]
        table = self.certain[row] if self.certain else None
        return label if table is None else table[label]

    def box(self, row: int) -> Box | None:
        """Where the working image of a row lay in its file; None if it is all of it."""
        return self.boxes[row] if self.boxes else None

    def foreground(self, row: int) -> npt.NDArray[np.int32]:
        """Some of a row's foreground voxels (n, 1 + d), memory-mapped read-only (``data.foreground``); none where its label is
        not to be looked at."""
        file = self.foreground_files[row]
        if file is None:
            return np.zeros((0, 1 + len(self.shapes[row])), np.int32)
        voxels: npt.NDArray[np.int32] = mapped(file)
        return voxels

    def map(self, name: str, row: int) -> npt.NDArray[np.generic]:
        """A map of a row (*S), memory-mapped read-only."""
        values: npt.NDArray[np.generic] = mapped(self.map_files[name][row])
        return values


def cache_folder(source: Path, chosen: Path | None = None) -> Path:
    """Where prepared cases of a data set go: the given folder, else $DEBRIDE_CACHE, else ~/.cache/debride.

    Raises DataError for a folder in the data set, which is ``source``.
    """
    folder = chosen or Path(os.environ.get("DEBRIDE_CACHE") or Path.home() / ".cache" / "debride")
    keep_apart(folder, {"the data set": source})
    return folder


def prepare(
    dataset: Dataset,
    cases: Sequence[Case],
    preparation: Preparation,
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
    jobs: int = 1,
) -> Prepared:
    """Prepares the cases that the cache lacks, ``jobs`` at a time, each on one thread, and returns where all of them lie. Files
    whose size and dates are as they were are taken for the same (``SourceHashes``)."""
    check_bounds(preparation)
    with SourceHashes(folder, dataset.root) as hashes:
        return _prepare(dataset, cases, preparation, folder, progress, jobs, hashes)


def _prepare(
    dataset: Dataset,
    cases: Sequence[Case],
    preparation: Preparation,
    folder: Path,
    progress: Callable[[int, int], None] | None,
    jobs: int,
    hashes: SourceHashes,
) -> Prepared:
    images: list[Path] = []
    labels: list[Path | None] = []
    shapes: list[tuple[int, ...]] = []
    spacings: list[tuple[float, ...] | None] = []
    boxes: list[Box | None] = []
    grids: dict[Path, Grid] = {}
    channels, room = 0, Room(folder, "the cache")
    setup = {"dataset": plain_dataset(dataset), "preparation": asdict(preparation), "folder": str(folder)}
    items = map(plain_case, cases)
    if jobs > 1 and cases:
        header = read_header(cases[0].image[0])
        jobs = affordable(jobs, 12 * len(cases[0].image) * math.prod(header.shape))
    with spread(Work(begin_preparing, setup), items, jobs=jobs, name=lambda item: str(item["image"][0])) as outcomes:
        for number, (case, outcome) in enumerate(zip(cases, outcomes, strict=True)):
            made = outcome.value()
            hashes.learn(made["hashes"])
            grids[case.image[0]] = grid_of(made["grid"])
            channels = channels or made["channels"]
            if made["channels"] != channels:
                problem = f"has {made['channels']} channels, others have {channels}"
                raise DataError(case.image[0], problem, "Give every case the same channels.")
            images.append(Path(made["image"]))
            shapes.append(tuple(made["shape"]))
            if len(shapes[-1]) != len(shapes[0]):
                problem = f"is {len(shapes[-1])}D, others are {len(shapes[0])}D"
                raise DataError(case.image[0], problem, "Take this case out, or convert it.")
            spacings.append(tuple(made["spacing"]) if made["spacing"] else None)
            boxes.append(_box(made))
            labels.append(Path(made["label"]) if made["label"] else None)
            room.case([file for file in (images[-1], labels[-1]) if file], len(cases) - number - 1)
            if progress:
                progress(number + 1, len(cases))
    note_unusual(grids)
    return Prepared(tuple(cases), channels, tuple(shapes), tuple(spacings), tuple(images), tuple(labels), boxes=tuple(boxes))


def begin_preparing(setup: dict[str, Any]) -> Do:
    """What prepares one case, and says where its image and label lie, and what is known of them."""
    dataset, folder = dataset_of(setup["dataset"]), Path(setup["folder"])
    preparation = from_mapping(Preparation, setup["preparation"], "preparation")
    hashes = SourceHashes(folder, dataset.root)

    def prepare_one(item: dict[str, Any]) -> dict[str, Any]:
        case, threads = case_of(item), torch.get_num_threads()
        torch.set_num_threads(1)  # sums of several threads differ in their last bits
        try:
            headers = [read_header(path) for path in case.image]
            image, meta = _prepare_image(case, headers, preparation, folder, hashes)
            label = None
            if case.label:
                shape = tuple(meta["shape"])
                label = str(_prepare_label(dataset, case, headers[0].grid, _box(meta), shape, folder, hashes))
        finally:
            torch.set_num_threads(threads)
        grid = plain_grid(headers[0].grid)
        return {**meta, "image": str(image), "label": label, "grid": grid, "hashes": hashes.take()}

    return prepare_one


def _box(meta: dict[str, Any]) -> Box | None:
    return tuple((start, stop) for start, stop in meta["box"]) if meta["box"] else None


def working_image(
    image: npt.NDArray[np.generic], geometry: Geometry, preparation: Preparation, where: object = "image"
) -> tuple[npt.NDArray[np.float32], tuple[float, ...] | None]:
    """A read image (C, *S), which is cropped already, as its working image in float32, and the spacing that it then has.

    Raises DataError, which names the image by ``where``, if there are not as many rules for intensities as channels.
    """
    shape, rules = image.shape[1:], intensity_rules(preparation.intensity)
    if len(rules) not in (1, len(image)):
        problem = f"has {len(image)} channels, and `intensity` {preparation.intensity} has {len(rules)} rules"
        raise DataError(where, problem, "Give one rule for all channels, or one per channel separated by commas.")
    target = working_shape(shape, geometry, preparation)
    resized = resize(_normalise(torch.from_numpy(image.astype(np.float32)), rules), target)
    return resized.numpy(), working_spacing(geometry, shape, target)


def working_spacing(geometry: Geometry, shape: tuple[int, ...], working: tuple[int, ...]) -> tuple[float, ...] | None:
    """The spacing in mm of an image of the given shape after resizing; None if it has none."""
    if geometry.spacing is None:
        return None
    return tuple(float(mm * old / new) for mm, old, new in zip(geometry.spacing, shape, working, strict=True))


def working_shape(shape: tuple[int, ...], geometry: Geometry, preparation: Preparation) -> tuple[int, ...]:
    """The shape S of the working image of an image of the given shape."""
    if preparation.image_size:
        if len(preparation.image_size) != len(shape):
            raise DataError(
                "`image_size`",
                f"has {len(preparation.image_size)} numbers, images have {len(shape)} axes",
                "Give one per axis.",
            )
        return preparation.image_size
    if preparation.spacing:
        if geometry.spacing is None:
            raise DataError("`spacing`", "needs images that state their spacing, these do not", "Use `image_size` instead.")
        if len(preparation.spacing) != len(shape):
            raise DataError(
                "`spacing`", f"has {len(preparation.spacing)} numbers, images have {len(shape)} axes", "Give one per axis."
            )
        sizes = zip(shape, geometry.spacing, preparation.spacing, strict=True)
        return tuple(max(1, round(length * mm / target)) for length, mm, target in sizes)
    return shape


def resize(x: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Linear, anti-aliased resizing of (C, *S) to (C, *shape), one pair of axes at a time in 3D."""
    if x.shape[1:] == shape:
        return x
    if len(shape) == 2:
        return F.interpolate(x[None], size=shape, mode="bilinear", align_corners=False, antialias=True)[0]
    depth = x.shape[1]
    in_plane = F.interpolate(x.flatten(0, 1)[None], size=shape[1:], mode="bilinear", align_corners=False, antialias=True)[0]
    columns = in_plane.reshape(x.shape[0], depth, -1)
    size = (shape[0], columns.shape[2])
    return F.interpolate(columns[None], size=size, mode="bilinear", align_corners=False, antialias=True)[0].reshape(-1, *shape)


def resize_label(label: npt.NDArray[np.uint8], shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """A label resized by averaging its classes one-hot and taking the largest: class ids are never averaged as numbers."""
    if label.shape == shape:
        return label
    resized = np.zeros(shape, np.uint8)
    largest = np.full(shape, -1, np.float32)
    for value in np.unique(label):  # class by class: one-hot, a volume would be as many times larger
        share = resize(torch.from_numpy((label == value)[None].astype(np.float32)), shape)[0].numpy()
        np.copyto(resized, value, where=share > largest)
        np.maximum(largest, share, out=largest)
    return resized


def _prepare_image(
    case: Case, headers: Sequence[Header], preparation: Preparation, folder: Path, hashes: SourceHashes
) -> tuple[Path, dict[str, Any]]:
    turns = [how for how in channel_turns(case, headers) if how.changes]
    unusual = [*(["crop"] if preparation.crop else []), *([repr(turns)] if turns else []), *readings(headers)]
    key = hashes.of(files_of(case.image), "image", FORMAT_VERSION, repr(preparation), *unusual)
    file = folder / key[:2] / f"{key}.npy"

    def make() -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
        image, geometry = read_image(case.image)
        box = crop_box(image) if preparation.crop else None
        working, spacing = working_image(cropped(image, box), geometry, preparation, case.image[0])
        return working, {
            "channels": working.shape[0],
            "shape": list(working.shape[1:]),
            "original_shape": list(image.shape[1:]),
            "box": box,
            "spacing": list(spacing) if spacing else None,
        }

    return file, entry(file, make)


def _prepare_label(
    dataset: Dataset,
    case: Case,
    grid: Grid,
    box: Box | None,
    shape: tuple[int, ...],
    folder: Path,
    hashes: SourceHashes,
) -> Path:
    assert case.label is not None
    header = read_header(case.label)
    how = label_turn(case, grid, header=header)
    meaning = sorted(dataset.values.items()), dataset.ignore, len(dataset.classes)
    unusual = [*([box] if box else []), *([repr(how)] if how.changes else []), *readings([header], dataset.palette)]
    key = hashes.of(files_of([case.label]), "label", FORMAT_VERSION, grid.shape, shape, *meaning, *unusual)
    file = folder / key[:2] / f"{key}.npy"

    def make() -> tuple[npt.NDArray[np.uint8], dict[str, Any]]:
        assert case.label is not None
        label = turned(read_label(case.label, dataset)[0], how)
        inside = cropped(label, box)
        lost = _foreground(label) - _foreground(inside)
        if lost:
            sys.stderr.write(f"debride: {case.label}: {lost} foreground pixels lie where the image is 0 and was cropped.\n")
        return resize_label(inside, shape), {}

    entry(file, make)
    return file


def _foreground(label: npt.NDArray[np.uint8]) -> int:
    return int(np.count_nonzero(label)) - int(np.count_nonzero(label == IGNORE))


def _normalise(image: torch.Tensor, rules: Sequence[str]) -> torch.Tensor:
    """The image (C, *S) normalised in place, by one rule or one per channel: a whole volume is not held twice."""
    read = [read_rule(rule) for rule in rules]
    inside = filled(image) if any(rule.kind == "zscore-nonzero" for rule in read) else None
    for rule, part in zip(read, [image] if len(rules) == 1 else torch.split(image, 1), strict=True):
        _apply_rule(part, rule, inside)
    return image


def filled(image: torch.Tensor) -> torch.Tensor:
    """Where some channel of an image (C, *S) is not 0, and what lies enclosed there, as nnU-Net finds it (*S). A picture is a
    volume of one slice to it, in which nothing is enclosed."""
    inside = (image != 0).any(0)
    return torch.from_numpy(binary_fill_holes(inside.numpy())) if inside.ndim == 3 else inside


def _apply_rule(image: torch.Tensor, rule: Rule, inside: torch.Tensor | None) -> None:
    """Normalises channels (C, *S), each by its own values, in place; some rules look only at what lies ``inside`` (*S)."""
    kind, low_value, high_value = rule.kind, rule.low, rule.high
    if kind == "none":
        return
    if kind == "byte":
        image.div_(255)
        return
    if kind == "ct":
        image.clamp_(low_value, high_value).sub_(rule.mean).div_(rule.std)
        return
    if kind == "zscore-nonzero":
        assert inside is not None
        for channel in image:
            values = channel[inside]
            if len(values):
                channel[inside] = (values - values.mean()) / values.std(correction=0).clamp_min(1e-6)
        return
    if kind == "clip":
        image.clamp_(low_value, high_value).sub_(low_value).mul_(2 / (high_value - low_value)).sub_(1)
        return
    if kind == "percentile":
        for channel in image:
            channel.clamp_(*(float(limit) for limit in np.percentile(channel.numpy(), (low_value, high_value))))
    flat = image.flatten(1)
    expand = (slice(None), *([None] * (image.ndim - 1)))
    if kind == "unit":
        low, high = flat.amin(1), flat.amax(1)
        image.sub_(low[expand]).div_((high - low).clamp_min(1e-6)[expand])
        return
    mean, std = flat.mean(1), flat.std(1, correction=0).clamp_min(1e-6)
    image.sub_(mean[expand]).div_(std[expand])
