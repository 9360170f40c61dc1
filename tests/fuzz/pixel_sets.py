"""Data sets of images and masks, each of whose files is mutated: NIfTI, pictures, NRRD and MetaImage."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK
from PIL import Image

from debride.data.cache import prepare, working_image
from debride.data.open import open_dataset
from debride.data.preparation import Preparation
from debride.testing.toy_sets import nested_balls
from debride.types import Geometry
from tests.fuzz import headers, readers
from tests.fuzz.checked_sets import CheckedSet
from tests.fuzz.judge import RefusedError
from tests.fuzz.mutations import Mutation, Structural
from tests.fuzz.subject import Exercise

SHAPE = (4, 9, 7)
PLANE = (11, 13)

PREPARATION = Preparation(intensity="clip:-100000:100000")
"""A preparation that keeps every number apart from the others."""


class PixelSet(CheckedSet):
    """images/ and masks/ of two classes, whose cases differ in kind of file."""

    rarely = 25

    def build(self) -> None:
        (self.root / "images").mkdir(parents=True)
        (self.root / "masks").mkdir()
        self.fill(np.random.default_rng(0))
        (self.root / "dataset.json").write_text(json.dumps({"classes": ["background", "ball"]}))
        cases = sorted(case.id for case in open_dataset(self.root).cases)
        (self.root / "splits.json").write_text(json.dumps({"train": cases[:-1], "val": cases[-1:]}))

    @abstractmethod
    def fill(self, rng: np.random.Generator) -> None:
        """Makes the images and masks."""

    def files(self) -> list[Path]:
        return [path for folder in ("images", "masks") for path in sorted((self.root / folder).iterdir())]

    def structural(self, file: Path) -> tuple[Structural, ...]:
        return headers.of(file)

    def readings(self, file: Path) -> dict[str, Exercise]:
        case = file.name.split(".")[0]
        return {
            "train": Exercise(
                f"train {case}", lambda work: self.train(case, work), lambda *given: self.may_differ(case, *given)
            ),
        }

    def train(self, case: str, work: Path) -> dict[str, Any]:
        """What a training sees of a case."""
        dataset = open_dataset(self.root)
        cases = [one for one in dataset.cases if one.id == case]
        if not cases:
            raise RefusedError(f"{case} is gone")
        prepared = prepare(dataset, cases, PREPARATION, work)
        spacing = prepared.spacings[0]
        return {
            "image": np.array(prepared.image(0)),
            "label": np.array(prepared.label(0)),
            "spacing": None if spacing is None else np.round(spacing, 5).tolist(),
        }

    def may_differ(self, case: str, mutation: Mutation, now: Any, healthy: Any) -> bool:
        """Whether readers that are not debride's find in the files what was read."""
        try:
            image, label = (readers.read(self.of(folder, case)) for folder in ("images", "masks"))
        except Exception:
            return False
        if not readers.together(image, label) or label[0].max() > 1 or label[0].min() < 0:
            return False
        channels = np.moveaxis(image[0], -1, 0) if image[0].ndim > label[0].ndim else image[0][None]
        working, _ = working_image(channels.astype(np.float32), Geometry(), PREPARATION)
        tolerance = self.tolerance(self.of("images", case), mutation)
        if not (working.shape == now["image"].shape and np.allclose(working, now["image"], atol=tolerance)):
            return False
        if image[1] is not None:
            size = np.linalg.norm(image[1][:3, :3], axis=0)[: label[0].ndim][::-1]
            if now["spacing"] is None or not np.allclose(now["spacing"], size, rtol=2e-3):
                return False
        return bool(np.array_equal(label[0], now["label"]))

    def tolerance(self, image: Path, mutation: Mutation) -> float:
        """How far two decoders may be apart, in numbers from -1 to 1 for 200,000 greys. A JPEG has no checksum: what decoders
        make of a damaged one differs, and nothing tells that it was another picture."""
        if image.suffix != ".jpg":
            return 1e-7
        return 1.0 if image == mutation.file else 4e-5

    def of(self, folder: str, case: str) -> Path:
        """The file of a case that names others, where there are several."""
        return next(path for path in sorted((self.root / folder).glob(f"{case}.*")) if path.suffix != ".raw")


def _volumes(rng: np.random.Generator, count: int) -> Iterator[tuple[Any, Any]]:
    for _ in range(count):
        image, label = nested_balls(rng, SHAPE, 2)
        yield image.astype(np.int16) * 3 - 200, label


class NiftiSet(PixelSet):
    """Two volumes compressed and two as they are, with sform and qform."""

    name = "nifti"

    def fill(self, rng: np.random.Generator) -> None:
        affine = np.diag([-0.8, 0.9, 2.5, 1.0])
        affine[:3, 3] = (12.0, -7.5, 30.0)
        for number, (image, label) in enumerate(_volumes(rng, 4)):
            for folder, values in (("images", image), ("masks", label)):
                volume = nib.Nifti1Image(values.T, affine)
                volume.header.set_xyzt_units("mm")
                volume.set_sform(affine, 1)
                volume.set_qform(affine, 1)
                nib.save(volume, self.root / folder / f"v{number}.nii{'.gz' if number < 2 else ''}")


class ItkSet(PixelSet):
    """NRRD and MetaImage, raw and compressed, and a header with its numbers in another file."""

    name = "itk"

    def fill(self, rng: np.random.Generator) -> None:
        kinds = (("a.nrrd", False), ("b.nrrd", True), ("c.mha", False), ("d.mha", True), ("e.mhd", False))
        for (name, packed), (image, label) in zip(kinds, _volumes(rng, len(kinds)), strict=True):
            for folder, values in (("images", image), ("masks", label)):
                volume = SimpleITK.GetImageFromArray(values)
                volume.SetSpacing((0.8, 0.9, 2.5))
                volume.SetOrigin((12.0, -7.5, 30.0))
                SimpleITK.WriteImage(volume, str(self.root / folder / name), useCompression=packed)


class PictureSet(PixelSet):
    """Colour pictures, and masks in grey, one bit, with a palette, and as TIFF."""

    name = "pictures"

    def fill(self, rng: np.random.Generator) -> None:
        names = ("a.png", "b.tif", "c.tif", "d.jpg")
        for name in names:
            image, label = nested_balls(rng, PLANE, 2)
            colours = Image.fromarray(np.stack([image, 255 - image, image // 2], axis=-1))
            options: dict[str, Any] = {"compression": "tiff_adobe_deflate"} if name == "c.tif" else {}
            if name == "d.jpg":
                options = {"quality": 95, "subsampling": 0}  # then decoders agree
            colours.save(self.root / "images" / name, **options)
            mask = Image.fromarray(label)
            if name == "b.tif":
                mask = Image.fromarray(label.astype(bool))
            elif name == "c.tif":
                mask.putpalette([0, 0, 0, 255, 0, 0])
            file = self.root / "masks" / f"{name[0]}.{'tif' if name == 'd.jpg' else 'png'}"
            mask.save(file)


class GreySet(PixelSet):
    """Grey pictures of 8 and 16 bits."""

    name = "grey-pictures"

    def fill(self, rng: np.random.Generator) -> None:
        for name in ("a.png", "b.tif", "c.jpg", "d.png"):
            image, label = nested_balls(rng, PLANE, 2)
            deep = name in ("a.png", "b.tif")
            Image.fromarray(image.astype(np.uint16) * 257 if deep else image).save(self.root / "images" / name)
            Image.fromarray(label).save(self.root / "masks" / f"{name[0]}.png")
