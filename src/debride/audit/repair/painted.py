"""What readers painted, taken into labels, to pixels without a label, or into maps of weights; and labels that are verified."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.audit.decided.decision import WHOLE, Key
from debride.audit.decided.edits import Edit, read_edit
from debride.audit.decided.reviewed import Review, decision_cells, told_of
from debride.audit.findings import Label
from debride.audit.repair.decisions import Verdict
from debride.audit.repair.guard import Guard
from debride.audit.repair.ignored import FULL
from debride.audit.repair.outcomes import EDITED, TRUSTED, Outcome, outcome_of
from debride.data.formats.layout import VERIFIED
from debride.data.masks.annotated import of_undrawn
from debride.files import read_text, write_text
from debride.types import IGNORE, Case, Dataset
from debride.version import __version__

Asked = list[list[Any]]
"""The edits of a case as plain JSON: the region and number of the finding, and the hash."""

Edits = Sequence[tuple[Key, Edit]]

_OPEN = ("conflict", "unsure")
"""What stands of a finding, or of a label as a whole, that is not decided."""


def painted_of(review: Review | None, verdicts: Mapping[Key, Verdict]) -> dict[str, Asked]:
    """The edits to take by case, of findings and of labels as a whole, in the order in which they were decided."""
    if review is None:
        return {}
    found = [(verdict.said.standing, key) for key, verdict in verdicts.items() if verdict.said and verdict.said.edit]
    found += [(whole, ("", case, WHOLE)) for case, whole in review.wholes.items() if whole.state == "edited"]
    painted: dict[str, Asked] = {}
    for standing, (region, case, number) in sorted(found, key=lambda each: max(one.id for one in each[0].decisions)):
        painted.setdefault(case, []).append([region, number, standing.label])
    return painted


def read_painted(audit: Path, case: Case, asked: Asked, label: Label, dataset: Dataset) -> Edits:
    """The edits of a case with this label (*S), of which nothing lies in classes that were not drawn."""
    edits = []
    for region, number, hash in asked:
        edit = read_edit(audit, case.id, hash, label.shape, len(dataset.classes))
        drawn = ~of_undrawn(case, label[edit.inside], edit.label)
        edits.append(((region, case.id, number), replace(edit, changed=edit.changed & drawn)))
    return edits


def paint(
    label: Label, edits: Edits, classes: Sequence[str], rare: frozenset[int] = frozenset(), allow_removal: bool = False
) -> tuple[Label, dict[Key, Outcome]]:
    """A copy of a label (*S) with the edits that no guard holds back, the later over the earlier, and the outcome of each.

    A person drew them on purpose: an object may go, but no class of the case, and no object of a ``rare`` class. ``IGNORE``
    keeps its place.
    """
    result, outcomes = label.copy(), {}
    guard = None if allow_removal else Guard(label, classes, rare)
    for key, edit in edits:
        old, changed = result[edit.inside], _changed(result, edit)
        count = int(np.count_nonzero(changed))
        why = guard.objection("edited", result, edit.inside, changed, edit.label) if guard and count else ""
        if count and not why:
            old[changed] = edit.label[changed]
        outcomes[key] = Outcome("guarded", 0, why) if why else outcome_of(count)
    return result, outcomes


def unlabelled(label: Label, given: Label, edits: Edits) -> tuple[Label, dict[Key, Outcome]]:
    """A copy of a label (*S) with ``IGNORE`` where edits would change the ``given`` one (*S), and the outcome of each."""
    result, outcomes = label.copy(), {}
    for key, edit in edits:
        changed = _changed(given, edit)
        result[edit.inside][changed] = IGNORE
        outcomes[key] = outcome_of(int(np.count_nonzero(changed)))
    return result, outcomes


def lighter(label: Label, edits: Edits, weight: float | None) -> tuple[npt.NDArray[np.uint8], dict[Key, Outcome]]:
    """Weights (*S) in uint8 of a label's pixels, and the outcome of each edit.

    Where a reader painted another class the label is wrong: its pixels weigh nothing, unless a ``weight`` is given.
    """
    weights, outcomes = np.full(label.shape, FULL, np.uint8), {}
    for key, edit in edits:
        changed = _changed(label, edit)
        weights[edit.inside][changed] = round(FULL * (weight or 0))
        outcomes[key] = outcome_of(int(np.count_nonzero(changed)))
    return weights, outcomes


def plain_outcomes(outcomes: Mapping[Key, Outcome]) -> list[Any]:
    """Outcomes as plain JSON."""
    return [[*key, *astuple(outcome)] for key, outcome in outcomes.items()]


def outcomes_of(plain: Iterable[Any]) -> dict[Key, Outcome]:
    """The outcomes that ``plain_outcomes`` gave."""
    return {(region, case, number): Outcome(*outcome) for region, case, number, *outcome in plain}


def whole_lines(
    review: Review, outcomes: Mapping[Key, Outcome], trusted: Collection[str], files: Mapping[str, dict[str, str]]
) -> list[dict[str, Any]]:
    """What repairs.jsonl says of decisions on labels as a whole; their number is 0."""
    lines = []
    for case, whole in sorted(review.wholes.items()):
        line: dict[str, Any] = {"case": case, "number": WHOLE, "kind": EDITED if whole.state == "edited" else "label"}
        outcome = Outcome("declined", 0, "" if whole.state == "verified" else told_of(whole, " of the label as a whole"))
        if whole.state == "edited":
            outcome = Outcome("guarded", 0, TRUSTED) if case in trusted else outcomes["", case, WHOLE]
            line["edit"] = whole.label
        line |= {"status": "verified" if whole.state == "verified" else outcome.status, "why": outcome.why}
        line |= {"voxels": outcome.voxels, "reason": f"{whole.state} by {', '.join(whole.readers)}"}
        lines.append({**line, **decision_cells(whole), "version": __version__, **_files(outcome, case, files)})
    return lines


def staying(lines: Iterable[Mapping[str, Any]]) -> list[str]:
    """What readers left open, by the lines of a record: "case1 2" is its finding 2, "case1" the label as a whole."""
    open_ = [line for line in lines if line.get("decision") in _OPEN]
    names = [
        " ".join([line["case"], *([line["region"]] if "region" in line else []), str(line["number"] or "")]) for line in open_
    ]
    return [name.strip() for name in names]


def verified_in(review: Review | None, findings: Collection[Key], lines: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """The cases whose label is right in the repaired data set, as readers say: verified or edited as a whole, with nothing open
    and nothing held back by a guard."""
    if review is None:
        return frozenset()
    whole = {case for case, each in review.wholes.items() if each.state in ("verified", "edited")}
    return (review.settled(findings) & whole) - {line["case"] for line in lines if line["status"] == "guarded"}


def doubted_in(lines: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """The cases of whose label readers say that it may be wrong, by the lines of a record: they disagree, are unsure, or want a
    change that a guard held back."""
    told = [line for line in lines if "decision" in line]
    return frozenset(line["case"] for line in told if line["decision"] in _OPEN or line["status"] == "guarded")


def list_verified(
    folder: Path, verified: Collection[str], changed: Collection[str], lines: Iterable[Mapping[str, Any]]
) -> None:
    """Adds ``verified`` cases to the list of trusted ones in a data set, and takes out others whose label was ``changed``, or
    is doubted by the ``lines`` of the record."""
    path, out = folder / VERIFIED, {*changed, *doubted_in(lines)}.difference(verified)
    before = [line for line in read_text(path).splitlines() if line.strip()] if path.is_file() else []
    kept = [line for line in before if line.strip() not in out]
    after = kept + sorted(set(verified) - {line.strip() for line in kept})
    if after != before:
        write_text(path, "".join(f"{id}\n" for id in after))


def _changed(label: Label, edit: Edit) -> npt.NDArray[np.bool_]:
    """Where in its box an edit gives another class than the label has."""
    old = label[edit.inside]
    changed: npt.NDArray[np.bool_] = edit.changed & (old != IGNORE) & (old != edit.label)
    return changed


def _files(outcome: Outcome, case: str, files: Mapping[str, dict[str, str]]) -> dict[str, str]:
    return files[case] if outcome.status == "applied" else {}
