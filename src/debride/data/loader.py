"""From prepared cases to batches: which rows, which regions, which warps, all drawn from (seed, epoch, phase, row)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from debride.batch import Batch, View
from debride.data.augment import Strength, apply_intensity, draw_warp
from debride.data.augmentation import Augmentation
from debride.data.cache import Prepared
from debride.data.masks.foreground import pick
from debride.geometry.pixel_map import PixelMap
from debride.rng import derive, generator, uniforms
from debride.state import LabelState
from debride.types import IGNORE
from debride.warp import Warp

Rows = npt.NDArray[np.int64]
PREFETCHED = 2
OUTSIDE = {"length": (0, np.float32), "ids": (-1, np.int32)}
"""What a map of each kind is where a view leaves the image, and the type that it is read as."""


@dataclass(frozen=True)
class Selection:
    """Which cases make a batch: ``rows``, the ``stream`` each comes from, and ``draw``, which tells a row's second visit in
    an epoch from its first."""

    rows: Rows
    stream: Rows
    draw: Rows


@dataclass(frozen=True)
class Raw:
    """A batch as it lies on disk: images (B, C, *R), labels (B, *R) and ``maps`` (B, *R) by name, of regions R that start at
    ``origin`` (None: whole images)."""

    selection: Selection
    image: Tensor
    label: Tensor
    origin: Tensor | None
    maps: dict[str, Tensor] = field(default_factory=dict)

    def pinned(self) -> Raw:
        """The same in memory that a GPU copies from beside its work."""
        maps = {name: values.pin_memory() for name, values in self.maps.items()}
        return replace(self, image=self.image.pin_memory(), label=self.label.pin_memory(), maps=maps)


@dataclass(frozen=True)
class Regions:
    """What to read for a view: whole images, or a region around a random patch, wide enough for the augmentation to turn it.

    ``foreground`` is the chance in [0, 1] that a patch is centred on a foreground voxel of the given label, as far as the image
    allows; the others lie anywhere in it.
    """

    patch: tuple[int, ...] | None
    margin: float = 1.0
    foreground: float = 0.0

    def shape(self, largest: tuple[int, ...]) -> tuple[int, ...]:
        """The shape R of the region that is read where the largest working image has the given shape.

        R exceeds the patch by an even number, so that their centres fall on the same pixels.
        """
        if self.patch is None:
            return largest
        return tuple(size + 2 * math.ceil(size * (self.margin - 1) / 2) for size in self.patch)


def select(
    streams: Sequence[tuple[Rows, int]], seed: int, rank: int = 0, world: int = 1, steps: int | None = None, least: int = 1
) -> list[Selection]:
    """The batches of one phase for one process: the first stream's rows once, in random order, shorter streams again and
    again; with ``steps``, that many full batches, for which every stream is gone through as often as it takes.

    ``streams`` gives rows and number per batch for all processes together. Each process takes every ``world``-th case of a
    batch; a last batch too small to give each process ``least`` cases is left out; so is a stream without rows.
    """
    streams = [stream for stream in streams if len(stream[0])]
    if not streams:
        return []
    first, size = streams[0]
    once, steps = steps is None, steps or math.ceil(len(first) / size)
    parts = []
    for number, (rows, per_batch) in enumerate(streams):
        wanted = len(rows) if number == 0 and once else steps * per_batch
        laps = math.ceil(wanted / len(rows))
        order = np.concatenate([generator(seed, number, lap).permutation(len(rows)) for lap in range(laps)])[:wanted]
        draw = rows[order] + (np.arange(wanted) // len(rows)) * (int(rows.max()) + 1)
        parts.append([(rows[order[at : at + per_batch]], draw[at : at + per_batch]) for at in range(0, wanted, per_batch)])
    selections = []
    for pieces in zip(*parts, strict=True):
        rows = np.concatenate([piece[0] for piece in pieces])
        draw = np.concatenate([piece[1] for piece in pieces])
        stream = np.concatenate([np.full(len(piece[0]), number) for number, piece in enumerate(pieces)])
        if len(rows) >= least * world:
            selections.append(Selection(rows[rank::world], stream[rank::world], draw[rank::world]))
    return selections


def read(prepared: Prepared, selection: Selection, regions: Regions, seed: int) -> Raw:
    """Reads the regions of a batch from disk; what lies outside an image is 0 and ``IGNORE``."""
    rows = selection.rows
    shapes = np.array([prepared.shapes[row] for row in rows])
    shape = regions.shape(tuple(int(length) for length in shapes.max(axis=0)))
    image = np.zeros((len(rows), prepared.channels, *shape), np.float32)
    label = np.full((len(rows), *shape), IGNORE, np.uint8)
    maps = {name: np.full(label.shape, *OUTSIDE[kind.kind]) for name, kind in prepared.maps.items()}
    origin = None
    if regions.patch is not None:
        patch = np.array(regions.patch)
        corner = _corners(prepared, selection, shapes, patch, regions.foreground, seed)
        centred = np.minimum(shapes - patch, 0) // 2
        origin = corner + centred - (np.array(shape) - patch) // 2
    for number, row in enumerate(rows):
        start = np.zeros(len(shape), np.int64) if origin is None else origin[number]
        source, target = overlap(start, shape, prepared.shapes[row])
        image[number][(slice(None), *target)] = prepared.image(row)[(slice(None), *source)]
        label[number][target] = prepared.label(row, source)
        for name, values in maps.items():
            values[number][target] = prepared.map(name, row)[source]
    return Raw(
        selection,
        torch.from_numpy(image),
        torch.from_numpy(label),
        None if origin is None else torch.from_numpy(origin),
        {name: torch.from_numpy(values) for name, values in maps.items()},
    )


def _corners(prepared: Prepared, selection: Selection, shapes: Rows, patch: Rows, foreground: float, seed: int) -> Rows:
    """Where the patches of a batch begin (B, d), inside their images where these are large enough: anywhere, or around a
    foreground voxel."""
    free = np.maximum(shapes - patch, 0) + 1
    corners: Rows = np.floor(uniforms(derive(seed, "patch"), selection.draw, len(patch)) * free).astype(np.int64)
    if foreground == 0:
        return corners
    draws = uniforms(derive(seed, "foreground"), selection.draw, 3)
    for number in np.flatnonzero(draws[:, 0] < foreground):
        voxel = pick(prepared.foreground(selection.rows[number]), draws[number, 1:])
        if voxel is not None:
            corners[number] = np.clip(voxel - patch // 2, 0, free[number] - 1)
    return corners


def overlap(
    origin: npt.NDArray[np.int64], shape: tuple[int, ...], full: tuple[int, ...]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where a region (origin, shape) meets an image of shape ``full``: slices of the image, and of the region."""
    low = [max(int(start), 0) for start in origin]
    high = [
        max(low_, min(int(start) + size, length)) for low_, start, size, length in zip(low, origin, shape, full, strict=True)
    ]
    source = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    target = tuple(slice(a - int(start), b - int(start)) for a, b, start in zip(low, high, origin, strict=True))
    return source, target


