"""A ``segments.json`` proposed from what label objects call their segments."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from debride.data.dicom.label_facts import LabelFacts
from debride.data.dicom.segments_file import folded

_NO_CLASS = ("background", "ignore")
"""Labels that are no class's name."""


def propose(objects: Iterable[LabelFacts], studies: str = ".") -> dict[str, Any]:
    """The entries of a ``segments.json`` by which every segment of some label objects is of a class: one for each label, in
    which case and spaces do not count, those that occur most often first.

    Segments without a label go by their code. Entries with a code come first: what is written of a class has the code of its
    first. No series is named: their descriptions may name persons, and all that have a label are cases then.
    """
    labels: dict[str, Counter[str]] = defaultdict(Counter)
    codes: dict[str, dict[tuple[str, str] | None, str]] = defaultdict(dict)
    for each in objects:
        for segment in each.segments:
            code = segment.code[:2] if segment.code and all(segment.code[:2]) else None
            key = folded(segment.label) or f"({':'.join(code) if code else ''})"
            labels[key][segment.label] += 1
            codes[key].setdefault(code, segment.code[2] if segment.code else "")
    classes: list[dict[str, Any]] = []
    ignored: list[dict[str, Any]] = []
    taken = set(_NO_CLASS)
    for key in sorted(labels, key=lambda key: (-labels[key].total(), key)):
        label = min(labels[key], key=lambda text: (-labels[key][text], text))
        entries = [
            {**({"label": label} if label or code is None else {}), **({"code": list(code)} if code else {})}
            for code in sorted(codes[key], key=lambda code: (code is None, code or ()))
        ]
        if key in _NO_CLASS:
            ignored += entries
            continue
        printable = "".join(letter for letter in (label or next(iter(codes[key].values()))) if letter.isprintable())
        name = base = " ".join(printable.split()) or "unnamed"
        number = 1
        while folded(name) in taken:
            number += 1
            name = f"{base} {number}"
        taken.add(folded(name))
        classes.append({"name": name, "segments": entries})
    return {
        "format": "dicom",
        "classes": classes,
        **({"ignored": ignored} if ignored else {}),
        **({"studies": studies} if studies != "." else {}),
    }
