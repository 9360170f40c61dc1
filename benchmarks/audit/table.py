"""Writes the tables of docs/benchmarks/audit.md from the rows.

    python -m benchmarks.audit.table [--rows FILE] [--page FILE]

Each table stands between two comments that name it; the text around it is left as it is.
"""

import argparse
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from benchmarks.audit.run import ROWS, read_rows

from debride.files import atomic_path
from debride.rng import generator

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks" / "audit.md"
RESAMPLES = 1000
OURS = "debride"
SHOWN = {
    "debride": "debride",
    "debride alone": "alone",
    "cleanlab softmin": "cleanlab softmin",
    "cleanlab issues": "issues",
    "loss": "loss",
    "loss on objects": "on objects",
    "dice": "Dice",
    "disagreement": "networks differ",
    "chance": "chance",
}
"""The rankings and the heads of their columns."""

AS_AUDITED = {
    "missing object": "missing",
    "missing class": "missing",
    "outward": "boundary",
    "inward": "boundary",
    "mixed": "boundary",
    "ragged": "boundary",
}
"""What an audit calls a kind, where it calls it otherwise."""

Row = Mapping[str, Any]
Numbers = npt.NDArray[np.float64]


def tables(rows: Sequence[Row]) -> dict[str, list[str]]:
    """The lines of each table by its name."""
    sets = sorted({row["set"] for row in rows})
    made = {
        "summary": summary_table(rows),
        "shares": share_table(rows),
        "findings": findings_table(rows),
        "made": made_table(rows),
    }
    made |= {name: kind_table([row for row in rows if row["set"] == name]) for name in sets}
    if rejected := [row for row in rows if row.get("rejected", {}).get("average_precision")]:
        made["rejected"] = rejected_table(rejected)
    return made


def summary_table(rows: Sequence[Row]) -> list[str]:
    """The average precision over all kinds, by set."""
    heads = ["set", "cells", "debride", "cleanlab softmin", "best other", "debride − softmin", "debride − best other"]
    lines = []
    for name, some in _grouped([row for row in rows if row["wrong"]], lambda row: row["set"]).items():
        names, others = _names(some)
        value, drawn = _precisions(some, "all", names, _draws(some))
        best = max(others, key=lambda other: value[other])
        leads = [_lead(value, drawn, other) for other in ("cleanlab softmin", best)]
        cells = [name, str(len(some)), *(f"{value[each]:.2f}" for each in (OURS, "cleanlab softmin"))]
        lines.append([*cells, f"{value[best]:.2f} ({SHOWN[best]})", *leads])
    return _table(heads, lines)


def share_table(rows: Sequence[Row]) -> list[str]:
    """How many are wrong and how many are said to be, by set and share, over the seeds."""
    heads = ["set", "wrong", "said", "interval holds it", "its width", "kinds' intervals hold theirs"]
    heads += ["cells with no flag", "flagged", "of these wrong", "said of these"]
    lines = []
    for (name, _), some in _grouped(rows, lambda row: (row["set"], row["share"])).items():
        wrong = [row["wrong"] / row["cases"] for row in some]
        limits = np.array([row["share_wrong_interval"] for row in some])
        holds = sum(low <= share <= high for share, (low, high) in zip(wrong, limits, strict=True))
        of_kinds = [held for row in some for held in _kinds_hold(row)]
        flagged, right, said = (sum(row[key] for row in some) for key in ("flagged", "flagged_wrong", "flagged_said"))
        cells = [name, _percent(np.mean(wrong)), _percent(np.mean([row["share_wrong"] for row in some]))]
        cells += [f"{holds} of {len(some)}", f"{100 * np.mean(limits[:, 1] - limits[:, 0]):.0f} points"]
        cells += [f"{sum(of_kinds)} of {len(of_kinds)}" if of_kinds else "–"]
        cells += [
            f"{sum(not row['flagged'] for row in some)} of {len(some)}",
            _percent(flagged / sum(r["cases"] for r in some)),
        ]
        lines.append([*cells, _of(right, flagged), _of(said, flagged)])
    return _table(heads, lines)


