"""A whole round of review on labels whose errors are known: what it makes of them, and whether anything is asked twice.

    DEBRIDE_DATA=... python -m benchmarks.review_round --out OUT [--set acdc] [--findings 60]

Errors are planted and networks trained as in `benchmarks.audit.run`, whose OUT may be given: its cells are used again. Of the
audit the surest findings are decided as the truth says. A proposal that brings the label nearer to it is accepted, and another
one rejected, but for every tenth, which is edited: the truth is painted within its box. Two readers share them and decide some
both. Each slips once in ten of these; conflicts are adjudicated. Then the data set is repaired, signed off, and audited
again since the review, as it is and repaired. A second round decides the next findings.
An audit that is there is not made again. A finding is asked twice if more than half of it lies in one that was decided before.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from benchmarks.audit.networks import MEAN
from benchmarks.audit.run import made
from benchmarks.audit.sets import SETS

import debride
from debride.audit.decided import Decision, ReviewDb, write_edit
from debride.audit.findings import Finding, read_proposals, read_record
from debride.data.open import open_dataset
from debride.data.pixels.images import read_label
from debride.files import write_json
from debride.noise.strength import label_dice
from debride.types import Dataset

Label = npt.NDArray[np.uint8]
READERS = ("ada", "ben")
EDITED, BOTH, SLIP = 10, 3, 10
"""Every so many-th finding is edited; decided by both; and of these each reader is wrong on one."""

MARGIN = 4
"""Pixels around a finding's box in which an edit paints."""


def labels_of(dataset: Dataset, cases: Sequence[str]) -> dict[str, Label]:
    """The labels of cases, as class ids."""
    files = {case.id: case.label for case in dataset.cases}
    return {case: read_label(Path(str(files[case])), dataset)[0] for case in cases}


def truth_says(given: Label, numbers: Label, proposed: Label, finding: Finding, truth: Label, classes: int) -> bool:
    """Whether a proposal brings the label (*S) nearer to the truth (*S)."""
    after = np.where(numbers == finding.number, proposed, given)
    before = label_dice(truth, given, classes)
    return (label_dice(truth, after, classes) or 0.0) > (0.0 if before is None else before)


def painted(given: Label, truth: Label, finding: Finding) -> Label:
    """The label (*S) with the truth in a finding's box and a margin around it."""
    at = tuple(slice(max(0, low - MARGIN), high + MARGIN) for low, high in finding.box)
    result = given.copy()
    result[at] = truth[at]
    return result


def decide(audit: Path, data: Path, clean: Dataset, many: int, options: Mapping[str, Any], turn: str) -> dict[str, Any]:
    """Decides the surest findings of an audit as the truth says; counts what was decided."""
    record, dataset = read_record(audit), open_dataset(data, **options)
    findings, classes = record.findings[:many], len(record.classes)
    cases = sorted({finding.case for finding in findings})
    given, truth, by_case, counts = labels_of(dataset, cases), labels_of(clean, cases), record.by_case(), Counter[str]()
    with ReviewDb(audit) as database:

        def add(finding: Finding, reader: str, word: Any, label: str = "", **others: Any) -> None:
            decision = Decision(reader=reader, case=finding.case, number=finding.number, decision=word, label=label, **others)
            database.append(decision, f"{turn} {finding.case} {finding.number} {reader} {others}")
            counts["decisions"] += 1

        for at, finding in enumerate(findings):
            case = finding.case
            numbers, proposed = read_proposals(audit, case, by_case[case], given[case].shape, classes)
            right = "accept" if truth_says(given[case], numbers, proposed, finding, truth[case], classes) else "reject"
            word, hash = right, ""
            edit = painted(given[case], truth[case], finding)
            if at % EDITED == EDITED - 1 and (edit != given[case]).any():
                word, hash = "edited", write_edit(audit, case, given[case], edit)
            counts[word] += 1
            own = READERS if at % BOTH == 0 else READERS[at % 2 : at % 2 + 1]
            slips = len(own) > 1 and word != "edited" and at // BOTH % SLIP < len(READERS)
            for number, reader in enumerate(own):
                slip = slips and at // BOTH % SLIP == number
                add(finding, reader, {"accept": "reject", "reject": "accept"}[word] if slip else word, hash)
            if slips:
                counts["conflicts"] += 1
                add(finding, "cem", word, hash, round=2, adjudicates=True)
    return {"findings": len(findings), **counts}


def mean_dice(dataset: Dataset, truth: Dataset, cases: Sequence[str]) -> float:
    """The mean Dice of labels to the true ones."""
    own, right = labels_of(dataset, cases), labels_of(truth, cases)
    dice = [label_dice(right[case], own[case], len(truth.classes)) for case in cases]
    return float(np.mean([1.0 if value is None else value for value in dice]))


