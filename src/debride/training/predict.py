"""``debride predict``: a finished run, applied to images, in their own format and geometry."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from debride.data.cache import Preparation, resize, working_image
from debride.data.images import SUFFIXES, read_header, read_image, suffix, write_label, write_probabilities
from debride.data.layouts import by_stem
from debride.data.open import open_dataset, stop
from debride.data.raters import image_id
from debride.methods import METHODS
from debride.methods.base import Method
from debride.networks import Network, build
from debride.progress import track
from debride.settings import from_mapping
from debride.training import checkpoint as checkpoints
from debride.training.config import TrainConfig
from debride.training.description import read_description
from debride.training.fit import choose_device, place
from debride.training.inference import probabilities as class_probabilities
from debride.training.inference import segment
from debride.types import Case, DataError, Dataset, Split

CHANNEL = re.compile(r"_\d{4}$")
"""The end of a file name that nnU-Net gives to a channel."""


@dataclass(frozen=True)
class Trained:
    """A run that can predict: the method with its weights, how images are prepared, and what its labels mean."""

    method: Method
    config: TrainConfig
    channels: int
    labels: Dataset

    @property
    def preparation(self) -> Preparation:
        """How the run prepared its images."""
        return Preparation(image_size=self.config.image_size, spacing=self.config.spacing, intensity=self.config.intensity)


def load_run(run: Path, which: str, device: torch.device) -> Trained:
    """The method of a run with the weights "best", "last" or those of an epoch. Raises DataError if they are not there."""
    description = read_description(run / "run.json")
    config = from_mapping(TrainConfig, description["training"], run / "run.json")
    if description["method"] not in METHODS:
        remedy = f"Use the debride that trained it; this one knows {', '.join(METHODS)}."
        raise DataError(run / "run.json", f"names the method {description['method']!r}, which does not exist", remedy)
    cls = METHODS[description["method"]]
    classes, ndim, channels = tuple(description["classes"]), description["ndim"], description["channels"]

    def make_network() -> Network:
        return build(config.network, ndim=ndim, in_channels=channels, classes=len(classes), width=config.width)

    method = cls(from_mapping(cls.Config, description["method_config"], run / "run.json"), make_network, len(classes))
    if which == "best" and not (run / "weights" / "best.safetensors").exists():
        which = "last"
    checkpoints.load_weights(method, checkpoints.weights_file(run, which))
    values = {int(raw): value for raw, value in description["values"].items()}
    labels = Dataset(run, "folder", classes, (), ndim, description["ignore"], values)
    return Trained(place(method, device, ndim).eval(), config, channels, labels)


def predict_case(trained: Trained, image: Any, geometry: Any, device: torch.device) -> torch.Tensor:
    """Class probabilities (K, *S) of the working image of a read image (C, *S), on the CPU."""
    if image.ndim - 1 != trained.labels.ndim:
        problem = f"is {image.ndim - 1}D, the network was trained on {trained.labels.ndim}D images"
        raise DataError("image", problem, "Give images as it was trained on.")
    if image.shape[0] != trained.channels:
        raise DataError(
            "image", f"has {image.shape[0]} channels, the network was trained on {trained.channels}", "Give the same channels."
        )
    working, _ = working_image(image, geometry, trained.preparation)
    probability = class_probabilities(trained.method, torch.from_numpy(working)[None].to(device), trained.config.patch_size)
    return probability[0].cpu()


def predict_folder(
    run: Path,
    source: Path,
    out: Path,
    *,
    checkpoint: str = "best",
    probabilities: bool = False,
    splits: Sequence[Split] = (),
    open_options: Mapping[str, Any] | None = None,
    device: str = "auto",
) -> int:
    """Writes a mask for every image of a data set's ``splits`` (its test cases, or all if it has none) or of a folder, and
    returns their number.

    A mask is named by its case, has the raw label values of the training data, PNG for pictures and NIfTI for NIfTI. Raises
    DataError if ``out`` is not empty or lies in the source.
    """
    chosen = torch.device(choose_device(device))
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(out, "is not an empty folder", "Choose another --out.")
    if out.resolve().is_relative_to(source.resolve()):
        raise DataError(out, "lies in the folder of the images", "Choose a folder outside it: a source is never changed.")
    trained = load_run(run, checkpoint, chosen)
    cases = _cases(source, trained.channels, splits, open_options or {})
    if not cases:
        raise DataError(
            source, "holds no images", f"Give a data set, or a folder with files of these kinds: {', '.join(SUFFIXES)}."
        )
    out.mkdir(parents=True, exist_ok=True)
    with track("predicting", len(cases)) as show:
        for number, case in enumerate(cases):
            image, geometry = read_image(case.image)
            try:
                probability = resize(predict_case(trained, image, geometry, chosen).float(), image.shape[1:])
            except DataError as error:
                raise DataError(case.image[0], error.problem, error.remedy) from error
            end = ".nii.gz" if suffix(case.image[0]) in (".nii", ".nii.gz") else ".png"
            write_label(out / f"{case.id}{end}", segment(probability, image.shape[1:]), trained.labels, geometry)
            if probabilities:
                write_probabilities(out / case.id, probability.numpy())
            show(number + 1)
    return len(cases)


def _cases(source: Path, channels: int, splits: Sequence[Split], open_options: Mapping[str, Any]) -> list[Case]:
    """The images to predict, each once, whatever number of raters labelled it."""
    if any((source / name).exists() for name in ("masks", "labelsTr", "manifest.csv")):
        dataset = open_dataset(source, **open_options)
        cases = dataset.of(*splits) if splits else dataset.of("test") or dataset.cases
        images = {image_id(case): case.image for case in cases}
    else:
        inner = [source / name for name in ("images", "imagesTs") if (source / name).is_dir()]
        images = _images(inner[0] if inner else source, channels)
    return [Case(name, image, None, name) for name, image in images.items()]


def _images(folder: Path, channels: int) -> dict[str, tuple[Path, ...]]:
    """The images of a plain folder. Its files are put together as nnU-Net names channels where that gives every image the
    channels of the network: other files may end in four digits too."""
    files = by_stem(folder, stop)
    groups: dict[str, tuple[Path, ...]] = {}
    for name, file in files.items():
        groups[CHANNEL.sub("", name)] = (*groups.get(CHANNEL.sub("", name), ()), file)
    if all(map(CHANNEL.search, files)) and all(sum(read_header(f).channels for f in g) == channels for g in groups.values()):
        return groups
    return {name: (file,) for name, file in files.items()}
