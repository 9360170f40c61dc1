"""What a trained method says of the labels it was given: ``label_scores.csv``, and the labels it takes for right."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from debride.data.cache import Prepared, resize_label
from debride.data.cropping import Box, cropped_shape, put_back
from debride.data.masks.annotated import of_undrawn
from debride.data.pairs import image_grid, label_turn
from debride.data.pixels.images import copy_ending, copy_image, read_label, write_label_like
from debride.data.same_grid import turned, unturned
from debride.files import write_csv
from debride.methods.base import Method, Swept
from debride.refine.mixture import posterior_of_larger
from debride.state import LabelState
from debride.training.run import TrainingRun
from debride.types import IGNORE, Case, Dataset

COLUMNS = ("case", "noisy", "doubt", "trusted")


def write_scores(out: Path, cases: tuple[Case, ...], doubt: Tensor | None) -> None:
    """Writes ``label_scores.csv`` (one line per training case with a label, the most doubtful first); nothing where a method
    does not say.

    ``doubt`` is in the method's own unit, larger where a label is more doubtful; ``noisy`` in [0, 1] is the probability that
    the case belongs to the larger group of a mixture of two (Self-cleansing, Eq. 3), 0 where there is nothing to separate.
    """
    if doubt is None:
        return
    labelled = [case.label is not None or case.target is not None for case in cases]
    cases, doubt = tuple(itertools.compress(cases, labelled)), doubt.cpu()[torch.tensor(labelled)]
    values, trusted = doubt.double().numpy(), np.array([case.trusted for case in cases], bool)
    noisy = np.zeros(len(values))
    noisy[~trusted] = posterior_of_larger(values[~trusted])
    order = np.lexsort((np.arange(len(values)), -values, -noisy))
    lines = ((cases[row].id, f"{noisy[row]:.6f}", f"{values[row]:.6g}", int(trusted[row])) for row in order)
    write_csv(out / "label_scores.csv", COLUMNS, lines)


def write_cleansed(out: Path, dataset: Dataset, run: TrainingRun[Prepared]) -> None:
    """Writes the labels that the method takes for right to ``cleansed/``, each process those of its own cases.

    Cases without a label get none. A label that is trusted, or that the method does not change, is copied. In the others those
    pixels keep their class, at the file's resolution, on which the method agrees with it, and no pixel without a label gets
    one; no pixel leaves or enters a class that was not drawn in its case; where the image was cropped, foreground becomes
    background. Formats and geometry are those of the given labels, with PNG in place of JPEG. The folder appears when it is
    complete.
    """
    partial = out / "cleansed.partial"
    if run.fabric.is_global_zero:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
    run.fabric.barrier()
    labelled = np.array([case.label is not None for case in run.prepared.cases])
    for swept in run.sweep(run.own[labelled[run.own]]):
        for row, right in zip(swept.rows, cleansed_labels(run.method, swept, run.store), strict=True):
            case, working = run.prepared.cases[row], run.prepared.label(row)
            kept = case.trusted | (working == IGNORE)
            _write(partial, case, dataset, working, np.where(kept, working, right), run.prepared.box(row))
    run.fabric.barrier()
    if run.fabric.is_global_zero:
        partial.replace(out / "cleansed")


def cleansed_labels(method: Method, swept: Swept, store: LabelState) -> npt.NDArray[np.uint8]:
    """The labels (B, *S) that a method takes for right, of cases in the working images' geometry."""
    labels: npt.NDArray[np.uint8] = method.cleansed(swept, store).byte().cpu().numpy()
    return labels


def merged(
    given: npt.NDArray[np.uint8],
    working: npt.NDArray[np.uint8],
    right: npt.NDArray[np.uint8],
    box: Box | None = None,
    case: Case | None = None,
) -> npt.NDArray[np.uint8]:
    """A given label (*T) with what was changed of its working copy (*S): ``right`` where it differs from ``working``, and
    background outside the ``box`` that it was cropped to. Nothing leaves or enters a class that its ``case`` did not draw."""
    shape = cropped_shape(given.shape, box)
    changed = put_back(resize_label((right != working).astype(np.uint8), shape), box, given.shape, outside=1).astype(bool)
    new = put_back(resize_label(right, shape), box, given.shape)
    changed &= (given != IGNORE) & (new != IGNORE)
    if case is not None:
        changed &= ~of_undrawn(case, given, new)
    return np.where(changed, new, given)


def _write(
    folder: Path,
    case: Case,
    dataset: Dataset,
    working: npt.NDArray[np.uint8],
    right: npt.NDArray[np.uint8],
    box: Box | None,
) -> None:
    assert case.label is not None  # those without one are not swept
    target = folder / f"{case.id}{copy_ending(case.label).lower()}"
    if (right == working).all():
        copy_image(case.label, target)
        return
    given, how = read_label(case.label, dataset)[0], label_turn(case, image_grid(case))
    cleansed = merged(turned(given, how), working, right, box, case)
    write_label_like(case.label, unturned(cleansed, how), dataset, target)
