"""What a reader painted in the label of a case: kept by a hash of it in the folder of an audit, and read with suspicion."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from debride.audit.evidence.boxes import box_of
from debride.audit.findings import Label
from debride.data.pixels.arrays import array, described
from debride.files import atomic_path
from debride.types import IGNORE, DataError

EDITS = Path("review", "edits")
"""The folder of edits in that of an audit; each is a file HASH.npz with ``box``, ``changed`` and ``label``."""

Box = tuple[tuple[int, int], ...]
"""The first and the past-last index of each axis."""

_RESTORE = "Restore this file, or let its reader decide anew."


@dataclass(frozen=True)
class Edit:
    """What was painted: in a ``box`` of the whole label the pixels ``changed`` (*box), and their class ids ``label`` (*box), 0
    elsewhere."""

    box: Box
    changed: npt.NDArray[np.bool_]
    label: Label

    @property
    def inside(self) -> tuple[slice, ...]:
        """Its box, as an index of the whole label."""
        return tuple(slice(*ends) for ends in self.box)


def edit_of(case: str, seen: Label, edited: Label, at: Box | None = None) -> Edit:
    """What of a label (*S) as it was ``seen`` is ``edited`` (*S), ``at`` its place in the whole label (None: it is the whole).

    Both hold class ids. Pixels without a label (``IGNORE``) keep that mark, whatever is painted there. Raises DataError where
    nothing is left that differs, where a label is painted away, and for arrays of other shapes.
    """
    where = f"the edit of {case}"
    if edited.shape != seen.shape or (at is not None and tuple(stop - start for start, stop in at) != seen.shape):
        remedy = "Reload what is edited."
        raise DataError(where, f"has the shape {edited.shape}, and what was shown has {seen.shape}", remedy)
    changed = (edited != seen) & (seen != IGNORE)
    if not changed.any():
        raise DataError(where, "is the same as what was shown", "Paint something, or reject the finding.")
    if (edited[changed] == IGNORE).any():
        raise DataError(where, f"holds the value {IGNORE}, which is no class", "Erase to the background.")
    start = [low for low, _ in at] if at else [0] * seen.ndim
    own = box_of(changed.view(np.uint8))
    box = tuple((first + side.start, first + side.stop) for first, side in zip(start, own, strict=True))
    return Edit(box, np.ascontiguousarray(changed[own]), np.where(changed[own], edited[own], 0).astype(np.uint8))


def write_edit(audit: Path, case: str, seen: Label, edited: Label, at: Box | None = None) -> str:
    """Keeps what ``edit_of`` says in the folder of an audit, and returns its hash when it is on the disk.

    The same edit has the same hash, and is one file.
    """
    edit = edit_of(case, seen, edited, at)
    hash = _hash(case, edit)
    with atomic_path(audit / EDITS / f"{hash}.npz") as temporary:
        np.savez_compressed(temporary, box=np.array(edit.box, np.int64), changed=edit.changed, label=edit.label)
    for folder in (audit / EDITS, (audit / EDITS).parent, audit):
        _flush(folder)
    return hash


def read_edit(audit: Path, case: str, hash: str, shape: Sequence[int] | None, classes: int) -> Edit:
    """The edit of a ``case`` with such a ``hash``, whose label has this ``shape`` (None: not known) and so many ``classes``.

    Raises DataError where it is missing or damaged, is of another case, lies outside the label, or holds another class.
    """
    if not re.fullmatch(r"[0-9a-f]{32}", hash):
        raise DataError(audit / EDITS, f"can hold no edit named {hash!r} (of {case})", _RESTORE)
    path = audit / EDITS / f"{hash}.npz"
    rows = described(path, "box")[0][:1] if shape is None else (len(shape),)
    if described(path, "box") != ((*rows, 2), np.dtype(np.int64)):
        raise DataError(path, f"holds no box of as many axes as the label of {case} has", _RESTORE)
    box = tuple((int(start), int(stop)) for start, stop in array(path, "box").tolist())
    whole = tuple(stop for _, stop in box) if shape is None else tuple(shape)
    if not all(0 <= start < stop <= length for (start, stop), length in zip(box, whole, strict=True)):
        raise DataError(path, f"lies at {box}, outside the label of {case} of shape {whole}", _RESTORE)
    size = tuple(stop - start for start, stop in box)
    for name, kind in (("changed", np.bool_), ("label", np.uint8)):
        if described(path, name) != (size, np.dtype(kind)):  # before memory is taken
            raise DataError(path, f"holds {name} of another shape or type than its box asks for", _RESTORE)
    edit = Edit(box, array(path, "changed").astype(np.bool_), array(path, "label").astype(np.uint8))
    if _hash(case, edit) != hash:
        raise DataError(path, f"is not what was painted in {case}: its content does not fit its name", _RESTORE)
    if edit.label.max(initial=0) >= classes:
        raise DataError(path, f"paints the class {edit.label.max()}, of {classes} classes", _RESTORE)
    return edit


def apply_edit(label: Label, edit: Edit) -> Label:
    """A copy of a label (*S) with an edit in it. ``IGNORE`` keeps its place."""
    result = label.copy()
    old = result[edit.inside]
    painted = edit.changed & (old != IGNORE)
    old[painted] = edit.label[painted]
    return result


def _flush(folder: Path) -> None:
    """Brings the names in a folder to the disk, where the system can; Windows and some network disks cannot."""
    with suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def _hash(case: str, edit: Edit) -> str:
    content = hashlib.blake2b(repr((case, edit.box)).encode(), digest_size=16)
    content.update(edit.changed.tobytes())
    content.update(edit.label.tobytes())
    return content.hexdigest()
