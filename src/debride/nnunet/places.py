"""Where in its case each patch of nnU-Net's batches lies, as the affine map that its transforms made of the box it was cut
from.

``PlacedLoader`` stands in for nnU-Net's loader: the same draws and the same batches, which say their places besides. They go
through its processes and into pinned memory like all else of a batch. ``Places.of`` reads them there.

What moves pixels must be known here. Rotating, zooming, cropping and mirroring are; what else does is left out of the
transforms, and ``PlacedLoader.left_out`` says so.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform, ImageOnlyTransform, SegOnlyTransform
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.random import RandomTransform
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from torch import Tensor

from debride.warp import Warp

Affine = npt.NDArray[np.float64]
"""A map (d + 1, d + 1) from pixels of an image to those of the image that it was made from, in array order."""

Moves = Callable[[Any, Mapping[str, Any], tuple[int, ...]], Affine]
"""The map of a transform with its drawn parameters, of an image of a shape."""

_KEY = "debride_place"


@dataclass(frozen=True)
class Places:
    """The places of a batch of B patches in nnU-Net's preprocessed cases.

    ``keys`` (B) are the cases. ``warp`` maps a patch's pixels to those of a region of its case, which starts at ``origin`` (B,
    d) and may reach beyond it. A 2d configuration shows ``slices`` (B,) of the cases' first axis, in which d is 2; else None.
    """

    keys: tuple[str, ...]
    slices: Tensor | None
    origin: Tensor
    warp: Warp

    @classmethod
    def of(cls, batch: Mapping[str, Any]) -> Places:
        """The places of a batch that a ``PlacedLoader`` made."""
        matrix: Tensor = batch["matrix"]
        warp = Warp(matrix, tuple(batch["region"].tolist()), tuple(batch["data"].shape[2:]))
        return cls(tuple(str(key) for key in batch["keys"]), batch.get("slices"), batch["origin"], warp)


class PlacedLoader(nnUNetDataLoader):
    """nnU-Net's loader, whose batches have "origin" (B, d), "matrix" (B, d, d + 1), "region" (d,) and "slices" (B,) besides:
    see ``Places``. It takes what nnU-Net's takes."""

    def __init__(self, *arguments: Any, transforms: BasicTransform | None = None, **named: Any) -> None:
        known, self.left_out = (None, ()) if transforms is None else placed(transforms)
        super().__init__(*arguments, transforms=Recording(known), **named)
        self._corners: list[list[int]] = []

    def get_bbox(self, *arguments: Any, **named: Any) -> Any:
        """nnU-Net's box, whose lower corner is remembered."""
        box = super().get_bbox(*arguments, **named)
        self._corners.append([int(place) for place in box[0]])
        return box

    def generate_train_batch(self) -> dict[str, Any]:
        """nnU-Net's batch with its places."""
        self._corners, self.transforms.matrices = [], []
        batch: dict[str, Any] = super().generate_train_batch()
        corner, region = torch.tensor(self._corners, dtype=torch.int64), torch.tensor([int(n) for n in self.patch_size])
        if self.patch_size_was_2d:
            batch["slices"], corner, region = corner[:, 0].contiguous(), corner[:, 1:].contiguous(), region[1:]
        matrices = torch.from_numpy(np.stack(self.transforms.matrices))
        return {**batch, "origin": corner, "region": region, "matrix": matrices[:, :-1].contiguous()}


class Recording:
    """Transforms whose maps from a patch to the box that it was cut from are kept in ``matrices``, sample by sample."""

    def __init__(self, transforms: BasicTransform | None) -> None:
        self.transforms = transforms
        self.matrices: list[Affine] = []

    def __call__(self, **sample: Any) -> dict[str, Any]:
        """A sample after the transforms."""
        sample = {**sample, _KEY: np.eye(sample["image"].ndim)}
        if self.transforms is not None:
            sample = self.transforms(**sample)
        self.matrices.append(sample.pop(_KEY))
        return sample

    def __repr__(self) -> str:
        return f"Recording({self.transforms!r})"


class Placed(BasicTransform):
    """A transform that moves pixels, as ``moves`` knows of its parameters; it draws and does what it did."""

    def __init__(self, inner: BasicTransform, moves: Moves) -> None:
        super().__init__()
        self.inner, self.moves = inner, moves

    def __call__(self, **sample: Any) -> dict[str, Any]:
        """A sample after the transform, whose map is noted in it."""
        parameters = self.inner.get_parameters(**sample)
        step = self.moves(self.inner, parameters, tuple(sample["image"].shape[1:]))
        sample[_KEY] = sample[_KEY] @ _widened(step, len(sample[_KEY]))
        done: dict[str, Any] = self.inner.apply(sample, **parameters)
        return done


