"""What a repair changed, for who signs it off."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from debride.api.datasets import DatasetOptions, Folder, library_options, processes
from debride.api.result import Result, Row
from debride.progress import track
from debride.types import Dataset
from debride.words import amount, some

SHOWN = 10
"""Lines that are shown."""

PAGE, TABLE = "changes.html", "changes.csv"


@dataclass(frozen=True, repr=False)
class ChangesResult(Result):
    """What a repair changed: ``changes`` has a row for each changed case and class, which ``out`` holds where it was asked for
    as changes.csv, and as the page changes.html to print."""

    changes: tuple[dict[str, Any], ...]
    cases: int

    @property
    def page(self) -> Path:
        """The page to print."""
        return self.out / PAGE

    def rows(self) -> Sequence[Row]:
        """A row for each changed case and class."""
        return self.changes

    def said(self) -> Sequence[str]:
        """How many labels changed, who decided it, and the first changes."""
        lines = [f"{self.cases} labels changed, decided by {readers_of(self.changes)}" if self.cases else "no label changed"]
        lines += [_line(row) for row in self.changes[:SHOWN]]
        return lines + ([f"  and {len(self.changes) - SHOWN} more lines"] if len(self.changes) > SHOWN else [])


def list_changes(
    repaired: Folder, *, out: Folder | None = None, jobs: int | None = None, **options: Unpack[DatasetOptions]
) -> ChangesResult:
    """Lists what a repair changed in the data set ``repaired``: for each case and class who decided it, when and why, the size
    and the Dice before and after, and hashes of both files.

    It reads that data set alone. The new folder ``out`` gets changes.csv, and changes.html to print. ``options`` say how the
    data set is read, and ``jobs`` processes share the work. Raises DataError for what is no repaired data set, and where a
    label has changed since.
    """
    opening = library_options(options, list_changes)
    root, jobs = Path(repaired), processes(jobs)
    from debride.data.open import open_dataset
    from debride.folders import new_folder

    folder = None if out is None else new_folder(Path(out), apart_from={"the data set": root})
    dataset = open_dataset(root, jobs=jobs, **opening)
    rows, columns = CHANGED[dataset.task](dataset, jobs)
    result = ChangesResult(Path() if folder is None else folder, tuple(rows), len({row["case"] for row in rows}))
    if folder is not None:
        _write(folder, dataset, result, columns)
    return result


def _changed_masks(dataset: Dataset, jobs: int) -> tuple[list[dict[str, Any]], Sequence[str]]:
    """The rows of masks, and the columns that they have."""
    from debride.audit.repair.signed_off import COLUMNS, changed_labels

    with track("comparing labels", None) as show:
        return changed_labels(dataset, jobs=jobs, progress=lambda done, _: show(done)), COLUMNS


def _changed_classes(dataset: Dataset, jobs: int) -> tuple[list[dict[str, Any]], Sequence[str]]:
    """The rows of classes of images, and the columns that they have."""
    from debride.audit.wrong_classes.class_changes import CLASS_COLUMNS, changed_classes

    return changed_classes(dataset), CLASS_COLUMNS


CHANGED: dict[str, Callable[[Dataset, int], tuple[list[dict[str, Any]], Sequence[str]]]] = {
    "segmentation": _changed_masks,
    "classification": _changed_classes,
}
"""What lists changes, by task."""


def _write(folder: Path, dataset: Dataset, result: ChangesResult, columns: Sequence[str]) -> None:
    """Writes the table and the page."""
    from debride.audit.shown.changes_page import changes_page
    from debride.files import write_csv, write_text
    from debride.folders import atomic_folder

    rows = result.changes
    totals = {"labels changed": f"{result.cases}", "decided by": readers_of(rows)}
    if dates := sorted(row["when"][:10] for row in rows if row["when"]):
        totals["decided"] = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    totals["data set"] = str(dataset.root)
    notes = ["Sizes and hashes are of whole labels. A size without a spacing is a number of pixels or voxels."]
    if (dataset.root / "repairs" / "before" / "repairs.jsonl").is_file():
        notes.append("An earlier repair is in repairs/before of the data set: this table is on the last one alone.")
    with atomic_folder(folder) as new:
        write_csv(new / TABLE, columns, ([_cell(row[name]) for name in columns] for row in rows))
        write_text(new / PAGE, changes_page(dataset.root.name, rows, totals, notes if "dice" in columns else notes[1:]))


def readers_of(rows: Sequence[Row]) -> str:
    """Who decided what was changed."""
    from debride.audit.repair.signed_off import BETWEEN

    return some(list(dict.fromkeys(name for row in rows for name in str(row["who"]).split(BETWEEN))), SHOWN) or "nobody"


def _cell(value: Any) -> Any:
    return f"{value:.9g}" if isinstance(value, float) else value


def _line(row: Row) -> str:
    """A line of the terminal."""
    by = f"{row['why']}, by {row['who']}"
    if "dice" not in row:
        return f"  {row['case']}: {row['before']} to {row['after']}, {by}"
    sizes = f"{amount(row['before'])} to {amount(row['after'])} {row['unit']}"
    return f"  {row['case']}, {row['class']}: {sizes}, Dice {row['dice']:.3f}, {by}"
