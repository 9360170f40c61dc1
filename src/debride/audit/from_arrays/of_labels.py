"""``audit_labels``: which labels are wrong, where labels and predictions are arrays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from debride.array_kinds import class_ids, is_tensor
from debride.audit.audit_config import AuditConfig
from debride.audit.from_arrays.class_arrays import audit_class_labels, class_probabilities
from debride.audit.from_arrays.label_audit import ClassAudit, MaskAudit
from debride.audit.from_arrays.mask_arrays import Arrays, audit_masks
from debride.audit.from_arrays.named_cases import cases_of, class_names, spacings_of
from debride.audit.from_arrays.series import Scratch, Series, scratch_folder, series_of
from debride.execute import cores
from debride.settings import from_mapping
from debride.types import IGNORE, DataError, Dataset

ROOT, FORMAT = Path("arrays"), "arrays"
"""Where the data set of arrays lies, and in what: nothing is read by these."""


def audit_labels(
    labels: Any,
    probabilities: Any,
    *,
    images: Any = None,
    spacing: Any = None,
    groups: Sequence[Any] | None = None,
    annotated: Sequence[Sequence[int] | None] | None = None,
    trusted: Any = None,
    ids: Sequence[str] | None = None,
    classes: int | Sequence[str] | None = None,
    ignore_index: int | None = IGNORE,
    seed: int = 0,
    planted: int = 300,
    least: float = 0.1,
    pictures: int = 6,
    jobs: int | None = None,
    scratch: str | Path | None = None,
) -> MaskAudit | ClassAudit:
    """Audits the labels of N cases by predictions of networks that have not seen them, and says which are wrong.

    The shapes decide what is audited. Masks are ``labels`` of N arrays (H, W) or (D, H, W) with class ids, background 0, and
    ``probabilities`` of N arrays (K, *S) that sum to one. Classes of whole images are labels (N,) with probabilities (N, K).
    For two classes a map (*S) of the foreground's probability is taken too, and predicted class ids (*S) in place of
    probabilities, which say less. Without predictions (None) masks are judged by themselves and their ``images``.

    N arrays are a list, one array or tensor with a first axis of N, a memory map, anything else with a length and items, or
    what yields them one by one.
    Sizes may differ, but all masks have 2 or all have 3 axes. One case is in memory at a time. What a generator yields is kept
    in a folder within ``scratch``, by default that of the system for temporary files, and removed at the end.

    ``images`` are N arrays (*S), (C, *S) or (*S, C); of classes (H, W), (H, W, C) or (C, H, W). ``spacing`` in mm is one for
    all cases or one for each, along the axes of the arrays. ``groups`` (N,) name the patient of each case, or what else cases
    have in common: none of a group is judged by what was learnt from the group. ``annotated`` has for each case the ids of the
    classes that were drawn in it, or None for all. ``trusted`` are labels known to be right, as booleans (N,) or places.
    ``ids`` (N,) are names. ``classes`` are the names of the classes or their number, where the probabilities do not tell.
    ``ignore_index`` marks pixels without a label.

    ``planted`` cases at most get errors planted to learn what errors look like; ``least`` is the least confidence of a finding;
    ``pictures`` so many findings are drawn where there are images. ``jobs`` processes share the work on masks, by default as
    many as there are cores; the result is the same with any number. Raises DataError for what cannot be used, which names the
    case by its place.
    """
    settings = {"planted": planted, "least": least, "pictures": pictures, "seed": seed}
    config = from_mapping(AuditConfig, settings, "audit_labels")
    if jobs is not None and jobs < 1:
        raise DataError("`jobs`", f"is {jobs}", "Give a whole number from 1.")
    about = {"ids": ids, "groups": groups, "trusted": trusted}
    with scratch_folder(scratch) as folder:
        given = series_of("labels", labels, folder)
        if not len(given):
            raise DataError("`labels`", "are none", "Give one for each case.")
        shown = _as_many(series_of("images", images, folder), len(given)) if images is not None else None
        shape = given.read(0).shape
        if not shape:
            for name, value in {"spacing": spacing, "annotated": annotated}.items():
                if value is not None:
                    raise DataError(f"`{name}`", "is for masks, and these labels are classes", "Leave it out.")
            found = class_probabilities(_together(probabilities, folder), len(given))
            names = class_names(found.shape[1] if classes is None else classes)
            if len(names) != found.shape[1]:
                problem = f"are of {found.shape[1]} classes, `classes` are {len(names)}"
                raise DataError("probabilities", problem, "Give a column for each class.")
            cases = cases_of(len(given), len(names), **about)
            dataset = Dataset(ROOT, FORMAT, names, cases, 2, task="classification")
            return audit_class_labels(dataset, given.together(), found, shown, ignore_index, seed)
        if len(shape) not in (2, 3):
            raise DataError(given.where(0), f"has shape {shape}", "Give masks (H, W) or (D, H, W), one for each case.")
        predicted = series_of("probabilities", probabilities, folder) if probabilities is not None else None
        if predicted is not None:
            _as_many(predicted, len(given))
        names = class_names(_classes(given, predicted, ignore_index) if classes is None else classes)
        cases = cases_of(len(given), len(names), annotated=annotated, **about)
        dataset = Dataset(ROOT, FORMAT, names, cases, len(shape))
        spacings = spacings_of(spacing, len(given), len(shape))
        arrays = Arrays(dataset, given, predicted, shown, spacings, ignore_index, folder)
        return audit_masks(arrays, config, cores() if jobs is None else jobs)


def _classes(labels: Series, predicted: Series | None, ignore: int | None) -> int:
    """The number of classes, by the first prediction. DataError where that does not say it."""
    label = labels.read(0)
    if predicted is None:
        return max(class_ids(labels.where(at), labels.read(at), None, ignore)[1] for at in range(len(labels)))
    first, where = predicted.read(0), predicted.where(0)
    if first.ndim == label.ndim + 1:
        if first.shape[1:] == label.shape:
            return max(2, len(first))
        problem = f"has shape {first.shape}, its label {label.shape}"
        if first.shape[:-1] == label.shape:
            raise DataError(where, f"{problem}: its classes come last", "Give numpy.moveaxis(array, -1, 0).")
        raise DataError(where, problem, "Give one map for each class, background first: (K, *S).")
    if first.dtype.kind in "ui":
        raise DataError(where, "has class ids, which do not say how many classes there are", "Give their number as `classes`.")
    return 2


def _as_many(series: Series, many: int) -> Series:
    if len(series) != many:
        raise DataError(f"`{series.name}`", f"are {len(series)} for {many} labels", "Give one for each label.")
    return series


def _together(given: Any, folder: Scratch) -> Any:
    """Probabilities (N, K) as they are, or what is yielded put together."""
    return given if is_tensor(given) or isinstance(given, np.ndarray) else series_of("probabilities", given, folder).together()
