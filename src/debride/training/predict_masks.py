"""``debride predict`` for segmentation: a finished run, applied to images, in their own format and geometry."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from debride.calibration.correction import refuse_unknown_spacing
from debride.case_work import CaseWork, case_work, stamp_of
from debride.data.cache import resize, working_image
from debride.data.cropping import Box, crop_box, cropped, cropped_shape, put_back
from debride.data.formats.image_folders import by_stem
from debride.data.open import dataset_or_images, nothing_to_predict, stop, with_file_names
from debride.data.pairs import image_grid
from debride.data.pixels.images import files_of, label_path, read_header, read_image, write_label, write_probabilities
from debride.data.plain import case_of, plain_case
from debride.data.rater_choice import image_id
from debride.execute import Outcome, affordable
from debride.files import content_hash
from debride.progress import track
from debride.training.ensemble import averaged
from debride.training.inference import largest_components, painted, segment, stitching_device
from debride.training.inference import probabilities as class_probabilities
from debride.training.trained import Predicted, Request, Trained
from debride.types import Case, DataError, Dataset, Geometry

CHANNEL = re.compile(r"_\d{4}$")
"""The end of a file name that nnU-Net gives to a channel."""


def predict_masks(trained: Trained, source: Path, out: Path, request: Request, device: torch.device) -> Predicted:
    """Writes a mask for every image that is asked for (see ``predict_folder``)."""
    cases = images_to_predict(source, trained.channels, request)
    if not cases:
        raise nothing_to_predict(source, "segmentation")
    with_file_names(cases)
    stamps: dict[str, str | DataError] = {}
    request = replace(request, jobs=affordable(request.jobs, _needed(cases[0], trained)))
    with (
        case_work(out, request.made_by, resume=request.resume, keep_going=request.keep_going) as work,
        track("predicting", len(cases)) as show,
        request.outcomes(masks_of(trained, out, request, device), _to_do(cases, work, stamps, trained), len(cases)) as outcomes,
    ):
        for number, (case, outcome) in enumerate(zip(cases, outcomes, strict=True)):
            stamp = stamps.pop(case.id)
            unread = Outcome(error=stamp) if isinstance(stamp, DataError) else outcome
            files: list[str] | None = work.attempt(case.id, unread.value)
            if files is not None:
                work.done(case.id, str(stamp), [out / name for name in files])
            show(number + 1)
    return Predicted(len(cases) - len(work.left_out), tuple(work.left_out.values()))


def _needed(case: Case, trained: Trained) -> int:
    """Bytes that predicting a case takes: its channels, a probability for each class or region and two more numbers for each
    voxel; with several runs, as many probabilities again."""
    try:
        voxels = math.prod(read_header(case.image[0]).shape)
    except DataError:  # which predicting it will say
        return 0
    maps = _maps(trained) * (2 if trained.members else 1)
    return 4 * (trained.channels + maps + 2) * voxels


def _maps(trained: Trained) -> int:
    """How many probabilities a run gives for each pixel: one for each region or class."""
    return len(trained.labels.regions) or len(trained.labels.classes)


def _to_do(
    cases: Sequence[Case], work: CaseWork, stamps: dict[str, str | DataError], trained: Trained
) -> Iterator[dict[str, Any] | None]:
    """The cases as plain JSON, None for those that are done or cannot be read, which ``stamps`` then says."""
    for case in cases:
        try:
            stamp = stamp_of(files_of(case.image))
            if own := [each.calibration_of(case) for each in trained.members or (trained,) if each.own]:
                stamp = content_hash([], stamp, *own)
            stamps[case.id] = stamp
            yield None if work.is_done(case.id, stamp) else plain_case(case)
        except DataError as error:
            stamps[case.id] = error
            yield None


def masks_of(
    trained: Trained, out: Path, request: Request, device: torch.device
) -> Callable[[dict[str, Any] | None], list[str] | None]:
    """What writes the mask of a case (as ``plain_case`` gives it; None: of none) to ``out``, and returns its files' names."""

    def write(item: dict[str, Any] | None) -> list[str] | None:
        return None if item is None else [path.name for path in _write(out, case_of(item), trained, request, device)]

    return write


def _write(out: Path, case: Case, trained: Trained, request: Request, device: torch.device) -> list[Path]:
    """Writes the mask of a case, and returns its files."""
    calibration = trained.calibration_of(case)
    if calibration:
        refuse_unknown_spacing(calibration, image_grid(case).geometry.spacing, case.image[0])
    probability, shape, box, geometry = _predict(trained, case, device)
    if calibration:
        probability = calibration.scaled(probability)
    regions = trained.labels.regions
    if regions:
        ids = painted(probability, regions, shape, box, largest=request.largest_component)
    else:
        ids = segment(probability, shape, box)
    files = []
    if request.probabilities:
        whole = _whole(probability, shape, box, outside=not regions)
        if calibration:
            whole /= whole.sum(axis=0)
        files.append(write_probabilities(out / case.id, whole))
        del whole
    del probability  # nor kept while the mask is written
    if calibration:
        ids = calibration.move(ids, geometry.spacing)
    mask = largest_components(ids) if request.largest_component and not regions else ids
    path = label_path(out, case.id, case.image[0])
    return [*files, *files_of([write_label(path, mask, trained.labels, geometry, case.image[0], trained.one_bit)])]