def asked_twice(before: Path, decided: int, now: Path) -> int:
    """How many findings of a later audit lie mostly in the first so many of an earlier one."""
    earlier, later, twice = read_record(before), read_record(now), 0
    first: dict[str, list[int]] = {}
    for finding in earlier.findings[:decided]:
        first.setdefault(finding.case, []).append(finding.number)
    for finding in later.findings:
        if finding.case in first:
            with (
                np.load(before / "proposals" / f"{finding.case}.npz") as was,
                np.load(now / "proposals" / f"{finding.case}.npz") as new,
            ):
                where = new["number"] == finding.number
                twice += bool(np.isin(was["number"][where], first[finding.case]).mean() > 0.5)
    return twice


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder that keeps sets with errors and predictions")
    parser.add_argument("--set", default="acdc", choices=SETS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float, default=0.15)
    parser.add_argument("--findings", type=int, default=60)
    parser.add_argument("--planted", type=int, default=debride.audit.AuditConfig().planted)
    parser.add_argument("--least", type=float, default=debride.audit.AuditConfig().least, help="as of `debride audit`")
    arguments = parser.parse_args(words)
    torch.set_num_threads(1)
    cell = arguments.out / arguments.set / f"seed-{arguments.seed}" / f"share-{arguments.share}"
    clean = made(arguments.set, arguments.seed, arguments.share, cell)
    options, data, place = SETS[arguments.set].options, cell / "given", arguments.out / "round"
    shutil.rmtree(place, ignore_errors=True)
    how: dict[str, Any] = {
        "predictions": cell / MEAN,
        "planted": arguments.planted,
        "least": arguments.least,
        "pictures": 0,
        "seed": arguments.seed,
        "jobs": 1,
    }
    row: dict[str, Any] = {"set": arguments.set, "seed": arguments.seed, "share": arguments.share, "seconds": {}}

    def timed(name: str, what: Any) -> Any:
        started = time.perf_counter()
        result = what()
        row["seconds"][name] = round(time.perf_counter() - started, 1)
        return result

    def audited(name: str, dataset: Path, **more: Any) -> Path:
        timed(name, lambda: debride.audit_dataset(open_dataset(dataset, **options), place / name, **how, **more))
        return place / name

    kept = cell / f"audit-{arguments.planted}-{arguments.least}"
    if not (kept / "report.html").exists():
        timed("audit", lambda: debride.audit_dataset(open_dataset(data, **options), kept, **how))
    first = Path(shutil.copytree(kept, place / "audit"))
    row["first"] = timed("decide", lambda: decide(first, data, clean, arguments.findings, options, "1"))
    many = row["first"]["findings"]
    fixed = place / "repaired"
    repaired = timed(
        "repair",
        lambda: debride.repair_dataset(open_dataset(data, **options), first, fixed, decisions=first / "review.db", jobs=1),
    )
    row["repair"] = {name: repaired.summary[name] for name in ("applied", "declined", "guarded", "cases", "voxels")}
    row["repair"]["stays"] = len(repaired.summary["stays"])
    changes = timed("changes", lambda: debride.list_changes(fixed, out=place / "signed", jobs=1, **options))
    row["changes"] = {"cases": changes.cases, "rows": len(changes.changes)}
    wrong = sorted(json.loads((data / "errors.json").read_text()))
    touched = sorted({finding.case for finding in read_record(first).findings[:many]})
    every = [case.id for case in clean.cases]
    given, better = open_dataset(data, **options), open_dataset(fixed, **options)
    for name, cases in (("all", every), ("wrong", wrong), ("decided", touched)):
        row[f"dice_{name}"] = {
            "labels": len(cases),
            "before": round(mean_dice(given, clean, cases), 4),
            "after": round(mean_dice(better, clean, cases), 4),
        }
    for name, dataset, more in (
        ("since", fixed, {"review": True}),
        ("since-of-source", data, {"review": True}),
        ("since-without-review", fixed, {}),
    ):
        again = audited(name, dataset, since=first, **more)
        said = json.loads((again / "audit.json").read_text())["since"]
        told = said.get("review", {})
        row[name] = {
            "unchanged": said["unchanged"],
            "findings": len(read_record(again).findings),
            "asked_twice": asked_twice(first, many, again),
            **{key: len(value) if isinstance(value, list) else value for key, value in told.items()},
        }
    row["second"] = timed("decide again", lambda: decide(place / "since", fixed, clean, arguments.findings, options, "2"))
    last = timed(
        "repair again",
        lambda: debride.repair_dataset(
            better, place / "since", place / "repaired-2", decisions=place / "since" / "review.db", jobs=1
        ),
    )
    row["repair_again"] = {name: last.summary[name] for name in ("applied", "declined", "guarded")}
    row["dice_all"]["after_second"] = round(mean_dice(open_dataset(place / "repaired-2", **options), clean, every), 4)
    third = audited("since-second", place / "repaired-2", since=place / "since", review=True)
    row["since-second"] = {
        "asked_twice": asked_twice(first, many, third) + asked_twice(place / "since", row["second"]["findings"], third),
        "findings": len(read_record(third).findings),
    }
    write_json(place / "row.json", row)
    print(json.dumps(row, indent=1))


if __name__ == "__main__":
    main()
