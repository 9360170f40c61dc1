"""What a trained method says of the labels it was given: ``label_scores.csv``, and the labels it takes for right."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import Tensor

from debride.data.cache import resize_label
from debride.data.images import read_label, suffix, write_label
from debride.files import atomic_folder, write_text
from debride.methods.base import Method
from debride.progress import track
from debride.refine.mixture import posterior_of_larger
from debride.training.run import TrainingRun
from debride.types import IGNORE, Case, Dataset

COLUMNS = ("case", "noisy", "doubt", "trusted")


def has_labels(method: type[Method]) -> bool:
    """Whether a method has an opinion of its own on what the right labels are."""
    return method.cleansed is not Method.cleansed


def write_scores(out: Path, cases: tuple[Case, ...], doubt: Tensor | None) -> None:
    """Writes ``label_scores.csv`` (one line per training case, the most doubtful first); nothing where a method does not say.

    ``doubt`` is in the method's own unit, larger where a label is more doubtful; ``noisy`` in [0, 1] is the probability that
    the case belongs to the larger group of a mixture of two (Self-cleansing, Eq. 3), 0 where there is nothing to separate.
    """
    if doubt is None:
        return
    values = doubt.double().cpu().numpy()
    noisy = posterior_of_larger(values)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in np.lexsort((np.arange(len(values)), -values, -noisy)):
        writer.writerow((cases[row].id, f"{noisy[row]:.6f}", f"{values[row]:.6g}", int(cases[row].trusted)))
    write_text(out / "label_scores.csv", text.getvalue())


def write_cleansed(out: Path, dataset: Dataset, run: TrainingRun) -> None:
    """Writes the labels that the method takes for right to ``cleansed/``, in the format and geometry of the given ones.

    Pixels on which it agrees with the given label keep it as it is in the file, at its full resolution; no pixel without a
    label gets one.
    """
    cases = run.prepared.cases
    with atomic_folder(out / "cleansed") as folder, track("cleansed labels", len(cases)) as show:
        for done, (case, working, right) in enumerate(_labels(run), start=1):
            assert case.label is not None  # training cases have one
            given, geometry = read_label(case.label, dataset)
            end = suffix(case.label)
            write_label(folder / f"{case.id}{end}", merged(given, working, right), dataset, geometry)
            show(done)


def merged(given: npt.NDArray[np.uint8], working: npt.NDArray[np.uint8], right: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A given label (*T) with what was changed of its working copy (*S): ``right`` where it differs from ``working``."""
    if (right == working).all():
        return given
    changed = resize_label((right != working).astype(np.uint8), given.shape).astype(bool)
    new = resize_label(right, given.shape)
    return np.where(changed & (given != IGNORE) & (new != IGNORE), new, given)


def _labels(run: TrainingRun) -> Iterator[tuple[Case, npt.NDArray[np.uint8], npt.NDArray[np.uint8]]]:
    """Each training case with its working label and the one that the method takes for right (*S)."""
    for swept in run.sweep(np.arange(run.cases)):
        right = run.method.cleansed(swept, run.store).byte().cpu().numpy()
        for number, row in enumerate(swept.rows):
            yield run.prepared.cases[row], run.prepared.label(row), right[number]