def findings_table(rows: Sequence[Row]) -> list[str]:
    """How many findings there are, how many are right, and how many are looked at until most errors are found."""
    heads = ["set", "wrong", "errors", "findings", "right", "errors found", "findings until 90 % are found"]
    lines = []
    for (name, share), some in _grouped([row for row in rows if row["wrong"]], lambda row: (row["set"], row["share"])).items():
        found = [row["findings"] for row in some]
        total = {key: sum(each[key] for each in found) for key in ("errors", "all", "right", "found")}
        until = [each["until"] for each in found if each["until"]]
        cells = [name, _percent(share), str(total["errors"]), str(total["all"]), _of(total["right"], total["all"])]
        reached = f"{np.mean(until):.0f} ({len(until)} of {len(found)} cells)" if until else "in no cell"
        lines.append([*cells, _of(total["found"], total["errors"]), reached])
    return _table(heads, lines)


def _kinds_hold(row: Row) -> list[bool]:
    """For each kind that is planted in a cell, as an audit calls it, whether the interval of its share holds it."""
    planted: dict[str, int] = defaultdict(int)
    for kind, count in row["kinds"].items():
        planted[AS_AUDITED.get(kind, kind)] += count
    said = row["kind_shares"] or {}
    limits = {kind: said.get(kind) or (0.0, 0.0, 0.0) for kind in planted}
    return [limits[kind][-2] <= count / row["cases"] <= limits[kind][-1] for kind, count in planted.items()]


def kind_table(rows: Sequence[Row]) -> list[str]:
    """The average precision of each ranking by kind, and debride's lead over cleanlab and over the best of the others."""
    wrong = [row for row in rows if row["wrong"]]
    if not wrong:
        return []
    names, others = _names(wrong)
    heads = ["error", "labels", *(SHOWN[name] for name in names), "debride − softmin", "debride − best other"]
    totals: dict[str, int] = defaultdict(int)
    for row in wrong:
        for kind, count in row["kinds"].items():
            totals[kind] += count
    draws = _draws(wrong)
    lines = []
    for kind in (*totals, "all"):
        value, drawn = _precisions(wrong, kind, names, draws)
        best = max(others, key=lambda name: value[name])
        cells = [kind, str(totals.get(kind, sum(totals.values())))]
        cells += [f"{value[name]:.2f}{_mark(drawn[name] - drawn[OURS]) if name != OURS else ''}" for name in names]
        lines.append([*cells, *(_lead(value, drawn, other) for other in ("cleanlab softmin", best))])
    looked = {name: np.mean([row["looked_at"][name] / row["cases"] for row in wrong]) for name in names}
    lines.append(["looked at until 90 % are found", "", *(_percent(looked[name]) for name in names), "", ""])
    return _table(heads, lines)


def rejected_table(rows: Sequence[Row]) -> list[str]:
    """How well the rankings find labels that other raters reject."""
    names = [name for name in SHOWN if name in rows[0]["rejected"]["average_precision"]]
    lines = [
        [row["set"], str(row["seed"]), str(row["rejected"]["labels"])]
        + [f"{row['rejected']['average_precision'][name]:.2f}" for name in names]
        for row in rows
    ]
    return _table(["set", "seed", "rejected", *(SHOWN[name] for name in names)], lines)


def made_table(rows: Sequence[Row]) -> list[str]:
    """By which command and code each set's rows were made."""
    lines = []
    for name, some in _grouped(rows, lambda row: row["set"]).items():
        seconds = [sum(row["seconds"][part] for row in some) / len(some) for part in ("errors_and_networks", "audit")]
        seeds, shares = (sorted({row[key] for row in some}) for key in ("seed", "share"))
        words = [f"--{flag} " + " ".join(map(str, values)) for flag, values in (("seeds", seeds), ("shares", shares))]
        command = f"`python -m benchmarks.audit.run --out OUT --sets {name} {' '.join(words)}`"
        versions = ", ".join(sorted({f"{row['version']} {row['code']}" for row in some}))
        lines.append(
            [command, f"{np.mean([row['cases'] for row in some]):.0f}", *(f"{value:.0f}" for value in seconds), versions]
        )
    return _table(
        ["command", "cases in a cell", "CPU s for errors and networks", "CPU s for the audit", "version and code"], lines
    )


def _draws(rows: Sequence[Row]) -> list[npt.NDArray[np.int64]]:
    """How often each case (columns) of each row is drawn in each resample (rows) of the patients of all rows."""
    people = sorted({patient for row in rows for patient in row["patients"]})
    times = generator(0, "resamples").multinomial(len(people), np.full(len(people), 1 / len(people)), size=RESAMPLES)
    place = {patient: at for at, patient in enumerate(people)}
    return [times[:, [place[row["patients"][at]] for at in row["patient"]]] for row in rows]


