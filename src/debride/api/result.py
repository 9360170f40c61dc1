"""What every function that writes a folder gives back: it says what was done, and shows it in a notebook."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from debride.escapes import one_line, unshielded
from debride.types import DataError

if TYPE_CHECKING:
    import pandas

Row = Mapping[str, Any]
"""A row of a table: a value for each column's name."""


@dataclass(frozen=True, repr=False)
class Result:
    """What was written to the folder ``out``, read from there when it is asked for.

    Where a function takes a folder, it takes the result that wrote it too.
    """

    out: Path

    @staticmethod
    def without(left_out: Sequence[DataError]) -> list[str]:
        """A line on cases that were left out, if any were."""
        return [f"{len(left_out)} left out, see left_out.csv"] if left_out else []

    def __fspath__(self) -> str:
        """The folder."""
        return str(self.out)

    def said(self) -> Sequence[str]:
        """Lines that say what was found or done, the first one a summary."""
        return ()

    def rows(self) -> Sequence[Row]:
        """The rows of the table that is shown."""
        return ()

    def pictures(self) -> Sequence[tuple[str, bytes]]:
        """A few pictures with what they show, as PNG."""
        return ()

    def to_pandas(self) -> pandas.DataFrame:
        """The table as a data frame of pandas; DataError where pandas is not installed."""
        return frame(self.rows())

    def __repr__(self) -> str:
        try:
            first = f", {self.said()[0]}" if self.said() else ""
        except (DataError, OSError):  # the folder is gone, or damaged
            first = ""
        return one_line(f"{type(self).__name__}({str(self.out)!r}{first})")

    def _repr_html_(self) -> str:
        from debride.api.notebook import html

        return html([str(self.out), *self.said()], self.rows(), self.pictures())


def frame(rows: Sequence[Row]) -> pandas.DataFrame:
    """Rows as a data frame; DataError where pandas is not installed."""
    try:
        import pandas
    except ImportError as error:
        raise DataError("pandas", "is not installed", "Install it by `pip install debride[tables]`.") from error
    return pandas.DataFrame(list(rows))


def table(file: Path, numbers: Collection[str] = (), booleans: Collection[str] = ()) -> list[dict[str, Any]]:
    """The rows of a CSV file: its text as it was before it was made safe for spreadsheets, ``numbers`` in columns of these, and
    ``booleans`` for 1 and 0 in those; None in an empty cell of both."""
    from debride.files import read_text

    return [
        {
            name: _number(text) if name in numbers else _boolean(text) if name in booleans else unshielded(text)
            for name, text in row.items()
        }
        for row in csv.DictReader(io.StringIO(read_text(file), newline=""))
    ]


def _boolean(text: str) -> bool | None:
    return bool(int(text)) if text else None


def _number(text: str) -> float | int | None:
    if not text:
        return None
    return int(text) if text.isdecimal() else float(text)
