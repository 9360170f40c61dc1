"""Classes of many images as arrays: which are wrong, by predictions, as the audit of a folder finds out."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from debride.array_kinds import class_ids, numpy_of, refuse_improper
from debride.audit.from_arrays.label_audit import ClassAudit
from debride.audit.from_arrays.series import Series
from debride.audit.one_thread import one_thread
from debride.audit.wrong_classes.class_overview import summarise_classes
from debride.audit.wrong_classes.judged_classes import Pictures, judge_classes
from debride.audit.wrong_classes.near_duplicates import look_of
from debride.progress import track
from debride.types import IGNORE, DataError, Dataset

Floats = npt.NDArray[np.float32]


def audit_class_labels(
    dataset: Dataset, labels: npt.NDArray[Any], probability: Floats, images: Series | None, ignore: int | None, seed: int
) -> ClassAudit:
    """Audits the classes (N,) of the cases of a data set by probabilities (N, K), and by images if there are any."""
    cases = dataset.cases
    given = class_ids("labels", labels, len(dataset.classes), ignore)[0].astype(np.int64)
    if (given == IGNORE).any():
        at = int((given == IGNORE).argmax())
        raise DataError(f"labels[{at}]", "is no class", "Leave out the cases without one.")
    trusted = np.array([case.trusted for case in cases], bool)
    pictures = _pictures(images, [case.id for case in cases]) if images is not None else None
    with one_thread():
        judged = judge_classes(probability, given, [case.patient for case in cases], trusted, seed, pictures)
    shares = judged.shares
    return ClassAudit(
        ids=tuple(case.id for case in cases),
        classes=dataset.classes,
        order=shares.order,
        wrong=shares.wrong,
        flagged=shares.flagged,
        score=shares.score,
        share=shares.share,
        interval=(float(shares.interval[0]), float(shares.interval[1])),
        summary=summarise_classes(cases, shares, judged.groups, dataset.classes, judged.differ, judged.untold),
        given=given,
        proposed=shares.proposed,
        least=shares.least,
        pairs=shares.pairs,
        low=shares.low,
        high=shares.high,
        duplicates=tuple(group.members for group in judged.groups),
    )


def class_probabilities(given: Any, many: int) -> Floats:
    """Probabilities (N, K) of so many cases, summing to one. DataError for what is none, naming the case."""
    found = numpy_of("probabilities", given)
    if found.ndim != 2 or len(found) != many or found.shape[1] < 2:
        problem = f"have shape {found.shape} for {many} labels"
        raise DataError("probabilities", problem, "Give a row for each case, and a column for each class.")
    refuse_improper("probabilities", found)
    single = found.astype(np.float32)
    single /= single.sum(axis=1, keepdims=True)
    return single


def _pictures(images: Series, names: list[str]) -> Pictures:
    contents, fingerprints = [], []
    with track("looking at images", len(images)) as show:
        for at in range(len(images)):
            content, fingerprint = look_of(_channels_last(images.where(at), images.read(at)))
            contents.append(content)
            fingerprints.append(fingerprint)
            show(at + 1)
    return Pictures(contents, np.stack(fingerprints), names)


def _channels_last(where: str, image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """An image (H, W), (H, W, C) or (C, H, W) with its channels last."""
    if image.ndim not in (2, 3):
        raise DataError(where, f"has shape {image.shape}", "Give pictures (H, W), (H, W, C) or (C, H, W).")
    first = image.ndim == 3 and image.shape[0] < image.shape[-1]
    return np.moveaxis(image, 0, -1) if first else image
