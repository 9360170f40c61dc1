"""Known public data sets: what there is, and downloaded archives made into folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from debride.api.datasets import Folder, processes
from debride.api.result import Result, Row

if TYPE_CHECKING:
    from debride.known.known_set import KnownSet


@dataclass(frozen=True, repr=False)
class ConvertResult(Result):
    """A folder that was made from archives, ``out``; ``source.json`` in it says from which."""

    @property
    def source(self) -> dict[str, Any]:
        """What source.json holds."""
        from debride.files import read_json
        from debride.known.converting import SOURCE

        read: dict[str, Any] = read_json(self.out / SOURCE)
        return read

    def said(self) -> Sequence[str]:
        """How many cases there are now."""
        rows = self.rows()
        counts = ", ".join(f"{row['cases']} {row['split']}" for row in rows if row["cases"])
        return [f"{sum(row['cases'] for row in rows)} cases of {self.source['title']} ({counts})"]

    def rows(self) -> Sequence[Row]:
        """The number of cases in each split."""
        from debride.data.formats.dataset_json import SPLITS
        from debride.data.open import open_dataset

        dataset = open_dataset(self.out)
        return [{"split": split, "cases": len(dataset.of(split))} for split in SPLITS]


def known_datasets() -> dict[str, KnownSet]:
    """The public data sets that ``convert_dataset`` knows, by name: licence, where a person gets each, and its files."""
    from debride.known.registry import KNOWN

    return dict(KNOWN)


def convert_dataset(
    name: str,
    archives: Folder | Sequence[Folder] = (),
    out: Folder | None = None,
    *,
    set: Mapping[str, Any] | None = None,
    jobs: int | None = None,
) -> ConvertResult:
    """Makes the folder ``out`` of a known data set from its downloaded ``archives``; nothing is ever downloaded.

    Without ``out`` it is a folder with the name of the set, where Python runs.
    ``archives`` are the set's files, or folders that they were unpacked to; "generated" needs none. ``set`` has options of the
    set, which ``known_datasets()[name].options`` lists. Checksums are compared where they are published. ``jobs`` processes
    share the work (None: one for each core). Raises DataError for files that are missing, differ from the published ones or
    hold what the converter does not know, and for ``out`` where it has content.
    """
    from debride.known.converting import convert_known
    from debride.known.registry import find_known

    paths = [archives] if isinstance(archives, str) or not isinstance(archives, Sequence) else archives
    known = find_known(name)
    target = Path(name if out is None else out)
    convert_known(known, [Path(path) for path in paths], target, set or {}, processes(jobs))
    return ConvertResult(target)
