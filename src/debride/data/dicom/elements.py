"""Values of pydicom's data sets, which may be absent, damaged, or not of the kind that their VR says."""

from __future__ import annotations

from collections.abc import MutableSequence
from typing import Any


def got(item: Any, keyword: str) -> Any:
    """A value; None where it is not there, or cannot be read as what its VR says."""
    try:
        return item.get(keyword)
    except (RecursionError, MemoryError):
        raise
    except Exception:  # pydicom raises many kinds
        return None


def text(item: Any, keyword: str) -> str:
    """A value as text, its parts joined as DICOM joins them; empty where it is not there."""
    value = got(item, keyword)
    if value is None:
        return ""
    return "\\".join(str(part) for part in (value if isinstance(value, MutableSequence) else [value])).strip()


def functional_group(keyword: str, own: Any, shared: Any) -> Any:
    """A functional group (PS3.3 C.7.6.16) by its sequence: that of the frame's ``own`` ones, or else the ``shared`` one; an
    empty mapping where neither has it. Both may be None."""
    return next((found[0] for groups in (own, shared) if groups is not None and (found := got(groups, keyword))), {})


def shared_groups(dataset: Any) -> Any:
    """The functional groups that all frames share; None where there are none."""
    return next(iter(got(dataset, "SharedFunctionalGroupsSequence") or ()), None)


def own_groups(dataset: Any) -> list[Any]:
    """The functional groups of each frame; none where it does not say them."""
    return list(got(dataset, "PerFrameFunctionalGroupsSequence") or ())