def predict_case(trained: Trained, image: npt.NDArray[np.generic], geometry: Geometry, device: torch.device) -> torch.Tensor:
    """Class probabilities (K, *S), or those of regions, of the working image of a read image (C, *S), which is cropped already,
    on the CPU."""
    return _probabilities(trained, _working(trained, image, geometry), device)


def _working(trained: Trained, image: npt.NDArray[np.generic], geometry: Geometry) -> torch.Tensor:
    """The working image (C, *S) of a read image; raises DataError if the network was trained on others."""
    if image.ndim - 1 != trained.labels.ndim:
        problem = f"is {image.ndim - 1}D, the network was trained on {trained.labels.ndim}D images"
        raise DataError("image", problem, "Give images as it was trained on.")
    if image.shape[0] != trained.channels:
        raise DataError(
            "image", f"has {image.shape[0]} channels, the network was trained on {trained.channels}", "Give the same channels."
        )
    working, _ = working_image(image, geometry, trained.preparation)
    return torch.from_numpy(working)


def _probabilities(trained: Trained, working: torch.Tensor, device: torch.device) -> torch.Tensor:
    home = stitching_device(device, trained.channels, _maps(trained), tuple(working.shape[1:]))
    patch, regions = trained.config.patch_size, len(trained.labels.regions)
    probability = class_probabilities(trained.method, working[None].to(home), patch, device, regions=regions)
    return probability[0].cpu()


def _predict(trained: Trained, case: Case, device: torch.device) -> tuple[torch.Tensor, tuple[int, ...], Box | None, Geometry]:
    """Class probabilities (K, *S) of a case's working image, and the shape of its file, where it was cropped, and geometry."""
    image, geometry = read_image(case.image)
    shape: tuple[int, ...] = image.shape[1:]
    box = crop_box(image) if trained.preparation.crop else None
    inside = cropped(image, box)
    if trained.members:
        several = (_of_member(member, case, inside, geometry, device) for member in trained.members)
        return averaged(several), shape, box, geometry
    working = _working_of(trained, case, inside, geometry)
    del image, inside  # a large volume is not kept while its windows are predicted
    return _probabilities(trained, working, device), shape, box, geometry


def _of_member(
    member: Trained, case: Case, inside: npt.NDArray[np.generic], geometry: Geometry, device: torch.device
) -> torch.Tensor:
    """What one of several runs gives, after its own calibration, which is of offsets alone."""
    probability = _probabilities(member, _working_of(member, case, inside, geometry), device)
    calibration = member.calibration_of(case)
    return calibration.weighed(probability) if calibration else probability


def _working_of(trained: Trained, case: Case, inside: npt.NDArray[np.generic], geometry: Geometry) -> torch.Tensor:
    """The working image of a case; errors name its file."""
    try:
        return _working(trained, inside, geometry)
    except DataError as error:
        raise DataError(case.image[0], error.problem, error.remedy) from error


def _whole(probability: torch.Tensor, shape: tuple[int, ...], box: Box | None, *, outside: bool) -> npt.NDArray[np.float32]:
    """Probabilities (K, *S) of a working image in its file's own shape (K, *shape); where it was cropped it is certain to be of
    the first class if that is what is ``outside``, else of none."""
    resized = resize(probability.float(), cropped_shape(shape, box)).numpy()
    background = (outside & (np.arange(len(resized)) == 0)).reshape(-1, *[1] * len(shape))
    return put_back(resized, box, shape, background)


def predict_whole(trained: Trained, case: Case, device: torch.device) -> npt.NDArray[np.float32] | npt.NDArray[np.float16]:
    """Class probabilities (K, *S) of a case in its image's own shape, background where that was cropped; float16 for volumes.

    Of a run on regions they are those of the regions (R, *S), 0 where it was cropped.

    They are resized class by class, so that beside the network's output a volume takes 2 bytes per voxel and class.
    """
    probability, shape, box, _ = _predict(trained, case, device)
    whole = np.empty((len(probability), *shape), np.float32 if len(shape) == 2 else np.float16)
    for number, share in enumerate(probability):
        inside = resize(share[None].float(), cropped_shape(shape, box))[0].numpy()
        whole[number] = put_back(inside, box, shape, number == 0 and not trained.labels.regions)
    return whole


def images_to_predict(source: Path, channels: int, request: Request) -> list[Case]:
    """The images to predict, each once, whatever number of raters labelled it."""
    held = request.dataset or dataset_or_images(source, "segmentation", request.open_options)
    if isinstance(held, Dataset):
        cases = held.of(*request.splits) if request.splits else held.of("test") or held.cases
        images = {image_id(case): case for case in cases}
        return [Case(name, case.image, None, name, groups=case.groups) for name, case in images.items()]
    return [Case(name, image, None, name) for name, image in images_in(held, channels).items()]


def images_in(folder: Path, channels: int) -> dict[str, tuple[Path, ...]]:
    """The images of a plain folder. Its files are put together as nnU-Net names channels where that gives every image the
    channels of the network: other files may end in four digits too."""
    files = by_stem(folder, stop)
    groups: dict[str, tuple[Path, ...]] = {}
    for name, file in files.items():
        groups[CHANNEL.sub("", name)] = (*groups.get(CHANNEL.sub("", name), ()), file)
    if all(map(CHANNEL.search, files)) and all(_channels(group) in (channels, None) for group in groups.values()):
        return groups
    return {name: (file,) for name, file in files.items()}


def _channels(group: Sequence[Path]) -> int | None:
    """The channels of an image in several files; None where one cannot be read, which predicting it will say."""
    try:
        return sum(read_header(file).channels for file in group)
    except DataError:
        return None
