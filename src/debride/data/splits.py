"""Splits by patient: all images of a patient are in one split, so that no split is tested on a patient of another.

By a group they are made likewise: all images of a site are in one split, and so are all of a patient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from debride.rng import derive
from debride.types import DataError, Split


def split_by_patient(
    patients: Sequence[str], fractions: Mapping[Split, float], seed: int, name: str = "patient"
) -> list[Split]:
    """The split of each case, given the patient of each case and the fraction of the patients that each split receives.
    ``name`` says what they are where they are no patients.

    Patients are ordered by a hash of seed and name, so the order of the cases does not matter. Every split with a fraction
    above 0 receives at least one patient; otherwise the numbers are as near to the fractions as possible. Raises DataError for
    fractions below 0 or whose sum is not 1, and for fewer patients than splits.
    """
    if min(fractions.values()) < -1e-9 or abs(sum(fractions.values()) - 1) > 1e-9:
        stated = ", ".join(f"{name} {value:g}" for name, value in fractions.items())
        raise DataError("split", f"has the fractions {stated}", "Give fractions of at least 0 that sum to at most 1.")
    order = sorted(set(patients), key=lambda patient: (derive(seed, "split", patient), patient))
    counts = _apportion(len(order), {split: value for split, value in fractions.items() if value > 1e-9}, name)
    names = (split for split, count in counts.items() for _ in range(count))
    of_patient = dict(zip(order, names, strict=True))
    return [of_patient[patient] for patient in patients]


def joined(patients: Sequence[str], values: Sequence[str]) -> list[str]:
    """The first, by name, of the values of a group that are joined with each case's own by patients who have several."""
    leader = {value: value for value in values}

    def first(value: str) -> str:
        while leader[value] != value:
            value = leader[value]
        return value

    of_patient: dict[str, str] = {}
    for patient, value in zip(patients, values, strict=True):
        one, other = sorted((first(of_patient.setdefault(patient, value)), first(value)))
        leader[other] = one
    return [first(value) for value in values]


def _apportion(total: int, fractions: Mapping[Split, float], name: str) -> dict[Split, int]:
    """Whole numbers of at least 1 that sum to ``total``: one each, then one by one to the split furthest below its fraction."""
    if total < len(fractions):
        problem = f"cannot be made from {total} {name}(s) for {', '.join(fractions)}"
        raise DataError("split", problem, f"Add {name}s, set a fraction to 0, or give the splits in a file.")
    counts = dict.fromkeys(fractions, 1)
    for _ in range(total - len(fractions)):
        neediest = max(fractions, key=lambda name: fractions[name] * total - counts[name])
        counts[neediest] += 1
    return counts
