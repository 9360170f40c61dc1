"""How far outlines of labels lie outside those that networks see, class by class: everywhere, and where it is different.

A patient counts once, by the median of its labels. Means over patients leave out a fifth at each end.

Groups of labels are those of a rater, of a site, scanner or protocol, of a patient, and the first and the last slices of
volumes. One is named where it differs from all others by more than chance, at 5 % for all comparisons together (Holm), and by
more than half the finest spacing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from debride.audit.evidence import CaseScore
from debride.types import GROUPS, Case

Doubles = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]

LEAST_PATIENTS = 5
"""Of fewer patients nothing is said but their mean; a group and the others have as many each."""

LEAST_LABELS = 3
"""A single patient is compared with the others if it has as many labels."""

LEVEL = 0.05
"""The chance that any group is named where none differs."""

TRIM = 0.2
"""Share of the patients that means leave out at each end: one failed prediction decides nothing."""

LEAST_DIFFERENCE = 0.5
"""Groups that differ by less, in units of the finest spacing, are not named."""

NAMED = 5
"""The terminal and the report name so many groups."""


@dataclass(frozen=True)
class _Compared:
    """A group of a class's labels and the others: the means of both, their difference with the interval that goes with ``p``,
    the chance of one as large, and the ``patients`` of the group."""

    class_id: int
    by: str
    value: str
    means: tuple[float, float]
    difference: float
    error: float
    freedom: float
    p: float
    patients: int


def bias_of(
    cases: Sequence[Case], scores: Mapping[str, CaseScore], used: Sequence[bool], classes: Sequence[str]
) -> dict[str, Any]:
    """The bias of the labels that are ``used``, as plain JSON.

    "unit" is "mm" or "px". "classes" has for each foreground class its "mean" as [mean, low, high] over patients, positive
    where labels lie outside, with a 95 % interval (None of too few patients), and the number of "patients". "groups" lists
    those that differ, the clearest first: "class", "by" ("rater", "site", "scanner", "protocol", "patient" or "slices"),
    "value", their "bias" and that of the "others", and the "difference" as [mean, low, high], with an interval that allows for
    all comparisons.
    """
    chosen = [case for case, use in zip(cases, used, strict=True) if use]
    finest = [scores[case.id].finest for case in chosen]
    in_mm = bool(chosen) and None not in finest
    least = LEAST_DIFFERENCE * (float(np.median([each for each in finest if each is not None])) if in_mm else 1.0)
    by_class: dict[str, Any] = {}
    compared: list[_Compared] = []
    for class_id, name in enumerate(classes[1:], start=1):
        own = [scores[case.id].classes[class_id - 1] for case in chosen]
        table = np.array([[each.bias, each.bias_first, each.bias_middle, each.bias_last] for each in own]).reshape(-1, 4)
        known = ~np.isnan(table[:, 0])
        means = _patient_medians([case.patient for case in chosen], table[:, 0], known)
        by_class[name] = {"mean": _interval(means), "patients": len(means)}
        compared += _comparisons(class_id, chosen, table, known)
    groups = []
    for each, level in _holm(compared):
        reach = each.error * float(stats.t.ppf(1 - level / 2, each.freedom)) if each.error else 0.0
        if abs(each.difference) >= least:
            groups.append(
                {
                    "class": classes[each.class_id],
                    "by": each.by,
                    "value": each.value,
                    "bias": each.means[0],
                    "others": each.means[1],
                    "difference": [each.difference, each.difference - reach, each.difference + reach],
                    "patients": each.patients,
                }
            )
    return {"unit": "mm" if in_mm else "px", "classes": by_class, "groups": groups}


def bias_lines(bias: Mapping[str, Any]) -> list[str]:
    """What ``bias_of`` found, in words."""
    unit, lines = bias["unit"], []
    for name, of_class in bias["classes"].items():
        mean, low, high = of_class["mean"]
        if mean is None:
            continue
        if low is None:
            lines.append(
                f"labels of {name} lie {_side(mean, unit)} what networks see; {of_class['patients']} patients are too few for "
                "an interval"
            )
        elif low <= 0 <= high:
            lines.append(
                f"labels of {name} lie on average where networks see them: {mean:+.2f} {unit} ({low:+.2f} to {high:+.2f})"
            )
        else:
            near, far = sorted((abs(low), abs(high)))
            lines.append(f"labels of {name} lie {_side(mean, unit)} what networks see ({near:.2f} to {far:.2f} {unit})")
    for group in bias["groups"][:NAMED]:
        mean, low, high = group["difference"]
        near, far = sorted((abs(low), abs(high)))
        whose = f"in the {group['value']} of volumes" if group["by"] == "slices" else f"of {group['by']} {group['value']}"
        others = "in the middle" if group["by"] == "slices" else "of the others"
        lines.append(
            f"labels of {group['class']} {whose} lie {abs(mean):.2f} {unit} further {'out' if mean > 0 else 'in'} than those "
            f"{others} ({near:.2f} to {far:.2f} {unit})"
        )
    if len(bias["groups"]) > NAMED:
        lines.append(f"{len(bias['groups']) - NAMED} more groups whose outlines differ are in audit.json")
    return lines


def _side(mean: float, unit: str) -> str:
    return f"{abs(mean):.2f} {unit} {'outside' if mean > 0 else 'inside'}"


def _patient_medians(patients: Sequence[str], values: Doubles, chosen: npt.NDArray[np.bool_]) -> dict[str, float]:
    """The median of the chosen values (N,) of each patient that has any."""
    names, person = np.unique(np.asarray(patients, str)[chosen], return_inverse=True)
    ordered = values[chosen][np.lexsort((values[chosen], person))]
    count = np.bincount(person, minlength=len(names))
    first = count.cumsum() - count
    medians = (ordered[first + (count - 1) // 2] + ordered[first + count // 2]) / 2 if len(names) else ordered
    return dict(zip(names.tolist(), medians.tolist(), strict=True))


def _interval(means: Mapping[str, float]) -> list[float | None]:
    """The trimmed mean over patients and its 95 % interval; None of what too few of them tell."""
    values = np.array(list(means.values()))
    if not len(values):
        return [None, None, None]
    if len(values) < LEAST_PATIENTS:
        return [float(values.mean()), None, None]
    mean, error, freedom = _trimmed(values)
    reach = error * float(stats.t.ppf(0.975, freedom))
    return [mean, mean - reach, mean + reach]


def _comparisons(class_id: int, cases: Sequence[Case], table: Doubles, known: npt.NDArray[np.bool_]) -> Iterator[_Compared]:
    """All groups of a class's labels that can be compared with the others; ``table`` (N, 4) has biases as a ``ClassScore``."""
    patients, values = [case.patient for case in cases], table[:, 0]
    for by in ("rater", *GROUPS):
        own = [case.rater if by == "rater" else dict(case.groups).get(by) for case in cases]
        for value in sorted({each for each in own if each}):
            inside = np.array([each == value for each in own])
            groups = [_patient_medians(patients, values, known & part) for part in (inside, ~inside)]
            yield from _compare(class_id, by, value, *groups)
    yield from _single_patients(class_id, patients, values, known)
    for column, value in ((1, "first fifth"), (3, "last fifth")):
        both = ~np.isnan(table[:, column]) & ~np.isnan(table[:, 2])
        groups = [_patient_medians(patients, table[:, at], both) for at in (column, 2)]
        yield from _compare(class_id, "slices", value, *groups)


