"""What a notebook shows of a result: lines, the beginning of a table, and pictures, all text escaped."""

from __future__ import annotations

import base64
import html as markup
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from debride.escapes import one_line

ROWS = 10
"""Rows of a table that are shown."""

_CELL = 'style="text-align:left;padding:2px 8px"'


def html(lines: Iterable[str], rows: Sequence[Mapping[str, Any]], pictures: Iterable[tuple[str, bytes]] = ()) -> str:
    """Lines, at most ``ROWS`` of the rows, and PNG pictures with what they show, as HTML that loads nothing."""
    said = "".join(f"<div>{_text(line)}</div>" for line in lines)
    shown = "".join(
        f'<figure style="margin:6px 0"><img alt="{_text(about)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
        f"<figcaption>{_text(about)}</figcaption></figure>"
        for about, png in pictures
    )
    return f"<div>{said}{_table(rows)}{shown}</div>"


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    columns = [name for name in rows[0] if any(row.get(name) not in (None, "") for row in rows)]
    head = "".join(f"<th {_CELL}>{_text(name)}</th>" for name in columns)
    body = "".join(
        "<tr>" + "".join(f"<td {_CELL}>{_text(row.get(name))}</td>" for name in columns) + "</tr>" for row in rows[:ROWS]
    )
    more = f"<div>and {len(rows) - ROWS} more rows</div>" if len(rows) > ROWS else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def _text(value: Any) -> str:
    if value is None:
        return ""
    return markup.escape(one_line(f"{value:.4g}" if isinstance(value, float) else str(value)))
