"""The known data sets, by name."""

from __future__ import annotations

import difflib

from debride.known.facts_classes import CLASSES
from debride.known.facts_pictures import PICTURES
from debride.known.facts_volumes import VOLUMES
from debride.known.known_set import KnownSet
from debride.types import DataError

KNOWN: dict[str, KnownSet] = {known.name: known for known in (*PICTURES, *VOLUMES, *CLASSES)}


def find_known(name: str) -> KnownSet:
    """The set of a name. DataError, with names like it, if there is none."""
    if name in KNOWN:
        return KNOWN[name]
    close = difflib.get_close_matches(name.lower(), KNOWN, n=3, cutoff=0.5)
    remedy = f"Did you mean {' or '.join(close)}?" if close else "`debride datasets` lists them all."
    raise DataError(name, "is no known data set", remedy)