def _compare(class_id: int, by: str, value: str, own: Mapping[str, float], others: Mapping[str, float]) -> Iterator[_Compared]:
    """Patients in a group and outside it, by a trimmed t-test: of the differences within patients, where enough have
    both, else between the patients that have one alone (Yuen 1974)."""
    shared = sorted(own.keys() & others.keys())
    if len(shared) >= LEAST_PATIENTS:
        mean, error, freedom = _trimmed(np.array([own[each] - others[each] for each in shared]))
        here, there = ([side[each] for each in shared] for side in (own, others))
    else:
        here, there = ([mean for name, mean in side.items() if name not in shared] for side in (own, others))
        if min(len(here), len(there)) < LEAST_PATIENTS:
            return
        (one, first, f), (two, second, g) = (_trimmed(np.array(side)) for side in (here, there))
        mean, error = one - two, float(np.hypot(first, second))
        freedom = error**4 / (first**4 / f + second**4 / g) if error else f + g
    if error:
        p = float(2 * stats.t.sf(abs(mean) / error, freedom))
        yield _Compared(class_id, by, value, (float(np.mean(here)), float(np.mean(there))), mean, error, freedom, p, len(here))


def _trimmed(values: Doubles) -> tuple[float, float, float]:
    """The trimmed mean, its standard error by the winsorised values (Tukey & McLaughlin 1963), and degrees of freedom."""
    ordered, cut = np.sort(values), int(TRIM * len(values))
    kept = len(values) - 2 * cut
    winsorised = np.clip(ordered, ordered[cut], ordered[-1 - cut])
    error = winsorised.std(ddof=1) * np.sqrt((len(values) - 1) / (kept * (kept - 1)))
    return float(ordered[cut : len(values) - cut].mean()), float(error), kept - 1.0


def _single_patients(
    class_id: int, patients: Sequence[str], values: Doubles, known: npt.NDArray[np.bool_]
) -> Iterator[_Compared]:
    """Each patient with several labels against the spread of the others."""
    means = _patient_medians(patients, values, known)
    names, others = list(means), len(means) - 1
    if others < 2 * LEAST_PATIENTS:
        return
    labels = dict(
        zip(*np.unique([name for name, use in zip(patients, known, strict=True) if use], return_counts=True), strict=True)
    )
    own = np.array(list(means.values()))
    mean = (own.sum() - own) / others
    away = own - mean
    # The variance of the others, without a loop over patients.
    squares = ((own - own.mean()) ** 2).sum() - away**2 * others / (others + 1)
    error = np.sqrt(np.maximum(squares, 0) / (others - 1) * (1 + 1 / others))
    for at in np.flatnonzero(error):
        if labels[names[at]] >= LEAST_LABELS:
            p = float(2 * stats.t.sf(abs(away[at]) / error[at], others - 1))
            pair = (float(own[at]), float(mean[at]))
            yield _Compared(class_id, "patient", names[at], pair, float(away[at]), float(error[at]), others - 1.0, p, 1)


def _holm(compared: Sequence[_Compared]) -> Iterator[tuple[_Compared, float]]:
    """Those that differ by more than chance, the clearest first, each with the level that it was judged by (Holm 1979)."""
    for place, each in enumerate(sorted(compared, key=lambda each: each.p)):
        level = LEVEL / (len(compared) - place)
        if each.p > level:
            return
        yield each, level