def placed(transforms: BasicTransform) -> tuple[BasicTransform | None, tuple[str, ...]]:
    """Copies of transforms that say how they move pixels, and the names of what is left out because nobody knows how.

    None stands for transforms of which nothing is left.
    """
    left_out: list[str] = []
    return _placed(transforms, left_out), tuple(left_out)


def _placed(transform: BasicTransform, left_out: list[str]) -> BasicTransform | None:
    if isinstance(transform, ComposeTransforms):
        kept = (_placed(inner, left_out) for inner in transform.transforms)
        return ComposeTransforms([inner for inner in kept if inner is not None])
    if isinstance(transform, RandomTransform):
        inner = _placed(transform.transform, left_out)
        return None if inner is None else RandomTransform(inner, transform.apply_probability)
    name = type(transform).__name__
    if type(transform) is MirrorTransform:
        return Placed(transform, mirrored)
    if type(transform) is SpatialTransform:
        if transform.p_elastic_deform:
            left_out.append(f"the elastic deformation of {name}")
            transform = copy.copy(transform)
            transform.p_elastic_deform = 0
        return Placed(transform, moved)
    if isinstance(transform, ImageOnlyTransform | SegOnlyTransform) or _stays(type(transform)):
        return transform
    left_out.append(name)
    return None


def _stays(kind: type[BasicTransform]) -> bool:
    """Whether a transform of image and label is known to leave pixels where they are: those that come with nnU-Net, but for
    the spatial ones and those that choose among others."""
    package, _, name = kind.__module__.removeprefix("batchgeneratorsv2.transforms.").partition(".")
    return package in ("intensity", "local", "nnunet", "noise", "utils") and name not in ("compose", "random")


def moved(transform: Any, parameters: Mapping[str, Any], shape: tuple[int, ...]) -> Affine:
    """What ``SpatialTransform`` does without its elastic part.

    With rotation or zoom, pixel x of the patch of sides n is at A (x - (n - 1) / 2) from the centre c of the image; without,
    the patch is cut out at whole pixels, n // 2 below c.
    """
    sides = np.array([int(side) for side in transform.patch_size])
    centre = np.array([float(place) for place in parameters["center_location_in_pixels"]])
    if parameters["grid"] is None:
        start = np.array([math.floor(place) for place in centre]) - sides // 2
        return _affine(np.eye(len(sides)), start)
    linear = np.eye(len(sides)) if parameters["affine"] is None else np.asarray(parameters["affine"], np.float64)
    place = centre - np.array(shape) / 2 - linear @ ((sides - 1) / 2)
    size = np.array(shape, np.float64)
    unit = (size - 1) / size if transform.align_corners else np.ones(len(size))  # of grid_sample's two conventions
    return _affine(unit[:, None] * linear, unit * place + (size - 1) / 2)


def mirrored(_: Any, parameters: Mapping[str, Any], shape: tuple[int, ...]) -> Affine:
    """What ``MirrorTransform`` does."""
    sign, start = np.ones(len(shape)), np.zeros(len(shape))
    for axis in parameters["axes"]:
        sign[axis], start[axis] = -1, shape[axis] - 1
    return _affine(np.diag(sign), start)


def _affine(linear: npt.NDArray[Any], start: npt.NDArray[Any]) -> Affine:
    affine = np.eye(len(start) + 1)
    affine[:-1, :-1], affine[:-1, -1] = linear, start
    return affine


def _widened(affine: Affine, size: int) -> Affine:
    """The map of a transform of the last axes alone, as one of all: nnU-Net turns flat patches in the plane."""
    wide = np.eye(size)
    first = size - len(affine)
    wide[first:, first:] = affine
    return wide


def keys_without_return(keys: Sequence[str], number: int) -> list[str]:
    """So many random keys, none twice before all are drawn once, by the generator that nnU-Net's loaders draw with."""
    laps = math.ceil(number / len(keys))
    drawn = [key for _ in range(laps) for key in np.random.permutation(list(keys))]  # noqa: NPY002
    return [str(key) for key in drawn[:number]]