def _precisions(
    rows: Sequence[Row], kind: str, names: Sequence[str], draws: Sequence[npt.NDArray[np.int64]]
) -> tuple[dict[str, float], dict[str, Numbers]]:
    """The average precision of each ranking, mean over the rows that have the kind, and the same in each resample."""
    value: dict[str, list[float]] = defaultdict(list)
    drawn: dict[str, list[Numbers]] = defaultdict(list)
    for row, times in zip(rows, draws, strict=True):
        if kind != "all" and kind not in row["kinds"]:
            continue
        of_case = np.array(row["kind"])
        wrong = of_case >= 0 if kind == "all" else of_case == sorted(row["kinds"]).index(kind)
        among = np.flatnonzero(wrong | (of_case < 0))
        for name in names:
            score = np.array(row["ranks"][name], float)[among]
            value[name].append(float(weighted_precision(score, wrong[among], np.ones((1, len(among))))[0]))
            drawn[name].append(weighted_precision(score, wrong[among], times[:, among]))
    with np.errstate(invalid="ignore"):
        return (
            {name: float(np.mean(value[name])) for name in names},
            {name: _mean_of_defined(np.array(drawn[name])) for name in names},
        )


def _mean_of_defined(values: Numbers) -> Numbers:
    """The mean over rows (R, B) of what is defined, NaN where nothing is."""
    defined = ~np.isnan(values)
    return np.where(defined, values, 0).sum(0) / np.where(defined.any(0), defined.sum(0), np.nan)


def weighted_precision(score: Numbers, wrong: npt.NDArray[np.bool_], weight: npt.NDArray[Any]) -> Numbers:
    """The average precision (B,) of a score (n,) in each of B resamples, by how often (B, n) each case is in it; cases with
    equal scores are passed together, and NaN stands where none is wrong."""
    order = np.argsort(-score, kind="stable")
    last = np.append(np.diff(score[order]) != 0, True)
    passed = np.cumsum(weight[:, order], axis=1)[:, last]
    caught = np.cumsum(weight[:, order] * wrong[order], axis=1)[:, last]
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(passed > 0, caught / np.maximum(passed, 1), 0)
        return (np.diff(caught, axis=1, prepend=0) * share).sum(axis=1) / caught[:, -1]


def _names(rows: Sequence[Row]) -> tuple[list[str], list[str]]:
    """The rankings that all rows have, and those of them that are not ours."""
    names = [name for name in SHOWN if all(name in row["ranks"] for row in rows)]
    return names, [name for name in names if not name.startswith(OURS) and name != "chance"]


def _lead(value: Mapping[str, float], drawn: Mapping[str, Numbers], other: str) -> str:
    """By how much debride is better than another ranking, and the 95 % interval of that."""
    limits = np.nanquantile(drawn[OURS] - drawn[other], [0.025, 0.975])
    lead, low, high = (f"{round(number, 2) + 0.0:+.2f}" for number in (value[OURS] - value[other], *limits))
    return f"{lead} ({low} to {high})"


def _mark(lead: Numbers) -> str:
    """``+`` where a ranking is better than debride and the interval of the difference excludes zero, ``=`` where it includes
    it."""
    low, high = np.nanquantile(lead, [0.025, 0.975])
    return " +" if low > 0 else "" if high < 0 else " ="


def _grouped(rows: Sequence[Row], key: Any) -> dict[Any, list[Row]]:
    groups: dict[Any, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=key):
        groups[key(row)].append(row)
    return groups


def _table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(cells) + " |" for cells in (heads, ["---"] * len(heads), *lines)]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _of(part: float, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "–"


def put_tables(page: str, made: Mapping[str, Sequence[str]]) -> str:
    """The text of a page with its tables as they are now; those without rows are empty."""

    def now(match: re.Match[str]) -> str:
        return "\n".join([match[1], *made.get(match[2], ["No row yet."]), match[3]])

    return re.sub(r"(<!-- table ([a-z]+) -->).*?(<!-- end -->)", now, page, flags=re.DOTALL)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, default=ROWS)
    parser.add_argument("--page", type=Path, default=PAGE)
    arguments = parser.parse_args(words)
    made = tables(read_rows(arguments.rows))
    text = put_tables(arguments.page.read_text(encoding="utf-8"), made)
    with atomic_path(arguments.page) as temporary:
        temporary.write_text(text, encoding="utf-8")
    for name, lines in made.items():
        print(f"{name}\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
