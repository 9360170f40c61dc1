"""The folder of an audit: where it may lie, who may write to it, what of one that was cut off is kept, and its files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from debride.audit.evidence import CaseScore, ClassScore
from debride.audit.findings import REGIONS, Finding, Label, Numbers
from debride.audit.shown import WORKLIST_ENDINGS
from debride.files import atomic_path, write_csv, write_text, writing
from debride.folders import LOCK, exclusive, new_folder
from debride.temporaries import remove_orphans
from debride.types import Case, DataError, Dataset

MARKER = ".debride-audit"
"""Marks a folder as that of an audit, from the start: only in such a folder is anything replaced."""

RESULTS = "results.jsonl"
"""What a later audit may take over, case by case; see ``case_results``."""

WORK = "work"
"""The folder of results as they come, one folder in it for each process that may write; gone when the audit is done."""

REPORT = "report.html"
"""The page to look at: an audit that has it is done."""

TABLES = ("audit.json", REGIONS, "findings.jsonl", "cases.csv", "scores.csv", REPORT)
"""What an audit writes of all cases together; the report is the last."""

FOLDERS = ("proposals", "pictures", "worklist")
"""What an audit writes case by case."""

PATIENCE = 60.0
"""Seconds that one part of an audit waits for another that begins."""


class Part(NamedTuple):
    """One of several parts of an audit: ``number`` (1 to ``of``)."""

    number: int
    of: int

    def cases(self, cases: Sequence[Case]) -> Sequence[Case]:
        """Those of the cases that belong to the part."""
        return cases[self.number - 1 :: self.of]


def check_output(dataset: Dataset, out: Path, predictions: Path | None = None, since: Path | None = None) -> None:
    """Raises DataError as ``new_folder`` does, with the folder of ``predictions`` and an earlier audit, ``since``, as sources,
    if they are given. An audit that was cut off may go on."""
    given = {"the folder of predictions": predictions, "the earlier audit": since}
    sources = {"the data set": dataset.root, **{name: folder for name, folder in given.items() if folder}}
    new_folder(out, apart_from=sources, may_go_on=(out / MARKER).exists())
    if (out / REPORT).exists() and ((out / "audit.json").exists() or (out / REGIONS).exists()):
        raise DataError(out, "holds an audit already", "Choose another `out`, or remove this folder.")


def claim_output(dataset: Dataset, out: Path) -> None:
    """Makes the folder of an audit, if ``check_output`` allows it, and marks it as such."""
    check_output(dataset, out)
    write_text(out / MARKER, "")


@contextmanager
def held(dataset: Dataset, out: Path, part: Part | None = None) -> Iterator[None]:
    """Claims the folder of an audit and keeps other processes from it; of a ``part``, from what this part alone writes."""
    own = work_file(out, part).parent
    with ExitStack() as stack:
        stack.enter_context(_removed_if_nothing_is_done(out))
        if part is None:
            stack.enter_context(exclusive(out))
            claim_output(dataset, out)
            for folder in {own, *(file.parent for file in work_files(out))}:
                stack.enter_context(exclusive(folder))
        else:
            with exclusive(out, PATIENCE):
                claim_output(dataset, out)
                stack.enter_context(exclusive(own))
        yield


@contextmanager
def _removed_if_nothing_is_done(out: Path) -> Iterator[None]:
    """Removes the folder of an audit that was not there before the block if an error ends it before any result."""
    new = not out.exists()
    try:
        yield
    except BaseException:
        if new and all(file.name in (LOCK, MARKER) or not file.stat().st_size for file in out.rglob("*") if file.is_file()):
            shutil.rmtree(out, ignore_errors=True)
        raise


def work_file(out: Path, part: Part | None) -> Path:
    """Where a part of an audit, or a whole one, keeps its results as they come."""
    return out / WORK / (f"{part.number}-of-{part.of}" if part else "whole") / RESULTS


def work_files(out: Path) -> list[Path]:
    """The files of results as they come, in an order of their own."""
    return sorted((out / WORK).glob(f"*/{RESULTS}"))


def begin(out: Path) -> None:
    """Removes what would make an audit that was cut off seem whole, and what killed processes were writing."""
    for name in TABLES:
        (out / name).unlink(missing_ok=True)
    for name in (*FOLDERS, "predictions"):
        if (out / name).is_dir():
            remove_orphans(out / name)


def tidy(out: Path, cases: Collection[str], pictures: Collection[str]) -> None:
    """Removes what is of none of the ``cases`` with findings, and no file of ``pictures``: an audit that was cut off, by other
    settings, may have left it."""
    keep = {
        "proposals": {f"{case}.npz" for case in cases},
        "pictures": set(pictures),
        "worklist": {"worklist.csv", *(f"{case}{ending}" for case in cases for ending in WORKLIST_ENDINGS)},
    }
    for folder, names in keep.items():
        with writing(out / folder):
            for path in (out / folder).iterdir() if (out / folder).is_dir() else ():
                if path.name not in names:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            if (out / folder).is_dir() and not names:
                (out / folder).rmdir()


def end_work(out: Path) -> None:
    """Removes the results as they came."""
    with writing(out / WORK):
        shutil.rmtree(out / WORK)


def write_proposals(path: Path, numbers: Numbers, proposed: Label) -> None:
    """What is proposed for a case: the map (*S) of its findings' numbers, and the classes proposed (*S)."""
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, number=numbers, proposed=proposed)


def write_findings(path: Path, findings: Iterable[Finding]) -> None:
    """findings.jsonl, a line for each finding, in the order given."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.writelines(json.dumps(asdict(finding), ensure_ascii=False) + "\n" for finding in findings)


def write_scores(
    path: Path, cases: Sequence[Case], scores: Mapping[str, CaseScore], dataset: Dataset, *, predicted: bool = True
) -> None:
    """scores.csv, a line for each case and foreground class that was drawn in it; what is not ``predicted`` stays empty."""
    names = [field.name for field in fields(ClassScore)]
    left_out = () if predicted else ("predicted",)
    rows = (
        [
            case.id,
            dataset.classes[score.class_id],
            *("" if name in left_out else cell(getattr(score, name)) for name in names[1:]),
        ]
        for case in cases
        for score in scores[case.id].classes
        if case.drew(score.class_id)
    )
    write_csv(path, ["case", "class", *names[1:]], rows)


def cell(value: float) -> str:
    """A number, empty where it is not defined."""
    return "" if value != value else str(value) if isinstance(value, int) else f"{value:.6g}"


def described(dataset: Dataset) -> dict[str, Any]:
    """What audit.json says of the data set: enough to tell whether it is still the same."""
    return {
        "root": str(dataset.root),
        "format": dataset.format,
        "classes": list(dataset.classes),
        "ignore": dataset.ignore,
        "values": {str(raw): id for raw, id in dataset.values.items()},
        "ndim": dataset.ndim,
    }