def raw_batches(
    prepared: Prepared, selections: Sequence[Selection], regions: Regions, seed: int, pin: bool = False
) -> Iterator[Raw]:
    """The batches of a phase in order, read ahead by one thread; ``pin`` as in ``read_ahead``."""
    return read_ahead(selections, lambda selection: read(prepared, selection, regions, seed), pin)


def read_ahead(selections: Sequence[Selection], reader: Callable[[Selection], Raw], pin: bool = False) -> Iterator[Raw]:
    """What a ``reader`` makes of each selection, in order, by one thread that is a few batches ahead; with ``pin`` in memory
    that a GPU copies from beside its work."""

    def read_one(selection: Selection) -> Raw:
        raw = reader(selection)
        return raw.pinned() if pin else raw

    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting: list[Future[Raw]] = []
        remaining = iter(selections)
        try:
            for selection in remaining:
                waiting.append(pool.submit(read_one, selection))
                if len(waiting) > PREFETCHED:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()
        finally:
            for future in waiting:
                future.cancel()


def make_batch(
    raw: Raw,
    looks: Sequence[tuple[Strength, bool]],
    augmentation: Augmentation,
    store: LabelState,
    prepared: Prepared,
    regions: Regions,
    trusted: npt.NDArray[np.bool_],
    seed: int,
    device: torch.device,
) -> Batch:
    """The views of a raw batch, on the device. ``looks`` are (intensity, own warp): views without a warp of their own share
    the first's."""
    rows = raw.selection.rows
    image, label = raw.image.to(device, non_blocking=True), raw.label.to(device, non_blocking=True)
    region = tuple(image.shape[2:])
    out_shape = regions.patch or region
    spacing = _spacings(prepared, rows)
    stored = {field: store.read(field.name, rows, raw.origin, region).to(device) for field in store.pixel_fields}
    views: list[View] = []
    plain: View | None = None  # the first view before its intensity changes
    for number, (intensity, own_warp) in enumerate(looks):
        if number == 0 or own_warp:
            warp = draw_warp(augmentation, derive(seed, "warp", number), raw.selection.draw, region, out_shape, spacing).to(
                device
            )
            state = {
                field.name: warp.sample_label(values.byte()).long() if field.ids else warp.sample(values)
                for field, values in stored.items()
            }
            maps = {
                name: carried_map(warp, values.to(device, non_blocking=True), prepared.maps[name])
                for name, values in raw.maps.items()
            }
            view = View(warp.sample(image), warp.sample_label(label).long(), warp, raw.origin, state, maps)
            plain = plain or view
        else:
            assert plain is not None  # the first view has a warp of its own
            view = plain
        look = apply_intensity(view.image, intensity, augmentation, derive(seed, "intensity", number), raw.selection.draw)
        views.append(replace(view, image=look))
    return Batch(
        views=tuple(views),
        index=torch.from_numpy(rows).to(device),
        stream=torch.from_numpy(raw.selection.stream).to(device),
        trusted=torch.from_numpy(trusted[rows]).to(device),
        cases={field.name: store.read(field.name, rows).to(device) for field in store.case_fields},
    )


def carried_map(warp: Warp, values: Tensor, kind: PixelMap) -> Tensor:
    """A map (B, *R) seen through a warp: float32 lengths in pixels of the view, or int64 ids."""
    seen = warp.sample_nearest(values, OUTSIDE[kind.kind][0])
    if kind.kind == "ids":
        return seen.long()
    return seen * warp.zoom.to(seen.dtype).reshape(-1, *(1,) * (seen.ndim - 1))


def _spacings(prepared: Prepared, rows: Rows) -> npt.NDArray[np.float64]:
    """Spacing in mm per case and axis; 1 where an image does not say it."""
    return np.array([prepared.spacings[row] or (1.0,) * len(prepared.shapes[row]) for row in rows])
